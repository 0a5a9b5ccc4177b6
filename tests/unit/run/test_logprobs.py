"""How probable the tokens of an answer were: what is asked for, kept, and made of it."""

from __future__ import annotations

import json
import math

import pytest

import slmlab
from slmlab.errors import PromptError, SlmlabError
from slmlab.run import results
from slmlab.run.logprobs import compact, tokens, validate_logprobs
from tests.support.paths import ROOT
from tests.support.records import record

# What llama.cpp says of an emoji of three tokens, of which it tells the last one's alternatives.
CAT = {
    "token": " 🐱",
    "logprob": -2.4,
    "bytes": [32, 240, 159, 144, 177],
    "top_logprobs": [
        {"token": "\ufffd", "logprob": -2.4, "bytes": [177]},
        {"token": "\ufffd", "logprob": -2.6, "bytes": [182]},
    ],
}
HELLO = {
    "token": "Hello",
    "logprob": -0.0673177,
    "bytes": [72, 101, 108, 108, 111],
    "top_logprobs": [
        {"token": "Hello", "logprob": -0.0673177, "bytes": [72, 101, 108, 108, 111]},
        {"token": "Hi", "logprob": -3.0178984, "bytes": [72, 105]},
    ],
}
REAL = [
    json.loads(line)
    for line in (ROOT / "tests/corpus/tokens.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.fixture
def reporting(wire):
    """A server that reports probabilities."""
    wire.pieces = ["Hello", " 🐱"]
    wire.logprobs = {"Hello": [HELLO], " 🐱": [CAT]}
    return wire


class TestAsking:
    @pytest.mark.parametrize("prompt", ["Hi", [{"role": "user", "content": "Hi"}]])
    def test_they_are_asked_for_and_kept(self, reporting, prompt):
        found = slmlab.generate("a:1b", prompt, host=reporting.url, logprobs=2)
        (sent,) = reporting.sent("/api/generate") or reporting.sent("/api/chat")
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
        assert found.text == "Hello 🐱"
        assert found.ttft_s is not None
        first, second = found.logprobs
        assert first["token"] == "Hello"
        assert "bytes" not in first, "they are those of its text"
        assert second["top_logprobs"][0]["bytes"] == [177]

    def test_without_them_nothing_is_asked_for(self, reporting):
        assert slmlab.generate("a:1b", "Hi", host=reporting.url).logprobs is None
        (sent,) = reporting.sent("/api/generate")
        assert "top_logprobs" not in sent

    def test_a_server_that_has_none_is_told_before_anything_runs(self, wire):
        wire.facts["version"] = "0.12.10"
        for ask in (slmlab.generate, slmlab.ask, slmlab.compare):
            with pytest.raises(PromptError, match=r"is Ollama 0\.12\.10, which does not report"):
                ask("a:1b", "Hi", host=wire.url, logprobs=True)
        assert not wire.sent("/api/generate")

    @pytest.mark.parametrize("wanted", [-1, 21, 2.5, "5", None])
    def test_what_is_no_number_of_alternatives(self, wire, wanted):
        with pytest.raises(PromptError, match="1 to 20, or True for 5"):
            slmlab.generate("a:1b", "Hi", host=wire.url, logprobs=wanted)
        assert not wire.requests

    def test_true_means_some(self):
        assert (validate_logprobs(True), validate_logprobs(False)) == (5, 0)

    def test_others_names_for_it_get_a_hint(self):
        with pytest.raises(PromptError, match="Did you mean 'logprobs'"):
            slmlab.generate("a:1b", "Hi", top_logprobs=5)

    def test_a_comparison_keeps_them_and_finds_them_again(self, reporting, tmp_path):
        given = {"host": reporting.url, "store": tmp_path / "s", "timing": False, "quiet": True}
        assert "logprobs" not in slmlab.compare("a:1b", "Hi", **given)
        frame = slmlab.compare("a:1b", "Hi", logprobs=2, **given)
        again = slmlab.compare("a:1b", "Hi", logprobs=2, **given)
        assert len(reporting.sent("/api/generate")) == 2, "the second time from the store"
        assert frame["logprobs"][0] == again["logprobs"][0]
        assert len(tokens(frame.iloc[0])) == 2
        for write, name in ((results.to_csv, "f.csv"), (results.to_json, "f.json")):
            write(frame, tmp_path / name)
            read = results.read(tmp_path / name)
            assert tokens(read.iloc[0]).equals(tokens(frame.iloc[0]))


class TestTable:
    def test_numbers(self):
        (row,) = tokens({"logprobs": [HELLO]}).to_dict("records")
        p, q = math.exp(-0.0673177), math.exp(-3.0178984)
        rest = 1 - p - q
        assert row["probability"] == pytest.approx(p)
        assert row["rank"] == 1
        assert row["rest"] == pytest.approx(rest)
        expected = -sum(one * math.log2(one) for one in (p, q, rest))
        assert row["entropy"] == pytest.approx(expected)
        assert [text for text, _ in row["alternatives"]] == ["Hello", "Hi"]

    def test_a_token_that_is_not_among_the_likeliest(self):
        rare = HELLO | {"token": "Yo", "logprob": math.log(0.001), "bytes": None}
        table = tokens({"logprobs": [rare]})
        assert table["rank"].isna().all()
        assert table["whole"].all()
        assert table["rest"][0] == pytest.approx(
            1 - math.exp(-0.0673177) - math.exp(-3.0178984) - 0.001
        )

    def test_bytes_that_are_no_character(self):
        (row,) = tokens({"logprobs": [CAT]}).to_dict("records")
        assert row["token"] == " 🐱"
        assert [text for text, _ in row["alternatives"]] == ["\\xb1", "\\xb6"]
        assert not row["whole"], "two of its three tokens are not reported"

    def test_half_characters_and_nul(self):
        rows = [
            {"token": "\x00", "logprob": -1.0, "top_logprobs": []},
            {"token": "\ud83d", "logprob": -1.0, "top_logprobs": []},
        ]
        kept = json.loads(json.dumps(compact(rows)))
        assert list(tokens({"logprobs": kept})["token"]) == ["\x00", "?"]

    @pytest.mark.parametrize("answer", REAL, ids=[str(one["tokens"]) for one in REAL])
    def test_answers_of_real_models(self, answer):
        table = tokens(answer)
        assert "".join(table["token"]) == answer["text"]
        assert len(table) <= answer["tokens"]
        assert (table["rank"] == 1).all(), "it took the likeliest each time"
        assert table["rest"].between(0, 1).all()
        assert (table["entropy"] >= 0).all()

    @pytest.mark.parametrize(
        "given", [record(), {"logprobs": None}, {}, {"logprobs": float("nan")}]
    )
    def test_an_answer_without_them_says_how_to_get_them(self, given):
        with pytest.raises(SlmlabError, match=r"slmlab\.generate\(…, logprobs=5\)"):
            tokens(given)

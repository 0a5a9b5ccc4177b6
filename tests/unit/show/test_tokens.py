"""An answer shaded by the probabilities of its tokens."""

from __future__ import annotations

import json

import pytest
from bs4 import BeautifulSoup

import slmlab
from slmlab.errors import SlmlabError
from slmlab.run import results
from slmlab.show import plots
from tests.support.paths import ROOT
from tests.support.records import record

REAL = [
    json.loads(line)
    for line in (ROOT / "tests/corpus/tokens.jsonl").read_text(encoding="utf-8").splitlines()
]


def answer(*texts: str, model: str = "m"):
    """An answer of these tokens."""
    rows = [
        {
            "token": text,
            "logprob": -0.5,
            "top_logprobs": [{"token": text, "logprob": -0.5}, {"token": "x", "logprob": -2.0}],
        }
        for text in texts
    ]
    return record(model=model, text="".join(texts), logprobs=rows)


def page(*answers) -> BeautifulSoup:
    return BeautifulSoup(slmlab.show_tokens(*answers)._repr_html_(), "html.parser")


def test_nothing_that_a_model_writes_is_live():
    attack = "<img src=x onerror=alert(1)>"
    found = page(answer(attack, "<script>", '"><b>', "\x00", "\u202e", model="<b>m</b>"))
    assert not found.select("img, script, b")
    shown = [one.contents[0] for one in found.select(".slmlab-tokens-text button")]
    assert shown[:4] == [attack, "<script>", '"><b>', "␀"]
    assert "\u202e" not in found.get_text()


def test_what_cannot_be_seen_has_a_sign():
    found = page(answer("a", "\n\n", "\t", "", " ", "  \n", " b"))
    shown = [one.contents[0] for one in found.select(".slmlab-tokens-text button")]
    assert shown == ["a", "⏎⏎", "⇥", "■", "␣", "␣␣⏎", " b"]
    assert len(found.select(".slmlab-tokens-text br")) == 3


def test_a_token_tells_what_else_was_likely_and_what_is_not_known():
    told = page(answer("a")).select_one(".slmlab-tokens-text button span").get_text()
    assert told == ("“a” 60.7%; instead “x” 13.5%; all others 25.8%; entropy at least 1.33 bits")


@pytest.mark.parametrize(
    ("one", "other", "marked", "sentence"),
    [
        (["a", " b", "c"], ["a", " x"], [" b", " x"], "parts from the first answer at its token 2"),
        (["a", "b", ""], ["ab", ""], [], "wrote the same"),
        (["a", ""], ["a", "b", ""], ["■", "b"], "where that has the end of the answer"),
        (["ab", "c"], ["a", "bx", "c"], ["c", "bx"], "its token 2"),
    ],
)
def test_where_two_answers_part(one, other, marked, sentence):
    found = page(answer(*one), answer(*other, model="n"))
    assert [each.contents[0] for each in found.select(".slmlab-parts")] == marked
    assert sentence in found.get_text()


def test_a_table_of_answers_is_taken_too():
    rows = [answer("a", model="m"), answer("b", model="n")]
    frame = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
    view = slmlab.show_tokens(frame)
    assert view.names == ["m", "n"]
    assert "perplexity 1.65" in repr(view)
    with pytest.raises(SlmlabError, match="no probabilities"):
        slmlab.show_tokens(record())
    with pytest.raises(SlmlabError, match="no answer to show"):
        slmlab.show_tokens()


@pytest.mark.parametrize("real", REAL, ids=[str(one["tokens"]) for one in REAL])
def test_the_figure_says_in_words_what_it_shows(real):
    alt = plots.tokens(real)._repr_mimebundle_()[0]["text/plain"]
    assert alt.startswith(f"Surprise of {len(real['logprobs'])} tokens in bits; perplexity ")


def test_dollars_are_no_formula_in_the_figure():
    plots.tokens(answer("$", "\\", "$x$", "{", "\x00")).savefig("/dev/null", format="svg")

"""What both engines do the same when a model answers: probabilities, refusals, the prompt cache."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.support.contract import SHORT, lines
from tests.support.engines import SMOL, Engine

pytestmark = pytest.mark.ollama


@pytest.fixture
def current(engine: Engine) -> Engine:
    """Both engines, unless it is an Ollama from before the fields that are tested here."""
    if engine.kind == "ollama" and not engine.since(0, 13):
        pytest.skip("this Ollama ignores these fields")
    return engine


def refused(response) -> str:
    assert response.status_code == 400, response.text
    return response.json()["error"]


def body(engine: Engine, path: str, **more: object) -> dict:
    what = {"prompt": "The sky is"}
    if path == "chat":
        what = {"messages": [{"role": "user", "content": "The sky is"}]}
    return {"model": engine.shallow, "options": SHORT} | what | more


@pytest.mark.parametrize("path", ["generate", "chat"])
class TestLogprobs:
    @pytest.mark.parametrize("stream", [True, False])
    def test_each_token_has_one(self, http, current, path, stream):
        asked = body(current, path, logprobs=True, top_logprobs=3, stream=stream)
        answer = lines(http.post(f"/api/{path}", json=asked))
        rows = [row for one in answer for row in one.get("logprobs", [])]
        assert 5 < len(rows) <= 12
        for row in rows:
            assert row["logprob"] <= 0
            assert bytes(row["bytes"]).decode(errors="replace") == row["token"]
            tops = [one["logprob"] for one in row["top_logprobs"]]
            assert len(tops) == 3
            assert tops == sorted(tops, reverse=True)
            assert row["token"] == row["top_logprobs"][0]["token"]  # at temperature 0

    def test_alternatives_only_where_asked_for(self, http, current, path):
        (answer,) = lines(
            http.post(f"/api/{path}", json=body(current, path, logprobs=True, stream=False))
        )
        assert not any("top_logprobs" in row for row in answer["logprobs"])
        (answer,) = lines(http.post(f"/api/{path}", json=body(current, path, stream=False)))
        assert "logprobs" not in answer

    @pytest.mark.parametrize("number", [-1, 21])
    def test_at_most_twenty(self, http, current, path, number):
        asked = body(current, path, logprobs=True, top_logprobs=number)
        said = refused(http.post(f"/api/{path}", json=asked))
        assert said == "top_logprobs must be between 0 and 20"


@pytest.mark.parametrize("path", ["generate", "chat"])
class TestThinking:
    @pytest.mark.parametrize("think", [True, "high"])
    def test_not_where_the_model_cannot(self, http, current, path, think):
        said = refused(http.post(f"/api/{path}", json=body(current, path, think=think)))
        assert said == f'"{current.shallow}" does not support thinking'

    def test_other_values(self, http, current, path):
        said = refused(http.post(f"/api/{path}", json=body(current, path, think="x")))
        assert said.startswith('invalid think value: "x" (must be "high", "medium", "low", "max"')
        said = refused(http.post(f"/api/{path}", json=body(current, path, think=5)))
        assert said.startswith("think must be a boolean or string")

    def test_false_is_always_fine(self, http, current, path):
        (answer,) = lines(
            http.post(f"/api/{path}", json=body(current, path, think=False, stream=False))
        )
        assert "thinking" not in json.dumps(answer)


def test_a_suffix_needs_a_model_that_fills_gaps(http, current):
    said = refused(http.post("/api/generate", json=body(current, "generate", suffix="x")))
    assert said.endswith(f"{current.shallow} does not support insert")


SMALL = {"num_ctx": 512, "num_predict": 1}


class TestLongPrompts:
    @pytest.mark.parametrize("field", ["truncate", "shift"])
    def test_a_text_that_must_not_be_cut(self, http, current, field):
        asked = body(current, "generate", prompt="word " * 2000, options=SMALL)
        assert "context" in refused(http.post("/api/generate", json=asked | {field: False}))

    def test_a_conversation_that_must_stay_whole(self, http, current):
        old = [{"role": "user", "content": "word " * 300}] * 3
        messages = [*old, {"role": "user", "content": "Hi"}]
        asked = body(current, "chat", messages=messages, options=SMALL)
        said = refused(http.post("/api/chat", json=asked | {"truncate": False}))
        assert "context" in said

    def test_without_shift_old_messages_still_go(self, http, current):
        old = [{"role": "user", "content": "word " * 300}] * 3
        messages = [*old, {"role": "user", "content": "Hi"}]
        asked = body(current, "chat", messages=messages, options=SMALL, stream=False)
        (answer,) = lines(http.post("/api/chat", json=asked | {"shift": False}))
        assert answer["prompt_eval_count"] < 512


@pytest.mark.alone
def test_what_was_read_is_counted_again_and_not_read_again(client, engine):
    prompt, one = "one two three " * 100, {"num_predict": 1, "num_ctx": 2048}
    client.generate(engine.model, "Something else.", options=one)
    first, again = (client.generate(engine.model, prompt, options=one) for _ in "12")
    assert again.prompt_eval_duration < first.prompt_eval_duration / 3
    if engine.kind == "embedded" or engine.since(0, 30):
        assert again.prompt_eval_count == first.prompt_eval_count


def test_conversations_keep_out_of_each_others_way(embedded):
    """Each goes on in the slot in which it began, though all have the system prompt in common."""
    options, cached = {"num_predict": 4, "num_ctx": 2048}, []
    talks = [
        [{"role": "user", "content": f"Let us speak of {subject}. " * 12}]
        for subject in ("cats", "ships", "bread")
    ]
    with httpx.Client(base_url=embedded.url, timeout=120, trust_env=False, verify=False) as http:
        for _ in range(2):
            for talk in talks:
                asked = {"model": SMOL, "messages": talk, "options": options, "stream": False}
                answer = http.post("/api/chat", json=asked).json()
                cached.append(answer["prompt_eval_cached_count"] / answer["prompt_eval_count"])
                talk += [answer["message"], {"role": "user", "content": "Go on."}]
    assert min(cached[3:]) > 0.7

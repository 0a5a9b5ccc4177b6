"""Requests in Ollama's words as those of OpenAI's API, and the answers back."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from slmlab.engines.openai_server import OpenAIServer

HOST = "http://gpu:8080/v1"
USAGE = {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}
TEXT = {"choices": [{"delta": {"content": "Hi"}}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def ask(*chunks: dict[str, Any], owner: str = "llamacpp", **options: Any):
    """What a server was sent for a text, and the lines of its answer in these pieces."""
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "m", "owned_by": owner}]})
        sent.append(json.loads(request.read()))
        events = [f"data: {json.dumps(one)}\n\n" for one in chunks]
        return httpx.Response(200, text="".join([*events, "data: [DONE]\n\n"]))

    server = OpenAIServer(HOST, transport=httpx.MockTransport(answer))
    with httpx.Client(transport=server) as client:
        body = {"model": "m", "prompt": "Hi", "options": options}
        lines = client.post(f"{HOST}/api/generate", json=body).text.splitlines()
    return sent[0], [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("given", "limit"), [({}, None), ({"num_predict": 7}, 7), ({"num_predict": -1}, None)]
)
def test_an_answer_without_a_limit_is_asked_for_without_one(given, limit):
    """Ollama's -1 is no number of tokens for others."""
    sent, _ = ask(TEXT, END, USAGE, **given)
    assert sent.get("max_tokens") == limit


def test_min_p_is_ollamas_where_nobody_sets_it():
    assert ask(TEXT, END, USAGE)[0]["min_p"] == 0
    assert ask(TEXT, END, USAGE, min_p=0.2)[0]["min_p"] == 0.2
    assert "min_p" not in ask(TEXT, END, USAGE, owner="vllm")[0]


def test_tokens_and_times_are_as_ollama_gives_them():
    timings = {"cache_n": 4, "prompt_ms": 250.0, "predicted_ms": 1500.0}
    _, lines = ask(TEXT, END, USAGE | {"timings": timings})
    assert lines[0]["response"] == "Hi"
    last = lines[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 9, 2)
    assert last["prompt_eval_cached_count"] == 4
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (250_000_000, 1_500_000_000)


def test_tokens_from_a_cache_are_known_where_openais_own_field_has_them():
    usage = USAGE["usage"] | {"prompt_tokens_details": {"cached_tokens": 3}}
    _, lines = ask(TEXT, END, {"usage": usage}, owner="vllm")
    assert lines[-1]["prompt_eval_cached_count"] == 3
    assert "eval_duration" not in lines[-1]


def test_an_answer_that_breaks_off_is_not_a_whole_one():
    with pytest.raises(httpx.RemoteProtocolError, match="has no end"):
        ask(TEXT, USAGE)


def test_an_answer_without_its_tokens_is_an_error():
    assert "does not report how many tokens" in ask(TEXT, END)[1][-1]["error"]


def test_an_error_on_the_way_is_the_answers():
    _, lines = ask(TEXT, {"error": {"message": "out of memory"}})
    assert lines[-1] == {"error": "out of memory"}


def test_the_same_model_elsewhere_is_another():
    """Nobody says that its weights are the same, so no record is taken for one of it."""

    def digest(host: str) -> str:
        listed = {"data": [{"id": "m", "owned_by": "vllm"}]}
        transport = httpx.MockTransport(lambda _: httpx.Response(200, json=listed))
        with httpx.Client(transport=OpenAIServer(host, transport=transport)) as client:
            (model,) = client.get(f"{host}/api/tags").json()["models"]
        return model["digest"]

    assert digest(HOST) == digest(HOST) != digest("http://other:8080/v1")

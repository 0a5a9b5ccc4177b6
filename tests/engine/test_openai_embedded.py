"""OpenAI's API where only the embedded engine has it, or does otherwise than Ollama."""

from __future__ import annotations

import json

import openai
import pytest

from tests.support.contract import OPENAI_ASK as ASK
from tests.support.contract import OPENAI_SHORT as SHORT
from tests.support.contract import WEATHER, openai_client
from tests.support.engines import QWEN, Engine


@pytest.fixture
def engine(embedded: Engine) -> Engine:
    return embedded


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai_client(engine)


@pytest.mark.parametrize("choice", ["required", {"function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is(client, choice, stream):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    if isinstance(choice, dict):
        choice = {"type": "function"} | choice
    answer = client.chat.completions.create(
        model=QWEN,
        messages=messages,
        tools=[WEATHER],
        tool_choice=choice,
        stream=stream,
        temperature=0,
        max_tokens=60,
    )
    if stream:
        chunks = [one.choices[0] for one in answer]
        calls = [call for one in chunks for call in one.delta.tool_calls or []]
        reason = chunks[-1].finish_reason
    else:
        calls = answer.choices[0].message.tool_calls
        reason = answer.choices[0].finish_reason
    (call,) = calls
    assert reason == "tool_calls"
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_definitions_in_the_schema_of_a_tool_hold(client):
    place = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}
    schema = {
        "type": "object",
        "properties": {"place": {"$ref": "#/$defs/Place"}},
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {"Place": place | {"additionalProperties": False}},
    }
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema}}
    answer = client.chat.completions.create(
        model=QWEN,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER | {"function": WEATHER["function"] | {"name": "other"}}, tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=60,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"place": {"city": "Oslo"}}


def test_no_tool_where_none_shall_be_called(client):
    asked = {"model": QWEN, "messages": ASK, **SHORT}
    without = client.chat.completions.create(**asked)
    none = client.chat.completions.create(**asked, tools=[WEATHER], tool_choice="none")
    told = client.chat.completions.create(**asked, tools=[WEATHER])
    assert none.usage.prompt_tokens == without.usage.prompt_tokens < told.usage.prompt_tokens


def test_the_newer_name_of_max_tokens(client, engine):
    answer = client.chat.completions.create(
        model=engine.shallow, messages=ASK, max_completion_tokens=3
    )
    assert answer.usage.completion_tokens == 3


def test_log_probabilities_of_a_completion(client, engine):
    asked = {"model": engine.model, "prompt": "The sky is", **SHORT}
    (choice,) = client.completions.create(**asked, logprobs=2).choices
    found = choice.logprobs
    assert "".join(found.tokens) == choice.text
    assert [choice.text[at:][:1] for at in found.text_offset] == [t[:1] for t in found.tokens]
    for token, logprob, tops in zip(
        found.tokens, found.token_logprobs, found.top_logprobs, strict=True
    ):
        assert tops[token] == logprob
        assert len(tops) == 2


def test_a_gap_is_filled(client):
    (choice,) = client.completions.create(
        model=QWEN,
        prompt="def add(a, b):\n    return ",
        suffix="\n\nprint(add(1, 2))\n",
        temperature=0,
        max_tokens=10,
    ).choices
    assert "a + b" in choice.text


def test_a_prompt_that_was_cut_is_told(http, engine):
    small = {"model": "small", "from": engine.shallow, "parameters": {"num_ctx": 256}}
    http.post("/api/create", json=small)
    for words, cut in ((500, "true"), (5, "false")):
        body = {"model": "small", "prompt": "word " * words, "max_tokens": 1}
        answer = http.post("/v1/completions", json=body)
        assert answer.headers["x-prompt-truncated"] == cut
    http.request("DELETE", "/api/delete", json={"model": "small"})

"""What a request to OpenAI's newer route is for the older one."""

from __future__ import annotations

import json

import pytest

from slmlab.engines.embedded.openai_responses_schemas import ResponsesRequest
from slmlab.engines.embedded.schemas import RequestError, parse

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
USER = {"role": "user", "content": "Hi"}


def messages(*items) -> list[dict]:
    request = parse(ResponsesRequest, json.dumps({"model": "m", "input": items}).encode())
    return [one.model_dump(exclude_defaults=True) for one in request.as_chats().messages]


def test_a_turns_calls_are_one_message_before_their_results():
    results = [{"type": "function_call_output", "call_id": c, "output": c} for c in ("c1", "c2")]
    found = messages(USER, CALL, CALL | {"call_id": "c2"}, *results)
    assert [one["role"] for one in found] == ["user", "assistant", "tool", "tool"]
    assert [one["id"] for one in found[1]["tool_calls"]] == ["c1", "c2"]
    assert [one["tool_call_id"] for one in found[2:]] == ["c1", "c2"]


def test_thoughts_belong_to_the_message_after_them():
    answer = {"type": "message", "role": "assistant", "content": "Yes."}
    assert "reasoning" not in messages(USER, THOUGHT, answer)[0]
    assert messages(USER, THOUGHT, answer)[1]["reasoning"] == "Hm."
    assert messages(USER, THOUGHT, CALL)[1]["reasoning"] == "Hm."
    assert len(messages(USER, THOUGHT)) == 1


def test_thoughts_alone_are_no_conversation():
    with pytest.raises(RequestError, match="input: there is no message in it"):
        messages(THOUGHT)


def test_settings_have_the_older_names():
    body = {
        "model": "m",
        "input": "Hi",
        "instructions": "Be brief.",
        "max_output_tokens": 5,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "truncation": "disabled",
    }
    asked = parse(ResponsesRequest, json.dumps(body).encode()).as_chats()
    assert asked.must_call
    ollamas = asked.as_ollamas()
    assert [(one.role, one.content) for one in ollamas.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert (ollamas.format, ollamas.think) == ({"type": "object"}, "low")
    assert ollamas.options["num_predict"] == 5
    assert [one.function.name for one in ollamas.tools] == ["f"]

"""What OpenAI's requests are in Ollama's words."""

from __future__ import annotations

import json

import pytest

from slmlab.engines.embedded.openai_schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
)
from slmlab.engines.embedded.schemas import RequestError, parse

ASK = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def chat(**more) -> ChatCompletionRequest:
    body = {"model": "m", "messages": ASK} | more
    return parse(ChatCompletionRequest, json.dumps(body).encode())


class TestOptions:
    def test_each_has_ollamas_name(self):
        given = {
            "max_tokens": 5,
            "seed": 1,
            "stop": ["a", "b"],
            "temperature": 0,
            "top_p": 0.5,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
        }
        wanted = {name: value for name, value in given.items() if name != "max_tokens"}
        assert chat(**given).as_ollamas().options == wanted | {"num_predict": 5}

    def test_what_is_left_out_is_openais_default(self):
        options = chat().as_ollamas().options
        assert {name: value for name, value in options.items() if value is not None} == {
            "temperature": 1.0,
            "top_p": 1.0,
        }

    def test_the_newer_name_of_max_tokens_goes_before(self):
        found = chat(max_tokens=5, max_completion_tokens=3).as_ollamas().options
        assert found["num_predict"] == 3

    def test_one_stop_word(self):
        assert chat(stop="a").as_ollamas().options["stop"] == ["a"]

    @pytest.mark.parametrize("field", ["seed", "max_tokens"])
    def test_numbers_that_no_engine_takes(self, field):
        with pytest.raises(RequestError, match=f"^{field}: "):
            chat(**{field: 2**60})


class TestFormat:
    @pytest.mark.parametrize(
        ("given", "wanted"),
        [
            (None, None),
            ({"type": "text"}, None),
            ({"type": "json_object"}, "json"),
            (
                {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
                {"type": "array"},
            ),
        ],
    )
    def test_it_becomes_ollamas(self, given, wanted):
        assert chat(response_format=given).as_ollamas().format == wanted


class TestEffort:
    @pytest.mark.parametrize(
        ("given", "wanted"),
        [("none", False), ("minimal", "low"), ("high", "high"), ("ultra", "max"), ("", None)],
    )
    def test_it_becomes_think(self, given, wanted):
        assert chat(reasoning_effort=given).as_ollamas().think == wanted
        assert chat(reasoning={"effort": given}).as_ollamas().think == wanted

    def test_another_word(self):
        with pytest.raises(RequestError, match=r'invalid reasoning value: "x" .*"minimal"'):
            chat(reasoning_effort="x").as_ollamas()


class TestTools:
    def test_a_choice_leaves_those_that_it_allows(self):
        other = {"type": "function", "function": {"name": "g"}}
        tools = [TOOL, other]
        named = {"type": "function", "function": {"name": "g"}}
        for choice, names, must in (
            (None, ["f", "g"], False),
            ("auto", ["f", "g"], False),
            ("required", ["f", "g"], True),
            (named, ["g"], True),
            ("none", [], False),
        ):
            asked = chat(tools=tools, tool_choice=choice)
            found = asked.as_ollamas().tools or []
            assert [tool.function.name for tool in found] == names
            assert asked.must_call is must

    @pytest.mark.parametrize("choice", ["required", {"function": {"name": "g"}}])
    def test_one_that_is_not_there_cannot_be_called(self, choice):
        tools = [TOOL] if isinstance(choice, dict) else None
        with pytest.raises(RequestError, match=r"^tool_choice: there "):
            chat(tools=tools, tool_choice=choice).as_ollamas()


class TestMessages:
    def test_a_call_and_its_result(self):
        messages = [
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "Hm."},
            {"role": "tool", "tool_call_id": "call_1", "content": "11"},
        ]
        called, result = chat(messages=messages).as_ollamas().messages
        assert called.thinking == "Hm."
        assert called.content == ""
        (call,) = called.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("call_1", "f", {"a": 1})
        assert (result.tool_name, result.tool_call_id, result.content) == ("f", "call_1", "11")

    @pytest.mark.parametrize("arguments", ["no", "[]", "5", "[" * 100_000])
    def test_arguments_that_are_no_object(self, arguments):
        call = CALL | {"function": {"name": "f", "arguments": arguments}}
        with pytest.raises(RequestError, match='invalid tool call arguments of "f": '):
            chat(messages=[{"role": "assistant", "tool_calls": [call]}]).as_ollamas()

    def test_parts_are_one_message(self):
        parts = [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
            {"type": "image_url", "image_url": "data:;base64,bbbb"},
            {"type": "text", "text": "b"},
        ]
        (message,) = chat(messages=[{"role": "user", "content": parts}]).as_ollamas().messages
        assert (message.content, message.images) == ("a\nb", ["aaaa", "bbbb"])

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1/a.png", "data:image/png,aaaa", "data:;base64", None, {}, 5]
    )
    def test_other_images(self, url):
        part = {"type": "image_url", "image_url": {"url": url}}
        with pytest.raises(RequestError, match="an image must be a data URL"):
            chat(messages=[{"role": "user", "content": [part]}]).as_ollamas()

    def test_a_developer_is_the_system(self):
        (message,) = chat(messages=[{"role": "developer", "content": "x"}]).as_ollamas().messages
        assert message.role == "system"


class TestCompletions:
    @pytest.mark.parametrize("prompt", ["x", ["x"]])
    def test_one_prompt_may_be_a_list(self, prompt):
        body = {"model": "m", "prompt": prompt, "logprobs": 0}
        asked = parse(CompletionRequest, json.dumps(body).encode()).as_ollamas()
        assert (asked.prompt, asked.logprobs, asked.top_logprobs) == ("x", True, 0)

    @pytest.mark.parametrize("prompt", [[], ["a", "b"]])
    def test_several_may_not(self, prompt):
        asked = parse(CompletionRequest, json.dumps({"prompt": prompt}).encode())
        with pytest.raises(RequestError, match=r"^prompt: one text for a request"):
            asked.as_ollamas()


@pytest.mark.parametrize("given", ["x", ["x"]])
def test_texts_to_embed(given):
    asked = parse(EmbeddingRequest, json.dumps({"input": given}).encode())
    assert asked.as_ollamas().texts() == ["x"]


@pytest.mark.parametrize("given", [[1, 2], [[1, 2], [3]]])
def test_numbers_of_tokens_are_those_of_another_model(given):
    with pytest.raises(RequestError, match=r"^input: send texts: .*check_embedding_ctx_length"):
        parse(EmbeddingRequest, json.dumps({"model": "m", "input": given}).encode())

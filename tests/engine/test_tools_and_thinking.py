"""Calls of tools and thoughts, by a small model whose template has both and which is shown how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import openai
import pytest

from tests.support import gguf_files
from tests.support.contract import WEATHER, lines
from tests.support.engines import SMOL, Engine

NAME = "able:test"
# ChatML with Hermes' calls and Qwen's thoughts.
TEMPLATE = (
    "{% if tools %}"
    "{{ '<|im_start|>system\\n<tools>' + (tools | tojson) + '</tools><|im_end|>\\n' }}"
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.reasoning_content %}"
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}"
    '{{ \'<tool_call>\\n{"name": "\' + c.function.name + \'", "arguments": \' '
    "+ (c.function.arguments | tojson) + '}\\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking %}{{ '<think>\\n' }}{% endif %}{% endif %}"
)


def _turn(city: str, weather: str) -> list[dict]:
    call = {"function": {"name": "get_weather", "arguments": {"city": city}}}
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "get_weather", "content": weather},
        {"role": "assistant", "content": f"It is {weather} in {city}."},
    ]


ASKED_FOR_WEATHER = [
    *_turn("Rome", "sunny"),
    *_turn("Oslo", "cold"),
    {"role": "user", "content": "What is the weather in Paris?"},
]
ASKED_FOR_A_SUM = [
    {"role": "user", "content": "What is 2+2?"},
    {
        "role": "assistant",
        "content": "The answer is 4.",
        "thinking": "Two and two make four.",
    },
    {"role": "user", "content": "What is 3+3?"},
]
OPTIONS = {"temperature": 0, "seed": 1, "num_predict": 60}


@pytest.fixture(scope="module")
def able(
    embedded: Engine, quick_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """An HTTP client of the engine, which has the model."""
    path = gguf_files.with_template(
        quick_gguf, tmp_path_factory.mktemp("able") / "a.gguf", TEMPLATE
    )
    client = ollama.Client(embedded.url, timeout=120, trust_env=False, verify=False)
    client.create(NAME, files={"a.gguf": client.create_blob(path)}, stream=False)
    with httpx.Client(base_url=embedded.url, timeout=120, trust_env=False, verify=False) as http:
        yield http
    client.delete(NAME)


def chat(able: httpx.Client, messages: list[dict], **more: object) -> list[dict]:
    body = {"model": NAME, "messages": messages, "options": OPTIONS, "stream": False} | more
    response = able.post("/api/chat", json=body)
    assert response.status_code == 200, response.text
    return lines(response)


class TestTools:
    def test_a_call_comes_as_one(self, able):
        (answer,) = chat(able, ASKED_FOR_WEATHER, tools=[WEATHER], think=False)
        (call,) = answer["message"]["tool_calls"]
        assert call["function"] == {
            "index": 0,
            "name": "get_weather",
            "arguments": {"city": "Paris"},
        }
        assert "tool_call" not in answer["message"]["content"]
        assert answer["done_reason"] == "stop"

    def test_streamed_it_is_whole_too(self, able):
        pieces = chat(able, ASKED_FOR_WEATHER, tools=[WEATHER], think=False, stream=True)
        (call,) = [call for one in pieces for call in one["message"].get("tool_calls", [])]
        assert call["function"]["arguments"] == {"city": "Paris"}
        assert not any("tool_call" in one["message"]["content"] for one in pieces)

    def test_ollamas_own_client_reads_it(self, able, embedded):
        client = ollama.Client(embedded.url, timeout=120, trust_env=False, verify=False)
        for stream in (False, True):
            answer = client.chat(
                NAME,
                ASKED_FOR_WEATHER,
                tools=[WEATHER],
                think=False,
                options=OPTIONS,
                stream=stream,
            )
            parts = list(answer) if stream else [answer]
            (call,) = [call for one in parts for call in one.message.tool_calls or []]
            assert (call.function.name, call.function.arguments) == (
                "get_weather",
                {"city": "Paris"},
            )

    def test_tools_calls_and_results_reach_the_model(self, able):
        (shown,) = chat(able, _turn("Rome", "sunny")[:3], tools=[WEATHER], _debug_render_only=True)
        text = shown["_debug_info"]["rendered_template"]
        assert json.loads(text.split("<tools>")[1].split("</tools>")[0]) == [WEATHER]
        assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}' in text
        assert "<|im_start|>tool\nsunny<|im_end|>" in text

    def test_with_log_probabilities(self, able):
        answer = chat(
            able,
            ASKED_FOR_WEATHER,
            tools=[WEATHER],
            think=False,
            stream=True,
            logprobs=True,
            top_logprobs=2,
        )
        rows = [row for one in answer for row in one.get("logprobs", [])]
        assert rows
        assert all(len(row["top_logprobs"]) == 2 for row in rows)

    def test_a_call_that_is_cut_off_is_none(self, able):
        options = OPTIONS | {"num_predict": 12}
        (answer,) = chat(able, ASKED_FOR_WEATHER, tools=[WEATHER], think=False, options=options)
        assert answer["done_reason"] == "length"
        assert "tool_calls" not in answer["message"]

    def test_a_conversation_whose_last_message_does_not_fit_is_refused(self, able):
        body = {
            "model": NAME,
            "messages": [{"role": "user", "content": "word " * 600}],
            "options": {"num_ctx": 512},
            "tools": [WEATHER],
        }
        response = able.post("/api/chat", json=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("the prompt is longer than the context length")


class TestThinking:
    def test_thoughts_stand_apart(self, able):
        (answer,) = chat(able, ASKED_FOR_A_SUM)
        assert "three make" in answer["message"]["thinking"]
        assert answer["message"]["content"].startswith("The answer is")
        assert "think>" not in json.dumps(answer)

    def test_streamed_they_come_first(self, able):
        pieces = [one["message"] for one in chat(able, ASKED_FOR_A_SUM, stream=True)]
        thoughts = [bool(one.get("thinking")) for one in pieces]
        assert sum(thoughts) > 2
        assert thoughts == sorted(thoughts, reverse=True)
        assert "".join(one["content"] for one in pieces).startswith("The answer is")

    def test_they_can_be_switched_off_and_graded(self, able):
        (without,) = chat(able, ASKED_FOR_A_SUM, think=False)
        assert "thinking" not in without["message"]
        (shown,) = chat(able, ASKED_FOR_A_SUM, think=False, _debug_render_only=True)
        assert shown["_debug_info"]["rendered_template"].endswith("assistant\n")
        (graded,) = chat(able, ASKED_FOR_A_SUM, think="high")
        assert graded["message"]["thinking"]

    def test_in_generate(self, able):
        body = {"model": NAME, "prompt": "Hi", "options": OPTIONS | {"num_predict": 5}}
        pieces = lines(able.post("/api/generate", json=body))
        assert "".join(one.get("thinking", "") for one in pieces)
        assert not any(one["response"] for one in pieces)
        raw = lines(able.post("/api/generate", json=body | {"raw": True}))
        assert not any("thinking" in one for one in raw)


class TestOpenAI:
    """The same by OpenAI's API, as its client sees it."""

    @pytest.fixture
    def create(self, able, embedded):
        http = httpx.Client(trust_env=False, verify=False, timeout=120)
        client = openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="any", http_client=http)
        options = {"model": NAME, "temperature": 0, "seed": 1, "max_tokens": 60}
        return lambda **more: client.chat.completions.create(**options, **more)

    @pytest.mark.parametrize("stream", [False, True])
    def test_thoughts(self, create, stream):
        messages = [{"reasoning": one.get("thinking"), **one} for one in ASKED_FOR_A_SUM]
        answer = create(messages=messages, stream=stream)
        said = [one.choices[0].delta for one in answer] if stream else [answer.choices[0].message]
        assert "three make" in "".join(getattr(one, "reasoning", None) or "" for one in said)
        assert "".join(one.content or "" for one in said).startswith("The answer is")
        off = create(messages=messages, reasoning_effort="none").choices[0].message
        assert not hasattr(off, "reasoning")

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_call_of_the_models_own_will(self, create, stream):
        messages = json.loads(json.dumps(ASKED_FOR_WEATHER))
        for number, one in enumerate(messages):
            for call in one.get("tool_calls", []):
                arguments = json.dumps(call["function"]["arguments"])
                call |= {"id": f"call_{number}", "type": "function"}
                call["function"]["arguments"] = arguments
            if one["role"] == "tool":
                one["tool_call_id"] = f"call_{number - 1}"
        answer = create(messages=messages, tools=[WEATHER], reasoning_effort="none", stream=stream)
        choices = [one.choices[0] for one in answer] if stream else answer.choices
        said = [one.delta if stream else one.message for one in choices]
        (call,) = [call for one in said for call in one.tool_calls or []]
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        assert choices[-1].finish_reason == "tool_calls"


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "more", "sentence"),
        [
            ("chat", {"tools": 5}, "tools: "),
            ("chat", {"tools": [5]}, "tools.0: "),
            ("chat", {"tools": [{"type": "function"}]}, "tools.0.function: "),
            ("chat", {"tools": [{"function": {"name": ""}}]}, "tools.0.function.name: "),
            (
                "chat",
                {"tools": [{"function": {"name": "f", "parameters": {"type": "text"}}}]},
                "tools.0.function.parameters: no JSON schema: 'text'",
            ),
            ("chat", {"think": "x"}, 'invalid think value: "x" (must be "high"'),
            ("generate", {"think": 5}, "think must be a boolean or string"),
            ("generate", {"suffix": "x"}, f"{NAME} does not support insert"),
            ("generate", {"images": ["aaaa"]}, f"{NAME} does not support vision"),
            ("generate", {"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
            ("chat", {"messages": [{"role": "tool", "tool_calls": 1}]}, "messages.0.tool_calls: "),
        ],
    )
    def test_each_has_a_sentence(self, able, path, more, sentence):
        body = {"model": NAME, "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
        response = able.post(f"/api/{path}", json=body | more)
        assert response.status_code == 400
        assert response.json()["error"].startswith(sentence)

    def test_thinking_where_there_is_none(self, able):
        response = able.post("/api/chat", json={"model": SMOL, "think": True})
        assert (response.status_code, response.json()["error"]) == (
            400,
            f'"{SMOL}" does not support thinking',
        )

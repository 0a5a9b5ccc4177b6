"""OpenAI's API as its own client sees it, on both engines: the same assertions."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import struct

import httpx
import openai
import pytest

from tests.support.contract import OPENAI_ASK as ASK
from tests.support.contract import OPENAI_SHORT as SHORT
from tests.support.contract import WEATHER, openai_client
from tests.support.engines import MINILM, Engine

pytestmark = pytest.mark.ollama
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "maxLength": 12}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai_client(engine)


@pytest.fixture
def current(engine: Engine) -> Engine:
    """Both engines, unless it is an Ollama from before the fields that are tested here."""
    if engine.kind == "ollama" and not engine.since(0, 30):
        pytest.skip("this Ollama has not all of these fields")
    return engine


class TestModels:
    def test_they_are_those_on_disk(self, client, engine):
        found = {one.id: one for one in client.models.list()}
        assert found[engine.model].owned_by == "library"
        assert found[engine.model].created > 1.6e9
        one = client.models.retrieve(engine.model)
        assert (one.id, one.object, one.created) == (
            engine.model,
            "model",
            found[engine.model].created,
        )

    def test_one_that_is_not_there(self, client):
        with pytest.raises(openai.NotFoundError, match=r"model 'nope(:latest)?' not found"):
            client.models.retrieve("nope")


class TestChat:
    def test_in_one_piece(self, client, engine):
        answer = client.chat.completions.create(model=engine.shallow, messages=ASK, **SHORT)
        (choice,) = answer.choices
        assert answer.object == "chat.completion"
        assert answer.model == engine.shallow
        assert choice.message.role == "assistant"
        assert choice.message.content
        assert choice.finish_reason == "length"
        assert choice.logprobs is None
        assert answer.usage.completion_tokens == 8
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8

    def test_streamed_it_is_the_same_text(self, client, engine):
        asked = {"model": engine.model, "messages": ASK, **SHORT}
        client.chat.completions.create(**asked)  # now both have the prompt in the cache
        whole = client.chat.completions.create(**asked)
        chunks = list(
            client.chat.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            )
        )
        *some, last = chunks
        deltas = [one.choices[0].delta for one in some]
        assert "".join(one.content or "" for one in deltas) == whole.choices[0].message.content
        assert deltas[0].role == "assistant"
        assert len({one.id for one in chunks}) == 1
        reasons = [one.choices[0].finish_reason for one in some]
        assert reasons == [None] * (len(some) - 1) + ["length"]
        assert last.choices == []
        assert last.usage.completion_tokens == 8

    def test_usage_comes_only_where_it_is_asked_for(self, client, engine):
        stream = client.chat.completions.create(
            model=engine.shallow, messages=ASK, **SHORT, stream=True
        )
        assert all(one.choices and not one.usage for one in stream)

    def test_a_stream_is_server_sent_events(self, http, engine):
        body = {"model": engine.shallow, "messages": ASK, "stream": True, **SHORT}
        answer = http.post("/v1/chat/completions", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        for event in events:
            assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"

    @pytest.mark.parametrize("as_list", [True, False])
    def test_a_stop_word_ends_it(self, client, engine, as_list):
        asked = {"model": engine.model, "messages": ASK, **SHORT}
        pieces = [
            one.choices[0].delta.content
            for one in client.chat.completions.create(**asked, stream=True)
        ]
        word = next(one for one in pieces[1:] if one and one.strip())
        stop = [word] if as_list else word
        (choice,) = client.chat.completions.create(**asked, stop=stop).choices
        assert word not in choice.message.content
        assert choice.finish_reason == "stop"

    @pytest.mark.parametrize("kind", ["json_object", "json_schema"])
    def test_json(self, client, engine, kind):
        if not engine.writes_text:
            pytest.skip("this build's kernels write no text that could become JSON on a CPU")
        form = {"type": kind, "json_schema": {"name": "sky", "schema": SCHEMA}}
        (choice,) = client.chat.completions.create(
            model=engine.model,
            messages=[{"role": "user", "content": "The colour of the sky, as JSON."}],
            response_format=form if kind == "json_schema" else {"type": kind},
            temperature=0,
            max_tokens=64 if kind == "json_schema" else 200,
        ).choices
        if kind == "json_schema":
            assert set(json.loads(choice.message.content)) == {"colour"}
        else:
            assert choice.message.content.lstrip().startswith("{")

    def test_log_probabilities(self, client, current):
        asked = {"model": current.model, "messages": ASK, **SHORT, "logprobs": True}
        (choice,) = client.chat.completions.create(**asked, top_logprobs=3).choices
        assert len(choice.logprobs.content) == 8
        for row in choice.logprobs.content:
            assert row.logprob <= 0
            assert bytes(row.bytes).decode(errors="replace") == row.token
            assert row.top_logprobs[0].token == row.token  # at temperature 0
            assert len(row.top_logprobs) == 3
        streamed = client.chat.completions.create(**asked, stream=True)
        rows = [
            row
            for one in streamed
            if one.choices[0].logprobs
            for row in one.choices[0].logprobs.content
        ]
        assert len(rows) == 8

    def test_content_in_parts(self, client, engine):
        parts = [{"type": "text", "text": "The sky is"}]
        asked = {"model": engine.model, **SHORT}
        whole = client.chat.completions.create(messages=ASK, **asked)
        split = client.chat.completions.create(
            messages=[{"role": "user", "content": parts}], **asked
        )
        assert split.usage.prompt_tokens == whole.usage.prompt_tokens

    def test_effort_where_the_model_does_not_think(self, client, current):
        asked = {"model": current.model, "messages": ASK, **SHORT}
        client.chat.completions.create(**asked, reasoning_effort="none")
        for effort, sentence in (("high", "does not support thinking"), ("x", "invalid reasoning")):
            with pytest.raises(openai.BadRequestError, match=sentence):
                client.chat.completions.create(**asked, reasoning_effort=effort)


class TestCompletions:
    def test_in_one_piece_and_streamed(self, client, engine):
        asked = {"model": engine.model, "prompt": "The sky is", **SHORT}
        client.completions.create(**asked)
        answer = client.completions.create(**asked)
        (choice,) = answer.choices
        assert (answer.object, choice.finish_reason) == ("text_completion", "length")
        assert answer.usage.completion_tokens == 8
        chunks = list(
            client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        )
        text = "".join(one.choices[0].text for one in chunks[:-1])
        assert text == choice.text
        assert chunks[-2].choices[0].finish_reason == "length"
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 8

    def test_a_suffix_needs_a_model_that_fills_gaps(self, client, engine):
        with pytest.raises(openai.BadRequestError, match="does not support insert"):
            client.completions.create(model=engine.model, prompt="a", suffix="b")


class TestEmbeddings:
    def test_texts(self, client, current):
        # The client asks for base64 where it is not told which.
        given = client.embeddings.create(model=MINILM, input=["a cat", "tax law"])
        floats = client.embeddings.create(
            model=MINILM, input=["a cat", "tax law"], encoding_format="float"
        )
        assert [one.index for one in given.data] == [0, 1]
        for one, other in zip(given.data, floats.data, strict=True):
            assert len(one.embedding) == 384
            assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
        assert given.usage.prompt_tokens == given.usage.total_tokens > 4

    def test_in_base64_they_are_little_endian_floats(self, http, current):
        body = {"model": MINILM, "input": "a cat"}
        as_floats, as_text = (
            http.post("/v1/embeddings", json=body | {"encoding_format": form}).json()["data"][0]
            for form in ("float", "base64")
        )
        numbers = struct.unpack("<384f", base64.b64decode(as_text["embedding"]))
        assert numbers == pytest.approx(as_floats["embedding"], rel=1e-6)

    def test_a_model_that_chats_embeds_nothing(self, client, current):
        with pytest.raises(openai.APIStatusError, match="embed") as caught:
            client.embeddings.create(model=current.model, input="a")
        assert caught.value.status_code == 501


MODEL = "the engine's model"
CHAT = {"model": MODEL, "messages": ASK, "max_tokens": 2}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("chat/completions", None, 400),
        ("chat/completions", b"{", 400),
        ("chat/completions", b"[]", 400),
        ("chat/completions", {"model": 5}, 400),
        ("chat/completions", {"messages": ASK}, 400),
        ("chat/completions", CHAT | {"messages": []}, 400),
        ("chat/completions", CHAT | {"messages": [{"role": "user", "content": 5}]}, 400),
        ("chat/completions", CHAT | {"messages": [{"role": "user"}]}, 400),
        ("chat/completions", CHAT | {"messages": [{"role": "user", "content": [5]}]}, 400),
        ("chat/completions", CHAT | {"temperature": "hot"}, 400),
        ("chat/completions", CHAT | {"max_tokens": "5"}, 400),
        ("chat/completions", CHAT | {"stream": "yes"}, 400),
        ("chat/completions", CHAT | {"tools": [WEATHER]}, 400),
        ("chat/completions", CHAT | {"model": "nope"}, 404),
        (
            "chat/completions",
            CHAT
            | {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "no"}}],
                    }
                ]
            },
            400,
        ),
        (
            "chat/completions",
            CHAT
            | {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
                        ],
                    }
                ]
            },
            400,
        ),
        ("completions", None, 400),
        ("completions", {"model": "nope", "prompt": "x"}, 404),
        ("completions", {"prompt": "x"}, 404),
        ("completions", {"model": MODEL, "prompt": ["a", "b"]}, 400),
        ("completions", {"model": MODEL, "prompt": 5}, 400),
        ("completions", {"model": MODEL, "prompt": "x", "stop": [5]}, 400),
        ("embeddings", None, 400),
        ("embeddings", {"model": MODEL}, 400),
        ("embeddings", {"model": MODEL, "input": 5}, 400),
        ("embeddings", {"model": "nope", "input": "x"}, 404),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_requests(http, engine, path, body, status, stream):
    if isinstance(body, dict):
        body = {"stream": stream} | body if path != "embeddings" else body
        body = json.dumps(body).replace(MODEL, engine.model).encode()
    response = http.post(f"/v1/{path}", content=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["message"]
    if engine.kind == "embedded" or engine.since(0, 30):
        assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert (error["param"], error["code"]) == (None, None)


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_pages_of_other_sites_are_refused(http, name):
    value = "evil.example" if name == "Host" else "http://evil.example"
    assert http.get("/v1/models", headers={name: value}).status_code == 403


def test_many_at_once_get_their_own_answers(client, engine):
    def ask(number: int) -> int:
        asked = {
            "model": engine.shallow,
            "messages": ASK,
            "temperature": 0,
            "stream": number % 2 > 0,
        }
        answer = client.chat.completions.create(**asked, max_tokens=number)
        if number % 2:
            return sum(bool(one.choices[0].delta.content) for one in answer)
        return answer.usage.completion_tokens

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(2, 10))) == list(range(2, 10))


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_hang_up_end_their_answers(http, engine, stream):
    asked = {
        "model": engine.model,
        "messages": [{"role": "user", "content": "Tell a very long story."}],
        "max_tokens": 3500,
        "stream": stream,
    }
    if engine.writes_text:  # which may be short, unless it has to be long
        long = {"type": "array", "items": {"type": "integer"}, "minItems": 4000}
        form = {"type": "json_schema", "json_schema": {"name": "long", "schema": long}}
        asked["response_format"] = form
    for _ in range(8):
        if stream:
            with http.stream("POST", "/v1/chat/completions", json=asked) as response:
                next(response.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=asked, timeout=0.3)
    # With four places and eight of these going on, a ninth client would wait for minutes.
    short = {"model": engine.model, "messages": ASK, "max_tokens": 1}
    answer = http.post("/v1/chat/completions", json=short, timeout=20)
    assert answer.status_code == 200

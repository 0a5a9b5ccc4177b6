"""OpenAI's newer route as its own client sees it."""

from __future__ import annotations

import json

import openai
import pytest

from tests.support.contract import OPENAI_ASK, OPENAI_SHORT, openai_client
from tests.support.contract import WEATHER as OLDER_WEATHER
from tests.support.engines import QWEN, Engine

SHORT = {"max_output_tokens": 8, "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "maxLength": 12}},
    "required": ["colour"],
}
# The same tool as in the older route: there its description stands in a field of its own.
WEATHER = {"type": "function", **OLDER_WEATHER["function"], "strict": False}


@pytest.fixture
def engine(embedded: Engine) -> Engine:
    return embedded


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai_client(engine)


def test_in_one_piece_it_is_the_text_of_the_older_route(client, engine):
    asked = {"model": engine.model, "messages": OPENAI_ASK, **OPENAI_SHORT}
    client.chat.completions.create(**asked)  # now both have the prompt in the cache
    older = client.chat.completions.create(**asked)
    answer = client.responses.create(model=engine.model, input="The sky is", **SHORT)
    assert answer.output_text == older.choices[0].message.content
    assert (answer.object, answer.model, answer.error) == ("response", engine.model, None)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 8
    assert answer.usage.input_tokens == older.usage.prompt_tokens
    assert answer.usage.total_tokens == answer.usage.input_tokens + 8
    assert (answer.completed_at or 0) >= answer.created_at > 1.6e9


def test_streamed_it_is_the_same_text(client, engine):
    asked = {"model": engine.model, "input": "The sky is", **SHORT}
    client.responses.create(**asked)
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    assert [one.sequence_number for one in events] == [*range(len(events))]
    kinds = [one.type.removeprefix("response.") for one in events]
    pieces = [one for one in events if one.type == "response.output_text.delta"]
    begin = ["created", "in_progress", "output_item.added", "content_part.added"]
    end = ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    assert kinds == [*begin, *["output_text.delta"] * len(pieces), *end]
    last = events[-1].response
    assert "".join(one.delta for one in pieces) == last.output_text == whole.output_text
    assert last.usage.output_tokens == 8
    assert {one.item_id for one in pieces} == {last.output[0].id}


def test_it_is_read_by_the_clients_own_stream(client, engine):
    with client.responses.stream(model=engine.model, input="The sky is", **SHORT) as stream:
        told = "".join(one.delta for one in stream if one.type == "response.output_text.delta")
        assert stream._state is not None
    assert told.strip()


def test_events_have_names_and_no_end_of_their_own(http, engine):
    body = {"model": engine.model, "input": "The sky is", "stream": True, **SHORT}
    answer = http.post("/v1/responses", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    for event in events:
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_a_conversation_goes_on_with_what_was_answered(client, engine):
    """Its items are taken as they were given, beside instructions."""
    asked = {"model": engine.model, "instructions": "You count.", **SHORT}
    first = client.responses.create(**asked, input=[{"role": "user", "content": "One."}])
    items = [{"role": "user", "content": "One."}, *first.to_dict()["output"]]
    items.append({"role": "user", "content": [{"type": "input_text", "text": "Two."}]})
    second = client.responses.create(**asked, input=items)
    assert second.usage.input_tokens > first.usage.input_tokens + 8
    assert second.instructions == "You count."


def test_an_answer_that_ends_by_itself_is_complete(client):
    form = {"type": "json_schema", "name": "sky", "schema": SCHEMA}
    answer = client.responses.create(
        model=QWEN,
        input="The colour of the sky, as JSON.",
        text={"format": form},
        temperature=0,
        max_output_tokens=64,
    )
    assert set(json.loads(answer.output_text)) == {"colour"}
    assert (answer.status, answer.incomplete_details) == ("completed", None)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_read(client, stream):
    question = {"role": "user", "content": "What is the weather in Paris?"}
    asked = {"model": QWEN, "tools": [WEATHER], "temperature": 0, "max_output_tokens": 60}
    answer = client.responses.create(
        **asked, input=[question], tool_choice="required", stream=stream
    )
    if stream:
        events = list(answer)
        kinds = [one.type for one in events]
        assert "response.function_call_arguments.done" in kinds
        assert "response.output_text.delta" not in kinds
        answer = events[-1].response
    (call,) = answer.output
    assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
    assert json.loads(call.arguments) == {"city": "Paris"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "19 degrees"}
    then = client.responses.create(**SHORT, model=QWEN, input=[question, call.to_dict(), result])
    called = {"name": call.name, "arguments": call.arguments}
    calls = [{"id": call.call_id, "type": "function", "function": called}]
    older = client.chat.completions.create(
        **OPENAI_SHORT,
        model=QWEN,
        messages=[
            question,
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "tool_call_id": call.call_id, "content": "19 degrees"},
        ],
    )
    assert then.usage.input_tokens == older.usage.prompt_tokens > 30
    assert then.output_text == older.choices[0].message.content


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id: nothing is stored here"),
        ({"conversation": "conv_1"}, "conversation: nothing is stored here"),
        ({"background": True}, "background: Input should be False"),
        ({"tools": [{"type": "web_search"}]}, "tools.0: no tool of type 'web_search'"),
        ({"tool_choice": {"type": "function", "name": "x"}}, 'there is no tool named "x"'),
        ({"input": [{"content": "Hi"}]}, "input.0: a message has no `role`"),
        ({"input": []}, "input: List should have at least 1 item"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input.0.content.0: an image must be a data URL in `image_url`",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input.0.content.0.type: Input should be 'input_text'",
        ),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format: schema is missing"),
        ({"model": "nope"}, "model 'nope' not found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_it_cannot_do_is_refused_in_a_sentence(client, engine, field, message, stream):
    asked = {"model": engine.model, "input": "Hi", "stream": stream} | field
    with pytest.raises(openai.APIStatusError) as raised:
        client.responses.create(**asked)
    assert raised.value.status_code in (400, 404)
    assert message in raised.value.body["message"]


def test_a_prompt_that_is_too_long_is_refused_where_it_may_not_be_cut(http, engine):
    small = {"model": "small", "from": engine.model, "parameters": {"num_ctx": 256}}
    http.post("/api/create", json=small)
    body = {"model": "small", "input": "word " * 500, "max_output_tokens": 1}
    cut = http.post("/v1/responses", json=body)
    assert (cut.status_code, cut.headers["x-prompt-truncated"]) == (200, "true")
    refused = http.post("/v1/responses", json=body | {"truncation": "disabled"})
    assert refused.status_code == 400
    assert "longer than the context" in refused.json()["error"]["message"]
    http.request("DELETE", "/api/delete", json={"model": "small"})

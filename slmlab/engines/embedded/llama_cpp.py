"""Speak to a worker's llama.cpp server: Ollama's words in, llama.cpp's out, and back."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from slmlab.engines.embedded import images
from slmlab.engines.embedded.gguf_header import FILL_IN_MIDDLE
from slmlab.engines.embedded.loader import Worker
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError

# Ollama's own sampling defaults (api/types.go, 0.33), so that a request that leaves an option out
# gets the same from both engines.
DEFAULT_OPTIONS = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": -1,
    "num_predict": -1,
    "num_keep": 4,
    "stop": [],
    # Ours; Ollama ignores it and always goes on from the beginning that it has read before.
    "cache_prompt": True,
}
INTEGERS = {
    "top_k",
    "repeat_last_n",
    "seed",
    "num_predict",
    "num_keep",
    "num_ctx",
    "num_thread",
    "num_batch",
    "num_gpu",
    "main_gpu",
}
FLOATS = {
    "temperature",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
}
# What llama.cpp's server calls them, where it has another name.
LLAMA_NAMES = {"num_predict": "n_predict", "num_keep": "n_keep"}
MAX_REPEATS = 100_000
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that we know, each of its right type; unknown ones are ignored, as by Ollama.

    A wrong type is the caller's mistake, yet Ollama answers 500, and so do we.
    """
    checked: dict[str, Any] = {}
    for key, value in options.items():
        if value is None:  # clients send the options that nobody set as null
            continue
        if key == "typical_p":
            raise ApiError(400, "typical_p is no longer supported")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if key in INTEGERS:
            if not number or value != value or abs(value) >= 2**53:
                raise ApiError(500, f'option "{key}" must be of type integer')
            checked[key] = int(value)
        elif key in FLOATS:
            if not number:
                raise ApiError(500, f'option "{key}" must be of type float32')
            checked[key] = float(value)
        elif key == "stop":
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                raise ApiError(500, 'option "stop" must be of type array')
            checked[key] = [word for word in value if word]
        elif key == "cache_prompt":
            if not isinstance(value, bool):
                raise ApiError(500, 'option "cache_prompt" must be of type boolean')
            checked[key] = value
    return checked


def sampling(options: dict[str, Any]) -> dict[str, Any]:
    """The sampling options in the words of llama.cpp's ``/completion``."""
    body = {LLAMA_NAMES.get(key, key): options[key] for key in DEFAULT_OPTIONS}
    body["n_predict"] = max(-1, body["n_predict"])
    return body


def grammar(wanted: object) -> dict[str, Any]:
    """What holds the answer to the ``format`` asked for: nothing, any JSON object, a schema."""
    if wanted in (None, "", {}):
        return {}
    if wanted == "json":
        return {"json_schema": {"type": "object"}}
    if isinstance(wanted, dict):
        check_schema(wanted, "format")
        return {"json_schema": wanted}
    raise ApiError(400, f'invalid format: {json.dumps(wanted)}; expected "json" or a JSON schema')


def grammar_of_a_call(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What holds the answer to a call of one of these tools, as a JSON object."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": _moved(
                    tool["function"].get("parameters") or {"type": "object"},
                    f"#/anyOf/{number}/properties/arguments",
                ),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, tool in enumerate(tools)
    ]
    return {"json_schema": {"anyOf": calls}}


def _moved(schema: Any, place: str) -> Any:
    """A schema that now stands at ``place`` in another one, and whose references still lead there.

    Examples:
        >>> _moved({"$ref": "#/$defs/City"}, "#/properties/arguments")
        {'$ref': '#/properties/arguments/$defs/City'}
    """
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved


def check_schema(schema: object, what: str) -> None:
    """Refuse a schema that llama.cpp would write out as a grammar of many megabytes, or not hold.

    It writes a repeated thing as often as it is repeated, and in a pattern also what is in it. It
    fetches no other schema, and lets anything pass where one is named.
    """
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        if not isinstance(node, dict):
            continue
        todo += node.values()
        for key, value in node.items():
            repeats: float = 0
            if key in ("minItems", "maxItems", "minLength", "maxLength"):
                repeats = value if isinstance(value, (int, float)) else 0
            elif key == "pattern" and isinstance(value, str):
                pairs = re.findall(r"\{(\d*)(?:,(\d*))?\}", value)
                repeats = math.prod(max(1, *(int(n[:9] or 0) for n in pair)) for pair in pairs)
            elif key == "$ref" and isinstance(value, str) and not value.startswith("#"):
                raise ApiError(400, f'invalid {what}: "$ref" leads out of the schema, to {value}')
            if repeats > MAX_REPEATS:
                raise ApiError(
                    400, f'invalid {what}: "{key}" asks for over {MAX_REPEATS:,} repetitions'
                )


def logprobs(rows: list[dict[str, Any]], top: int) -> list[dict[str, Any]]:
    """llama.cpp's log-probabilities of tokens in Ollama's shape, with ``top`` alternatives each."""
    fields = ("token", "logprob", "bytes")
    shaped = []
    for row in rows:
        shaped.append({key: row[key] for key in fields})
        if top:
            tops = row.get("top_logprobs", [])[:top]
            shaped[-1]["top_logprobs"] = [{key: one[key] for key in fields} for one in tops]
    return shaped


async def render(
    worker: Worker, model: StoredModel, messages: list[dict[str, Any]], more: dict[str, Any]
) -> str:
    """The messages in the model's chat template; a base model has none and gets plain text.

    ``more`` is what the template gets beside them: ``tools``, ``chat_template_kwargs``.

    Raises:
        ApiError: the template refuses a message, most often for its role; the text says which. Or
            it cannot be used.
    """
    if model.chat_template is None:
        texts = [images.marked(one["content"], worker.image_marker) for one in messages]
        return "\n\n".join(texts)
    if not model.chat_template:
        raise ApiError(
            400,
            f"the chat template of {model.name} cannot be translated for llama.cpp, and its file "
            "has none of its own: format the prompt yourself and send it with raw: true, or take "
            "the model from another source",
        )
    try:
        answer = await post(worker, "/apply-template", {"messages": messages} | more)
    except ApiError as error:
        if error.status != 400:
            raise
        number = await _first_refused(worker, messages, more, error.message)
        # llama.cpp tells where in the template it was, and what the template said at the end.
        reason = error.message.rpartition("Error: ")[2].removeprefix("Jinja Exception: ")
        raise ApiError(
            400,
            f"the model's chat template refuses message {number} ({messages[number - 1]['role']}): "
            f"{' '.join(reason.split()).rstrip('.')}; most templates take one system message at "
            "the beginning, and then messages of user and assistant by turns, the user's first",
        ) from error
    return str(answer["prompt"])


async def with_a_turn(
    worker: Worker, model: StoredModel, messages: list[dict[str, Any]], more: dict[str, Any]
) -> list[dict[str, Any]]:
    """System messages that no other message follows, so that the model reads them.

    Many templates have no place for them but the user's first turn, and drop them without one;
    then they are that turn.
    """
    prompt = await render(worker, model, messages, more)
    if all(images.marked(one["content"], "").strip() in prompt for one in messages):
        return messages
    return [message | {"role": "user"} for message in messages]


async def _first_refused(
    worker: Worker, messages: list[dict[str, Any]], more: dict[str, Any], reason: str
) -> int:
    """The number of the message with which the template begins to refuse, from 1."""
    first, last = 1, len(messages)
    while first < last:
        middle = (first + last) // 2
        some = messages[:middle]
        if some[-1]["role"] == "assistant":  # else llama.cpp takes it for an answer to go on with
            some = [*some, {"role": "user", "content": ""}]
        try:
            await post(worker, "/apply-template", {"messages": some} | more)
            refused = False
        except ApiError as error:
            refused = error.message == reason
        first, last = (first, middle) if refused else (middle + 1, last)
    return first


async def tokenize(worker: Worker, text: str) -> list[int]:
    """The tokens that a completion of ``text`` starts from."""
    body = {"content": text, "add_special": True, "parse_special": True}
    tokens: list[int] = (await post(worker, "/tokenize", body))["tokens"]
    return tokens


async def words_of_a_gap(worker: Worker) -> tuple[str, str, str]:
    """What stands before the text before a gap, before the text behind it, and before its filling.

    Of the words that models have for this, those that are one token each in this one.
    """
    for words in FILL_IN_MIDDLE:
        body = {"content": "".join(words), "parse_special": True}
        if len((await post(worker, "/tokenize", body))["tokens"]) == len(words):
            return words
    raise ApiError(400, f"{worker.model.name} does not support insert")


async def post(worker: Worker, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the worker answers to one request that does not stream."""
    async with worker.client.post(path, json=body) as response:
        if response.status != 200:
            raise llama_error(response.status, await response.read())
        answer: dict[str, Any] = await response.json()
        return answer


def llama_error(status: int, content: bytes) -> ApiError:
    """llama.cpp's error in Ollama's shape."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace")[:500] or "the model runner failed"
    return ApiError(400 if status == 400 else 500, message)

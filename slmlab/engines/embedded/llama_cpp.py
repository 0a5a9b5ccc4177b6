"""Speak to a worker's llama.cpp server: Ollama's words in, llama.cpp's out, and back."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.pool import Worker
from slmlab.engines.embedded.responses import ApiError
from slmlab.engines.embedded.schemas import ChatRequest, GenerateRequest

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
    return checked


def sampling(options: dict[str, Any], args: GenerateRequest | ChatRequest) -> dict[str, Any]:
    """The sampling options in the words of llama.cpp's ``/completion``."""
    body = {LLAMA_NAMES.get(key, key): options[key] for key in DEFAULT_OPTIONS}
    body["n_predict"] = max(-1, body["n_predict"])
    # An honest prompt time and the same answer each time are worth more in a lab than the time
    # that a reused prefix saves.
    body["cache_prompt"] = False
    # A piece for each token costs processor time that the model could have.
    body["stream"] = args.stream is not False
    if args.logprobs:
        body["n_probs"] = max(1, args.top_logprobs or 0)
    return body


def grammar(wanted: object) -> dict[str, Any]:
    """What holds the answer to the ``format`` asked for: nothing, any JSON object, a schema."""
    if wanted in (None, "", {}):
        return {}
    if wanted == "json":
        return {"json_schema": {"type": "object"}}
    if isinstance(wanted, dict):
        _check_repeats(wanted)
        return {"json_schema": wanted}
    raise ApiError(400, f'invalid format: {json.dumps(wanted)}; expected "json" or a JSON schema')


def _check_repeats(schema: object) -> None:
    """Refuse a schema that llama.cpp would write out as a grammar of many megabytes.

    It writes a repeated thing as often as it is repeated, and in a pattern also what is in it.
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
            if repeats > MAX_REPEATS:
                raise ApiError(
                    400, f'invalid format: "{key}" asks for over {MAX_REPEATS:,} repetitions'
                )


def logprobs_of(
    piece: dict[str, Any], args: GenerateRequest | ChatRequest
) -> list[dict[str, Any]] | None:
    """The log-probabilities of a piece's tokens, in Ollama's shape, where they were asked for."""
    if not args.logprobs:
        return None
    fields = ("token", "logprob", "bytes")
    rows = []
    for token in piece.get("completion_probabilities", []):
        row = {key: token[key] for key in fields}
        if args.top_logprobs:
            tops = token.get("top_logprobs", [])[: args.top_logprobs]
            row["top_logprobs"] = [{key: top[key] for key in fields} for top in tops]
        rows.append(row)
    return rows


def metrics(last: dict[str, Any], started: int, loaded: int) -> dict[str, Any]:
    """The final chunk's counters, in nanoseconds; a zero is left out, as Ollama does."""
    timings = last.get("timings", {})
    stop = "length" if last.get("stop_type") == "limit" else "stop"
    counters = {
        "total_duration": time.perf_counter_ns() - started,
        "load_duration": loaded - started,
        "prompt_eval_count": last.get("tokens_evaluated", 0),
        "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
        "eval_count": last.get("tokens_predicted", 0),
        "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
    }
    return {"done_reason": stop} | {key: value for key, value in counters.items() if value}


async def render(worker: Worker, model: StoredModel, messages: list[dict[str, Any]]) -> str:
    """The messages in the model's chat template; a base model has none and gets plain text.

    Raises:
        ApiError: the template refuses a message, most often for its role; the text says which. Or
            it cannot be used.
    """
    if model.chat_template is None:
        return "\n\n".join(message["content"] for message in messages)
    if not model.chat_template:
        raise ApiError(
            400,
            f"the chat template of {model.name} cannot be translated for llama.cpp, and its file "
            "has none of its own: format the prompt yourself and send it with raw: true, or take "
            "the model from another source",
        )
    try:
        answer = await post(worker, "/apply-template", {"messages": messages})
    except ApiError as error:
        if error.status != 400:
            raise
        number = await _first_refused(worker, messages, error.message)
        # llama.cpp tells where in the template it was, and what the template said at the end.
        reason = error.message.rpartition("Error: ")[2].removeprefix("Jinja Exception: ")
        raise ApiError(
            400,
            f"the model's chat template refuses message {number} ({messages[number - 1]['role']}): "
            f"{' '.join(reason.split()).rstrip('.')}; most templates take one system message at "
            "the beginning, and then messages of user and assistant by turns, the user's first",
        ) from error
    return str(answer["prompt"])


async def _first_refused(worker: Worker, messages: list[dict[str, Any]], reason: str) -> int:
    """The number of the message with which the template begins to refuse, from 1."""
    first, last = 1, len(messages)
    while first < last:
        middle = (first + last) // 2
        some = messages[:middle]
        if some[-1]["role"] == "assistant":  # else llama.cpp takes it for an answer to go on with
            some = [*some, {"role": "user", "content": ""}]
        try:
            await post(worker, "/apply-template", {"messages": some})
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


async def post(worker: Worker, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the worker answers to one request that does not stream."""
    async with worker.client.post(path, json=body) as response:
        if response.status != 200:
            raise _llama_error(response.status, await response.read())
        answer: dict[str, Any] = await response.json()
        return answer


def _llama_error(status: int, content: bytes) -> ApiError:
    """llama.cpp's error in Ollama's shape."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace")[:500] or "the model runner failed"
    return ApiError(400 if status == 400 else 500, message)


async def complete(worker: Worker, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """llama.cpp's stream of pieces, or the one of all; the last has the timings."""
    async with worker.client.post("/completion", json=body) as response:
        if response.status != 200:
            raise _llama_error(response.status, await response.read())
        if not body["stream"]:
            yield orjson.loads(await response.read())
            return
        buffer = b""
        async for block in response.content.iter_any():
            buffer += block
            *events, buffer = buffer.split(b"\n\n")
            for event in events:
                if event.startswith(b"data: "):
                    piece = orjson.loads(event[6:])
                    yield piece
                    if piece.get("stop"):
                        return
                elif event.startswith(b"error: "):
                    raise _llama_error(500, b'{"error":' + event[7:] + b"}")
    raise aiohttp.ServerDisconnectedError("the model runner ended in mid-answer")


def join_chunks(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """One answer out of a stream, for ``stream: false``."""
    last = dict(chunks[-1])
    if "response" in last:
        last["response"] = "".join(chunk["response"] for chunk in chunks)
    if "message" in last:
        text = "".join(chunk["message"]["content"] for chunk in chunks)
        last["message"] = {**last["message"], "content": text}
    logprobs = [row for chunk in chunks for row in chunk.get("logprobs", [])]
    return last | ({"logprobs": logprobs} if logprobs else {})


async def fit_prompt(
    worker: Worker,
    args: GenerateRequest | ChatRequest,
    model: StoredModel,
    messages: list[dict[str, Any]],
    raw: str | None,
    options: dict[str, Any],
) -> tuple[str | list[int], bool]:
    """The prompt as text, or as tokens where it had to be cut, and whether anything is left out.

    Like Ollama, a conversation first loses its oldest messages (never the system's nor the
    last), and what is then still too long keeps its first ``num_keep`` tokens and its end.
    """
    may_cut = args.truncate is not False and args.shift is not False
    limit, truncated = worker.settings.num_ctx, False
    while True:
        prompt = raw if raw is not None else await render(worker, model, messages)
        # A token is at least one byte, so a short text cannot be too long.
        if len(prompt.encode()) < limit:
            return prompt, truncated
        tokens = await tokenize(worker, prompt)
        if len(tokens) < limit:
            return prompt, truncated
        if not may_cut:
            raise ApiError(400, TOO_LONG)
        oldest = next((i for i, m in enumerate(messages) if m["role"] != "system"), None)
        if raw is not None or oldest is None or oldest >= len(messages) - 1:
            break
        messages, truncated = messages[:oldest] + messages[oldest + 1 :], True
    keep = max(0, min(options["num_keep"], limit - 1))
    cut = limit - max((limit - keep) // 2, 1)
    return tokens[:keep] + tokens[len(tokens) - (cut - keep) :], True

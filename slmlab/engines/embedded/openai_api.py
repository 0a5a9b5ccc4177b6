"""The routes of OpenAI's API, each a translation of one of Ollama's.

What an answer looks like follows Ollama's ``openai/openai.go`` and ``middleware/openai.go`` (0.34).
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slmlab.engines.embedded import embed_api, generate_api
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.generate_api import Steps
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.openai_schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    EmbeddingRequest,
)
from slmlab.engines.embedded.responses import parsed
from slmlab.engines.model_names import NameNotValid, full_name, read_name


async def models(engine: Engine, request: Request) -> Response:
    """``GET /v1/models``: the models on disk."""
    found = [_model(one, one.name) for one in engine.store.all()]
    return JSONResponse({"object": "list", "data": found})


async def model(engine: Engine, request: Request) -> Response:
    """``GET /v1/models/{model}``: one of them."""
    name = request.path_params["model"]
    with contextlib.suppress(NameNotValid):  # said by the engine, in Ollama's words
        name = full_name(name)
    return JSONResponse(_model(engine.model(name), request.path_params["model"]))


def _model(stored: StoredModel, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.fromisoformat(stored.modified).timestamp()),
        "owned_by": read_name(stored.name).namespace,
    }


async def chat_completions(engine: Engine, request: Request) -> Response:
    """``POST /v1/chat/completions``: the next message of a conversation."""
    args = await parsed(request, ChatCompletionRequest)
    kind = "chat.completion.chunk" if args.stream else "chat.completion"
    head = _head(f"chatcmpl-{uuid.uuid4().hex}", kind, args.model)

    async def chunks(steps: Steps) -> Steps:
        role, called = {"role": "assistant"}, False
        async with contextlib.aclosing(steps):
            async for step in steps:
                message = _message(step)
                called = called or "tool_calls" in message
                thoughts = {"reasoning": message.pop("reasoning", "")}
                logprobs = _logprobs(step)
                if thoughts["reasoning"]:
                    yield head | _choice(delta=role | thoughts, finish_reason=None)
                    role = {}
                # The last step has an empty text and the counters; a chunk of an answer that has
                # no text at all still says whose it is.
                if message["content"] or "tool_calls" in message or logprobs or role:
                    yield head | _choice(delta=role | message, finish_reason=None, **logprobs)
                    role = {}
                if step["done"]:
                    yield head | _choice(delta={}, finish_reason=_finish_reason(step, called))
                    if args.usage_wanted:
                        yield head | {"choices": [], "usage": _usage(step)}

    async def whole(steps: Steps) -> Steps:
        async with contextlib.aclosing(steps):
            async for step in steps:
                message = {"role": "assistant"} | _message(step)
                reason = _finish_reason(step, "tool_calls" in message)
                choice = _choice(message=message, finish_reason=reason, **_logprobs(step))
                yield head | choice | {"usage": _usage(step)}

    return await generate_api.converse(
        engine,
        request,
        args.as_ollamas(),
        chunks if args.stream else whole,
        must_call=args.must_call,
    )


async def completions(engine: Engine, request: Request) -> Response:
    """``POST /v1/completions``: continue one prompt."""
    args = await parsed(request, CompletionRequest)
    head = _head(f"cmpl-{uuid.uuid4().hex}", "text_completion", args.model)

    async def translated(steps: Steps) -> Steps:
        length = 0
        async with contextlib.aclosing(steps):
            async for step in steps:
                text, rows = step["response"], step.get("logprobs")
                logprobs = {"logprobs": _old_logprobs(rows, length)} if rows else {}
                length += len(text)
                reason = _finish_reason(step) if step["done"] else None
                choice = _choice(text=text, finish_reason=reason, **logprobs)
                usage = {"usage": _usage(step)} if step["done"] else {}
                if not args.stream:
                    yield head | choice | usage
                    continue
                yield head | choice
                if usage and args.usage_wanted:
                    yield head | {"choices": []} | usage

    return await generate_api.complete(engine, request, args.as_ollamas(), translated)


async def embeddings(engine: Engine, request: Request) -> Response:
    """``POST /v1/embeddings``: one vector of length one for each text."""
    args = await parsed(request, EmbeddingRequest)
    answer = await embed_api.embedded(engine, request, args.as_ollamas())
    vectors = list(answer["embeddings"])
    if args.encoding_format == "base64":
        vectors = [base64.b64encode(one.astype("<f4").tobytes()).decode() for one in vectors]
    data = [{"object": "embedding", "embedding": v, "index": i} for i, v in enumerate(vectors)]
    tokens = answer.get("prompt_eval_count", 0)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    fields = {"object": "list", "model": args.model, "usage": usage}
    return embed_api.json_of(fields, "data", data)


def _head(id_: str, kind: str, model: str) -> dict[str, Any]:
    """What all parts of an answer begin with."""
    return {
        "id": id_,
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "fp_ollama",
    }


def _choice(**fields: Any) -> dict[str, Any]:
    """The one choice that an answer has."""
    return {"choices": [{"index": 0, **fields}]}


def _message(step: dict[str, Any]) -> dict[str, Any]:
    """The content, thoughts and calls of a message, each under OpenAI's name where there is any."""
    given = step["message"]
    message: dict[str, Any] = {"content": given["content"]}
    if given.get("thinking"):
        message["reasoning"] = given["thinking"]
    if given.get("tool_calls"):
        message["tool_calls"] = [
            {
                "id": call["id"],
                "index": call["function"]["index"],
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
                },
            }
            for call in given["tool_calls"]
        ]
    return message


def _finish_reason(step: dict[str, Any], called: bool = False) -> str:
    if step["done_reason"] == "length":
        return "length"
    return "tool_calls" if called else "stop"


def _usage(step: dict[str, Any]) -> dict[str, Any]:
    read, written = step.get("prompt_eval_count", 0), step.get("eval_count", 0)
    return {
        "prompt_tokens": read,
        "prompt_tokens_details": {"cached_tokens": step.get("prompt_eval_cached_count", 0)},
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def _logprobs(step: dict[str, Any]) -> dict[str, Any]:
    """The log-probabilities of a message's tokens; OpenAI's have alternatives always."""
    rows = step.get("logprobs")
    return {"logprobs": {"content": [{"top_logprobs": []} | row for row in rows]}} if rows else {}


def _old_logprobs(rows: list[dict[str, Any]], start: int) -> dict[str, Any]:
    """Those of a completion's tokens, of which the first begins ``start`` characters in."""
    offsets = []
    for row in rows:
        offsets.append(start)
        start += len(row["token"])
    return {
        "tokens": [row["token"] for row in rows],
        "token_logprobs": [row["logprob"] for row in rows],
        "top_logprobs": [
            {one["token"]: one["logprob"] for one in row.get("top_logprobs", [])} for row in rows
        ],
        "text_offset": offsets,
    }

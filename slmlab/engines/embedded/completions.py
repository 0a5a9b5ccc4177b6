"""What llama.cpp writes, piece by piece: text, thoughts, calls of tools, log-probabilities."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import orjson

from slmlab.engines.embedded.llama_cpp import llama_error
from slmlab.engines.embedded.loader import Worker, WorkerLost
from slmlab.engines.embedded.responses import ApiError


@dataclass
class Piece:
    """A piece of an answer.

    Attributes:
        text: of the answer.
        thinking: the text of thoughts, where the model's chat template sets them apart.
        tool_calls: whole calls, each with ``id``, ``name`` and ``arguments`` (an object).
        logprobs: of its tokens, each with ``token``, ``logprob``, ``bytes``, ``top_logprobs``.
        stop_reason: of the last piece, ``stop`` or ``length``; None before.
        counters: of the last piece, its tokens and times, by Ollama's names, in nanoseconds.
    """

    text: str = ""
    thinking: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    counters: dict[str, int] = field(default_factory=dict)


async def complete(worker: Worker, body: dict[str, Any]) -> AsyncGenerator[Piece, None]:
    """The pieces that llama.cpp writes to go on from a prompt; all in one without ``stream``."""
    async with contextlib.aclosing(_events(worker, "/completion", body)) as events:
        async for event in events:
            rows = event.get("completion_probabilities", [])
            piece = Piece(event.get("content", ""), logprobs=rows)
            if event.get("stop"):
                if body["stream"]:  # the last event has once more what the others had
                    piece.logprobs = []
                piece.stop_reason = "length" if event.get("stop_type") == "limit" else "stop"
                piece.counters = _counters(event)
                yield piece
                return
            yield piece
    raise WorkerLost("the model runner ended in mid-answer")


async def chat(worker: Worker, body: dict[str, Any]) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer in which llama.cpp tells text, thoughts and calls apart."""
    calls: dict[int, dict[str, str]] = {}
    async with contextlib.aclosing(_events(worker, "/v1/chat/completions", body)) as events:
        async for event in events:
            if not event.get("choices"):
                continue
            choice = event["choices"][0]
            message = choice.get("delta") or choice.get("message") or {}
            for part in message.get("tool_calls") or []:
                _gather(calls, part)
            piece = Piece(
                text=message.get("content") or "",
                thinking=message.get("reasoning_content") or "",
                logprobs=(choice.get("logprobs") or {}).get("content") or [],
            )
            if reason := choice.get("finish_reason"):
                piece.stop_reason = "length" if reason == "length" else "stop"
                piece.counters = _counters(event)
                whole = [_call(calls[index], reason == "length") for index in sorted(calls)]
                piece.tool_calls = [call for call in whole if call]
                yield piece
                return
            yield piece
    raise WorkerLost("the model runner ended in mid-answer")


async def as_call(answer: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The answer, whose text is a call in JSON (see ``llama_cpp.grammar_of_a_call``), as that."""
    text = ""
    async with contextlib.aclosing(answer) as pieces:
        async for piece in pieces:
            text, piece.text = text + piece.text, ""
            if piece.stop_reason:
                try:
                    piece.tool_calls = [{"id": f"call_{uuid.uuid4().hex}"} | json.loads(text)]
                except ValueError:  # it was cut off
                    piece.text = text
            yield piece


def _gather(calls: dict[int, dict[str, str]], part: dict[str, Any]) -> None:
    """Put a part of a call to the parts before it; they come in many."""
    index = part.get("index", len(calls))
    call = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
    call["id"] += part.get("id") or ""
    for key in ("name", "arguments"):
        call[key] += part.get("function", {}).get(key) or ""


def _call(call: dict[str, str], cut: bool) -> dict[str, Any] | None:
    """A call with its arguments as an object; None where the answer ended in their middle."""
    try:
        arguments = json.loads(call["arguments"].strip() or "{}")
    except ValueError as error:
        if cut:
            return None
        raise ApiError(
            500, f'the arguments of the tool call "{call["name"]}" are no JSON: {error}'
        ) from error
    return {"id": call["id"], "name": call["name"], "arguments": arguments}


def _counters(last: dict[str, Any]) -> dict[str, int]:
    """Tokens and times of an answer; a prompt's time is that of the tokens not in the cache."""
    timings = last.get("timings", {})
    return {
        "prompt_eval_cached_count": timings.get("cache_n", 0),
        "prompt_eval_count": timings.get("cache_n", 0) + timings.get("prompt_n", 0),
        "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
        "eval_count": timings.get("predicted_n", 0),
        "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
    }


async def _events(
    worker: Worker, path: str, body: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """What the worker answers: one object, or those of a stream as they come."""
    async with worker.client.post(path, json=body) as response:
        if response.status != 200:
            raise llama_error(response.status, await response.read())
        if not body["stream"]:
            yield orjson.loads(await response.read())
            return
        buffer = b""
        async for block in response.content.iter_any():
            buffer += block
            *events, buffer = buffer.split(b"\n\n")
            for event in events:
                kind, _, content = event.partition(b": ")
                if kind == b"data" and content != b"[DONE]":
                    found = orjson.loads(content)
                    if "error" in found:
                        raise llama_error(500, content)
                    yield found
                elif kind == b"error":
                    raise llama_error(500, b'{"error":' + content + b"}")

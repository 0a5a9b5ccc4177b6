"""The routes that run a model: continue a prompt, answer a conversation."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from slmlab.engines.embedded import CACHE_PROMPT, PROMPT_TRUNCATED, answers, images, llama_cpp
from slmlab.engines.embedded.answers import Question
from slmlab.engines.embedded.completions import Piece
from slmlab.engines.embedded.engine import Engine, keep_alive_seconds
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError, parsed, reply
from slmlab.engines.embedded.schemas import (
    ChatRequest,
    GenerateRequest,
    Message,
)

THINK_LEVELS = ("high", "medium", "low", "max")
Steps = AsyncGenerator[dict[str, Any], None]
# Puts the parts of an answer in the shape of another API.
Translate = Callable[[Steps], Steps]


def as_it_is(steps: Steps) -> Steps:
    """The parts of an answer in the shape of Ollama's API."""
    return steps


async def generate(engine: Engine, request: Request) -> Response:
    """``POST /api/generate``: continue one prompt, or fill the gap before ``suffix``."""
    return await complete(engine, request, await parsed(request, GenerateRequest))


async def complete(
    engine: Engine, request: Request, args: GenerateRequest, translated: Translate = as_it_is
) -> Response:
    """Answer a prompt, with each part of the answer as ``translated`` has it."""
    _check_logprobs(args)
    model = engine.model(args.model)
    if args.raw and (args.template or args.system or args.context):
        raise ApiError(400, "raw mode does not support template, system, or context")
    if args.template or args.context:
        raise ApiError(400, "the embedded engine does not support template or context")
    _check_able(model, insert=args.suffix, vision=args.images)
    pictures = await _checked_images(args.images)
    prompt = images.with_images(args.prompt, pictures)
    messages = [*model.messages, {"role": "user", "content": prompt}]
    if system := args.system or model.system:
        messages.insert(0, {"role": "system", "content": system})
    raw = None
    if args.raw or args.suffix:
        raw = prompt
    elif model.chat_template is None and not model.messages:
        raw = images.with_images(f"{system}\n\n{args.prompt}", pictures) if system else prompt

    def shaped(piece: Piece) -> dict[str, Any]:
        return {"response": piece.text} | ({"thinking": piece.thinking} if piece.thinking else {})

    suffix = "" if args.raw else args.suffix or ""
    question = _question(request, model, args, messages=messages, raw=raw, suffix=suffix)
    return await _run(engine, request, args, question, shaped, translated)


async def chat(engine: Engine, request: Request) -> Response:
    """``POST /api/chat``: the next message of a conversation."""
    return await converse(engine, request, await parsed(request, ChatRequest))


async def converse(
    engine: Engine,
    request: Request,
    args: ChatRequest,
    translated: Translate = as_it_is,
    must_call: bool = False,
) -> Response:
    """Answer a conversation, with each part of the answer as ``translated`` has it.

    With ``must_call`` the answer is a call of a tool.
    """
    _check_logprobs(args)
    if not args.model:
        raise ApiError(400, "model is required")
    model = engine.model(args.model)
    _check_able(model, tools=args.tools, vision=any(one.images for one in args.messages))
    given = [_message(one, await _checked_images(one.images)) for one in args.messages]
    messages = [*model.messages, *given]
    if model.system and not any(one["role"] == "system" for one in given):
        messages.insert(0, {"role": "system", "content": model.system})

    def shaped(piece: Piece) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": piece.text}
        if piece.thinking:
            message["thinking"] = piece.thinking
        if piece.tool_calls:
            message["tool_calls"] = [
                {"id": one["id"]}
                | {"function": {"index": i, "name": one["name"], "arguments": one["arguments"]}}
                for i, one in enumerate(piece.tool_calls)
            ]
        return {"message": message}

    tools = [one.model_dump(exclude_none=True) for one in args.tools or []]
    llama_cpp.check_schema(tools, "tools")
    question = _question(request, model, args, messages=messages, tools=tools)
    if must_call:
        grammar = llama_cpp.grammar_of_a_call(tools)
        question = dataclasses.replace(question, must_call=True, grammar=grammar)
    return await _run(engine, request, args, question, shaped, translated)


def _check_logprobs(args: GenerateRequest | ChatRequest) -> None:
    if not 0 <= (args.top_logprobs or 0) <= 20:
        raise ApiError(400, "top_logprobs must be between 0 and 20")


def _check_able(model: StoredModel, **needed: object) -> None:
    """Refuse what is wanted of a model and is not among its capabilities, in Ollama's words."""
    for capability, value in needed.items():
        if value and capability not in model.capabilities:
            raise ApiError(400, f"{model.name} does not support {capability}")


async def _checked_images(given: list[str] | None) -> list[str]:
    """The images of a request, as llama.cpp takes them."""
    return await asyncio.to_thread(images.checked, given) if given else []


def _message(given: Message, pictures: list[str]) -> dict[str, Any]:
    """A message in the shape that llama.cpp takes."""
    content = images.with_images(given.content or "", pictures)
    message: dict[str, Any] = {"role": given.role.lower(), "content": content}
    for name, value in (
        ("reasoning_content", given.thinking),
        ("tool_call_id", given.tool_call_id),
        ("name", given.tool_name),
    ):
        if value:
            message[name] = value
    if given.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": json.dumps(call.function.arguments),
                },
            }
            for call in given.tool_calls
        ]
    return message


def _nothing_to_do(args: GenerateRequest | ChatRequest) -> bool:
    """Whether there is no prompt, so that the model is only loaded or unloaded."""
    return not (args.messages if isinstance(args, ChatRequest) else args.prompt)


def _question(
    request: Request, model: StoredModel, args: GenerateRequest | ChatRequest, **more: Any
) -> Question:
    """What the request asks of the model.

    Raises:
        ApiError: the model cannot do it, or a value is none that Ollama takes.
    """
    keep_alive = keep_alive_seconds(args.keep_alive)
    unloads = _nothing_to_do(args) and keep_alive == 0  # as any model can be, also to embed
    if "completion" not in model.capabilities and not unloads:
        route = "chat" if isinstance(args, ChatRequest) else "generate"
        raise ApiError(400, f'"{args.model}" does not support {route}')
    think = args.think
    if not isinstance(think, (bool, str, type(None))):
        raise ApiError(400, "think must be a boolean or string")
    if isinstance(think, str) and think not in THINK_LEVELS:
        levels = ", ".join(f'"{level}"' for level in THINK_LEVELS)
        raise ApiError(400, f'invalid think value: "{think}" (must be {levels}, true, or false)')
    if "thinking" in model.capabilities:
        think = True if think is None else think
    elif think:
        raise ApiError(400, f'"{args.model}" does not support thinking')
    options = _options(model, args.options)
    if request.headers.get(CACHE_PROMPT) == "false":
        options["cache_prompt"] = False
    return Question(
        model=model,
        options=options,
        keep_alive=keep_alive,
        think=think,
        grammar=llama_cpp.grammar(args.format),
        stream=args.stream is not False,
        logprobs=bool(args.logprobs),
        top_logprobs=args.top_logprobs or 0,
        truncate=args.truncate is not False,
        shift=args.shift is not False,
        **more,
    )


async def _run(
    engine: Engine,
    request: Request,
    args: GenerateRequest | ChatRequest,
    question: Question,
    shaped: Callable[[Piece], dict[str, Any]],
    translated: Translate,
) -> Response:
    """Answer with the model's text, in pieces or in one.

    Args:
        engine: what runs the model.
        request: whose client may hang up meanwhile.
        args: the request's body.
        question: what it asks.
        shaped: puts a piece where this route has it.
        translated: puts the parts of the answer in the shape of the API that was asked.
    """
    started = time.perf_counter_ns()

    def stamp(piece: Piece, **more: Any) -> dict[str, Any]:
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        rows = llama_cpp.logprobs(piece.logprobs, args.top_logprobs or 0)
        return {
            "model": args.model,
            "created_at": now,
            **shaped(piece),
            **({"logprobs": rows} if args.logprobs and rows else {}),
            "done": piece.stop_reason is not None,
            **more,
        }

    async def load() -> Steps:
        if question.keep_alive == 0:
            await engine.pool.unload_model(question.model)
            yield stamp(Piece(stop_reason="unload"), done_reason="unload")
            return
        async with (
            engine.admit(),
            engine.loaded(question.model, question.options, question.keep_alive),
        ):
            pass
        yield stamp(Piece(stop_reason="load"), done_reason="load")

    headers: dict[str, str] = {}

    async def steps() -> Steps:
        async with answers.prepare(engine, question) as prepared:
            headers[PROMPT_TRUNCATED] = str(prepared.truncated).lower()
            if args.debug_render_only:
                rendered = prepared.rendered
                yield stamp(Piece(stop_reason="stop"), _debug_info={"rendered_template": rendered})
                return
            async with contextlib.aclosing(prepared.pieces()) as pieces:
                async for piece in pieces:
                    if piece.stop_reason is None:
                        if piece.text or piece.thinking or piece.logprobs:
                            yield stamp(piece)
                        continue
                    counters = {
                        "total_duration": time.perf_counter_ns() - started,
                        "load_duration": prepared.loaded_at - started,
                        **piece.counters,
                    }
                    # Ollama leaves out a counter that is zero, but for one.
                    counters = {
                        name: value
                        for name, value in counters.items()
                        if value or name == "prompt_eval_cached_count"
                    }
                    yield stamp(piece, done_reason=piece.stop_reason, **counters)

    parts = translated(load() if _nothing_to_do(args) else steps())
    return await reply(request, parts, args.stream, headers=headers)


def _options(model: StoredModel, options: dict[str, Any] | None) -> dict[str, Any]:
    """All options of a request: Ollama's defaults, the model's own, and what the request sets."""
    return llama_cpp.DEFAULT_OPTIONS | model.options | llama_cpp.check_options(options or {})

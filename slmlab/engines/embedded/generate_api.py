"""The routes that run a model: continue a prompt, answer a conversation."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slmlab.engines.embedded import PROMPT_TRUNCATED, llama_cpp
from slmlab.engines.embedded.engine import Engine, keep_alive_seconds
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError, read_body, reply, unless_gone
from slmlab.engines.embedded.schemas import ChatRequest, GenerateRequest, parse


async def generate(engine: Engine, request: Request) -> Response:
    """``POST /api/generate``: continue one prompt."""
    args = parse(GenerateRequest, await read_body(request))
    model = engine.model(args.model)
    if args.raw and (args.template or args.system or args.context):
        raise ApiError(400, "raw mode does not support template, system, or context")
    for field, what in (("suffix", "insert"), ("images", "vision")):
        if getattr(args, field):
            raise ApiError(400, f"{model.name} does not support {what}")
    if args.template or args.context:
        raise ApiError(400, "the embedded engine does not support template or context")
    messages = [*model.messages, {"role": "user", "content": args.prompt}]
    if system := args.system or model.system:
        messages.insert(0, {"role": "system", "content": system})
    as_it_is = model.chat_template is None and not model.messages
    raw = args.prompt if args.raw or as_it_is else None
    if raw is not None and not args.raw and system:
        raw = f"{system}\n\n{raw}"

    def chunk(text: str, logprobs: list[Any] | None) -> dict[str, Any]:
        return {"response": text} | ({"logprobs": logprobs} if logprobs else {})

    return await _run(
        engine, request, args, model, messages, raw, chunk, nothing_to_do=not args.prompt
    )


async def chat(engine: Engine, request: Request) -> Response:
    """``POST /api/chat``: the next message of a conversation."""
    args = parse(ChatRequest, await read_body(request))
    if not args.model:
        raise ApiError(400, "model is required")
    model = engine.model(args.model)
    if args.tools:
        raise ApiError(400, f"{model.name} does not support tools")
    if any(message.images for message in args.messages):
        raise ApiError(400, f"{model.name} does not support vision")
    given = [{"role": one.role, "content": one.content} for one in args.messages]
    messages = [*model.messages, *given]
    if model.system and not any(one["role"] == "system" for one in given):
        messages.insert(0, {"role": "system", "content": model.system})

    def chunk(text: str, logprobs: list[Any] | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"message": message} | ({"logprobs": logprobs} if logprobs else {})

    return await _run(
        engine, request, args, model, messages, None, chunk, nothing_to_do=not args.messages
    )


async def _run(
    engine: Engine,
    request: Request,
    args: GenerateRequest | ChatRequest,
    model: StoredModel,
    messages: list[dict[str, str]],
    raw: str | None,
    chunk: Callable[[str, list[Any] | None], dict[str, Any]],
    nothing_to_do: bool,
) -> Response:
    """Answer with the model's text, in pieces or in one.

    Args:
        engine: what runs the model.
        request: whose client may hang up meanwhile.
        args: the request's body.
        model: the model that it names.
        messages: the conversation, for the model's chat template.
        raw: the prompt as it is, where no chat template is to be used.
        chunk: puts a text and its log-probabilities where this route has them.
        nothing_to_do: there is no prompt, so the model is only loaded or unloaded.
    """
    started = time.perf_counter_ns()
    options = _options(model, args.options)
    keep_alive = keep_alive_seconds(args.keep_alive)
    if "completion" not in model.capabilities:
        what = "chat" if isinstance(args, ChatRequest) else "generate"
        raise ApiError(400, f'"{args.model}" does not support {what}')
    if args.think not in (None, False):
        raise ApiError(400, f'"{args.model}" does not support thinking')
    if args.top_logprobs is not None and not 0 <= args.top_logprobs <= 20:
        raise ApiError(400, "top_logprobs must be between 0 and 20")
    schema = llama_cpp.grammar(args.format)

    def stamp(done: bool, **more: Any) -> dict[str, Any]:
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        return {"model": args.model, "created_at": now} | more | {"done": done}

    if nothing_to_do:
        if keep_alive == 0:
            await engine.pool.unload_model(model)
            return JSONResponse(stamp(True, **chunk("", None)) | {"done_reason": "unload"})

        async def load() -> None:
            async with engine.admit(), engine.loaded(model, options, keep_alive):
                pass

        await unless_gone(request, load())
        return JSONResponse(stamp(True, **chunk("", None)) | {"done_reason": "load"})

    headers: dict[str, str] = {}

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        async with engine.admit(), engine.loaded(model, options, keep_alive) as worker:
            loaded = time.perf_counter_ns()
            prompt, truncated = await llama_cpp.fit_prompt(
                worker, args, model, messages, raw, options
            )
            headers[PROMPT_TRUNCATED] = str(truncated).lower()
            if args.debug_render_only:
                text = prompt if isinstance(prompt, str) else raw
                yield stamp(True) | {"_debug_info": {"rendered_template": text}}
                return
            body = llama_cpp.sampling(options, args) | schema | {"prompt": prompt}
            async for piece in llama_cpp.complete(worker, body):
                if text := piece.get("content"):
                    yield stamp(False, **chunk(text, llama_cpp.logprobs_of(piece, args)))
            yield stamp(True, **chunk("", None)) | llama_cpp.metrics(piece, started, loaded)

    return await reply(request, steps(), args.stream, joined=llama_cpp.join_chunks, headers=headers)


def _options(model: StoredModel, options: dict[str, Any] | None) -> dict[str, Any]:
    """All options of a request: Ollama's defaults, the model's own, and what the request sets."""
    return llama_cpp.DEFAULT_OPTIONS | model.options | llama_cpp.check_options(options or {})

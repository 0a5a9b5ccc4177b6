"""How the embedded engine answers: streams, errors, clients that disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from slmlab.engines.embedded.schemas import Body, parse

MAX_BODY = 64 * 2**20
# Lists and objects in a body, and items in them. Each takes a hundred bytes of memory and delays
# all other requests while it is read. Texts count too: no context holds as many in a prompt.
MAX_NESTED, MAX_ITEMS = 500_000, 5_000_000
# Seconds that a client may pause while it sends a body, and bytes a second that it has to send.
MAX_PAUSE, SLOWEST = 60.0, 1024
# Bytes of bodies in memory, of all requests together; as JSON is read they become several times as
# many.
MAX_BODIES = 8 * MAX_BODY
# Bytes from which on a body waits for its turn to be parsed, since nothing else is done meanwhile.
LARGE = 2**16
# Where a request's scope has what counts its body, and the turn.
HOLD, TURN = "slmlab.hold", "slmlab.turn"
Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=Body)


class ApiError(Exception):
    """An error that is answered in the format of the API that was asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def speaks_openai(request: Request) -> bool:
    """Whether the request is to OpenAI's API, else to Ollama's."""
    return request.url.path.startswith("/v1/")


def error_body(request: Request, status: int, message: str) -> dict[str, Any]:
    """What an answer with an error says, as clients of the API that was asked read it."""
    if not speaks_openai(request):
        return {"error": message}
    kind = "api_error" if status >= 500 else "invalid_request_error"
    kind = "not_found_error" if status == 404 else kind
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def reply(
    request: Request,
    steps: AsyncGenerator[dict[str, Any], None],
    stream: bool | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with ``steps`` while they come, or with the last of them alone.

    They come as lines of JSON, in OpenAI's API as server-sent events, which are named where the
    steps have a ``type``. ``headers`` may be filled until the first step. An error before the first
    step sets the status code; a later one is the last line, as in Ollama.
    """
    if stream is False:

        async def last() -> dict[str, Any]:
            return [step async for step in steps][-1]

        return JSONResponse(await unless_gone(request, last()), headers=headers)
    try:
        first = await unless_gone(request, anext(steps))
    except StopAsyncIteration:
        return Response()

    events = speaks_openai(request)
    named = "type" in first

    def line(step: dict[str, Any]) -> bytes:
        if not events:
            return orjson.dumps(step) + b"\n"
        name = b"event: %b\n" % str(step.get("type", "error")).encode() if named else b""
        return b"%bdata: %b\n\n" % (name, orjson.dumps(step))

    async def lines() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(steps):
            yield line(first)
            try:
                async for step in steps:
                    yield line(step)
            except ApiError as error:
                yield line(error_body(request, error.status, error.message))
            if events and not named:
                yield b"data: [DONE]\n\n"

    media_type = "text/event-stream" if events else "application/x-ndjson"
    return StreamingResponse(lines(), media_type=media_type, headers=headers)


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of ``work``, which is cancelled if the client disconnects."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(gone())
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """The request body as it comes; a client that pauses for too long, or crawls, is refused."""
    stream, began, size = request.stream(), time.monotonic(), 0
    while True:
        left = MAX_PAUSE + size / SLOWEST - (time.monotonic() - began)
        try:
            block = await asyncio.wait_for(anext(stream), min(MAX_PAUSE, left))
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise ApiError(408, f"no data came for {MAX_PAUSE:.0f} seconds") from error
        size += len(block)
        yield block


class Bodies:
    """Counts the bytes of bodies that are in memory, until their requests are done.

    It also has the turn of those that take a while to parse.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.held, self.turn = app, 0, asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; what its body takes is free again afterwards."""
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self.held + size > MAX_BODIES:
                raise ApiError(503, "server busy, please try again.  too many large requests")
            self.held, held = self.held + size, held + size

        try:
            await self.app({**scope, HOLD: hold, TURN: self.turn}, receive, send)
        finally:
            self.held -= held


async def parsed(request: Request, kind: type[Kind]) -> Kind:
    """The request's body as one of this kind.

    Large ones are parsed one after another, each followed by as long a pause for other requests.

    Raises:
        RequestError: with one sentence on the first thing that is wrong.
        ApiError: it is too large, or does not come.
    """
    body = await read_body(request)
    if len(body) < LARGE:
        return parse(kind, body)
    async with request.scope[TURN]:
        started = time.monotonic()
        try:
            return parse(kind, body)
        finally:
            await asyncio.sleep(time.monotonic() - started)


async def read_body(request: Request) -> bytes:
    """The whole request body; one larger than any real request is refused."""
    parts: list[bytes] = []
    size = nested = items = 0
    async for block in blocks(request):
        size += len(block)
        if size > MAX_BODY:
            raise ApiError(413, f"request body is larger than {MAX_BODY // 2**20} MiB")
        # Counted as it comes: to go through all of it at once would delay other requests.
        nested += block.count(b"[") + block.count(b"{")
        items += block.count(b",")
        if nested > MAX_NESTED or items > MAX_ITEMS:
            parts.clear()
            continue
        request.scope[HOLD](len(block))
        parts.append(block)
    if nested > MAX_NESTED or items > MAX_ITEMS:
        raise ApiError(413, "request body has too many lists, objects or items")
    return b"".join(parts)

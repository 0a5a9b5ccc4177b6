"""How the embedded engine answers, without a server: the application is called directly."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from slmlab.engines.embedded import responses, schemas
from slmlab.engines.embedded.responses import ApiError, read_body, reply


def ask(handler, method: str = "POST", **more) -> httpx.Response:
    """What an application of this one handler answers."""
    app = Starlette(
        routes=[Route("/", handler, methods=["GET", "POST"])],
        exception_handlers={
            ApiError: lambda _, error: JSONResponse({"error": error.message}, error.status)
        },
    )
    app.add_middleware(responses.Bodies)

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, "/", **more)

    return asyncio.run(once())


class TestBody:
    @staticmethod
    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await read_body(request))))

    def test_it_is_read_up_to_the_limit_and_then_refused(self, monkeypatch):
        monkeypatch.setattr(responses, "MAX_BODY", 2**20)
        assert ask(self.size, content=b"x" * 2**20).text == str(2**20)
        answer = ask(self.size, content=b"x" * (2**20 + 1))
        assert answer.status_code == 413
        assert answer.json() == {"error": "request body is larger than 1 MiB"}

    def test_more_lists_than_any_real_request_has_are_refused(self, monkeypatch):
        monkeypatch.setattr(responses, "MAX_NESTED", 10)
        monkeypatch.setattr(responses, "MAX_ITEMS", 20)
        for body in (b"[" * 5 + b"{" * 5, b"," * 20):
            assert ask(self.size, content=body).text == str(len(body))
            answer = ask(self.size, content=body + body[-1:])
            assert answer.status_code == 413
            assert "too many lists, objects or items" in answer.json()["error"]

    def test_one_without_end_is_refused_before_it_has_come(self, monkeypatch):
        monkeypatch.setattr(responses, "MAX_BODY", 2**20)
        sent = []

        async def endless() -> AsyncIterator[bytes]:
            while True:
                sent.append(2**16)
                yield b"x" * 2**16

        async def receive_some(request: Request) -> Response:
            request._receive = endless_receive(endless())
            return await self.size(request)

        assert ask(receive_some).status_code == 413
        assert sum(sent) <= 2**20 + 2**16

    def test_one_that_crawls_is_refused(self, monkeypatch):
        """Though it never pauses for long."""
        monkeypatch.setattr(responses, "MAX_PAUSE", 0.2)

        async def crawling() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.02)
                yield b"x"

        async def receive_it(request: Request) -> Response:
            request._receive = endless_receive(crawling())
            return await self.size(request)

        assert ask(receive_it).status_code == 408

    def test_all_together_have_a_limit(self, monkeypatch):
        monkeypatch.setattr(responses, "MAX_BODIES", 3000)
        bodies = responses.Bodies(self.echo)
        full = asyncio.Event()

        async def main() -> list[int]:
            held = asyncio.create_task(self.send(bodies, 2000, full))
            await asyncio.sleep(0)
            answers = [await self.send(bodies, 2000), await self.send(bodies, 900)]
            full.set()
            return [*answers, await held, await self.send(bodies, 2000), bodies.held]

        assert asyncio.run(main()) == [503, 200, 200, 200, 0]

    def test_large_ones_are_parsed_one_after_another_with_pauses(self, monkeypatch):
        times = []

        def parse(kind, body):
            began = time.monotonic()
            try:
                return schemas.parse(kind, body)
            finally:
                times.append((began, time.monotonic()))

        monkeypatch.setattr(responses, "parse", parse)
        bodies = responses.Bodies(self.read)
        large = {"model": "m", "options": {"stop": [[]] * 50_000}}

        async def main() -> None:
            await asyncio.gather(*[self.deliver(bodies, large) for _ in "123"])
            assert not bodies.turn.locked()

        asyncio.run(main())
        for (began, ended), (next_one, _) in itertools.pairwise(times):
            assert next_one - ended > 0.9 * (ended - began) > 0.001

    def test_small_ones_wait_for_none(self):
        bodies = responses.Bodies(self.read)

        async def main() -> None:
            async with bodies.turn:
                await self.deliver(bodies, {"model": "m"})
                large = asyncio.create_task(self.deliver(bodies, {"prompt": "x" * 2**17}))
                await self.deliver(bodies, {"model": "m"})
                assert not large.done()
            await large

        asyncio.run(main())

    @staticmethod
    async def read(scope, receive, send) -> None:
        await responses.parsed(Request(scope, receive), schemas.GenerateRequest)

    @staticmethod
    async def deliver(app, body: dict[str, Any]) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        await app({"type": "http"}, receive, None)

    @staticmethod
    async def echo(scope, receive, send) -> None:
        await read_body(Request(scope, receive))
        await scope["work"].wait()

    @staticmethod
    async def send(app, size: int, work: asyncio.Event | None = None) -> int:
        """The status of a request with a body of ``size`` bytes that takes as long as ``work``."""
        if work is None:
            work = asyncio.Event()
            work.set()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * size}

        try:
            await app({"type": "http", "work": work}, receive, None)
        except ApiError as error:
            return error.status
        return 200


def endless_receive(blocks: AsyncIterator[bytes]):
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(blocks), "more_body": True}

    return receive


class TestReply:
    @staticmethod
    def handler(steps, stream: bool | None):
        async def handle(request: Request) -> Response:
            return await reply(request, steps(), stream)

        return handle

    @staticmethod
    async def three() -> AsyncGenerator[dict[str, Any], None]:
        for n in range(3):
            yield {"n": n}

    @staticmethod
    async def fails_at_once() -> AsyncGenerator[dict[str, Any], None]:
        raise ApiError(404, "not found")
        yield {}

    @staticmethod
    async def fails_later() -> AsyncGenerator[dict[str, Any], None]:
        yield {"n": 0}
        raise ApiError(500, "gone")

    @staticmethod
    async def nothing() -> AsyncGenerator[dict[str, Any], None]:
        return
        yield {}

    @pytest.mark.parametrize("stream", [True, None])
    def test_a_stream_is_a_line_for_each_step(self, stream):
        answer = ask(self.handler(self.three, stream))
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line) for line in answer.text.splitlines()] == [
            {"n": n} for n in (0, 1, 2)
        ]

    def test_in_one_piece_it_is_the_last_step(self):
        assert ask(self.handler(self.three, False)).json() == {"n": 2}

    @pytest.mark.parametrize("stream", [True, False])
    def test_an_error_before_the_first_step_is_a_status(self, stream):
        answer = ask(self.handler(self.fails_at_once, stream))
        assert (answer.status_code, answer.json()) == (404, {"error": "not found"})

    def test_an_error_after_it_is_the_last_line(self):
        answer = ask(self.handler(self.fails_later, True))
        assert answer.status_code == 200
        assert answer.text == '{"n":0}\n{"error":"gone"}\n'

    def test_no_step_is_an_empty_answer(self):
        answer = ask(self.handler(self.nothing, True))
        assert (answer.status_code, answer.text) == (200, "")


def test_work_for_a_client_that_hung_up_is_cancelled():
    async def work() -> None:
        ended = asyncio.Event()

        async def long() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        async def hang_up() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.disconnect"}

        request = Request({"type": "http", "headers": []}, hang_up)
        with pytest.raises(responses.ClientDisconnect):
            await responses.unless_gone(request, long())
        assert ended.is_set()

    asyncio.run(work())

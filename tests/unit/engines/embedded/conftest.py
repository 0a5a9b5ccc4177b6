"""The embedded engine with a recording server in place of llama.cpp's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from slmlab.engines.embedded import routes
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.loader import Loader, LoadSettings, Worker
from slmlab.engines.embedded.model_store import ModelStore, StoredModel
from tests.support.fake_process import FakeProcess


class Llama:
    """Stands where a model's process is: writes down each request, answers with three tokens.

    ``loads`` has the settings of each load, ``requests`` each path with its body; ``has_gpu`` is
    what a process that loads from now on says of its machine.
    """

    def __init__(self) -> None:
        self.loads: list[tuple[str, LoadSettings]] = []
        self.requests: list[tuple[str, Any]] = []
        self.url = ""
        self.has_gpu = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append((request.path, body))
        if request.path == "/apply-template":
            roles = [f"<{one['role']}>{one['content']}" for one in body["messages"]]
            return web.json_response({"prompt": "".join(roles)})
        if request.path == "/tokenize":
            return web.json_response({"tokens": list(range(len(body["content"].split())))})
        last = {
            "content": "",
            "stop": True,
            "stop_type": "limit",
            "timings": {
                "cache_n": 4,
                "prompt_n": 1,
                "prompt_ms": 2.0,
                "predicted_n": 3,
                "predicted_ms": 4.0,
            },
        }
        if not body["stream"]:
            return web.json_response(last | {"content": "one two three"})
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in [{"content": text} for text in ("one", " two", " three")] + [last]:
            await response.write(b"data: " + web.json_response(piece).body + b"\n\n")
        return response

    async def load(self, model: StoredModel, path: object, settings: LoadSettings) -> Worker:
        self.loads.append((model.name, settings))
        client = aiohttp.ClientSession(self.url)
        return Worker(model, settings, FakeProcess(), client, has_gpu=self.has_gpu)

    def sent(self, path: str) -> list[Any]:
        """The bodies of all requests to one path."""
        return [body for at, body in self.requests if at == path]


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> Llama:
    """What stands in place of llama.cpp."""
    fake = Llama()
    monkeypatch.setattr(Loader, "load", lambda _, *args: fake.load(*args))
    return fake


@pytest.fixture
def engine_run(
    llama: Llama, tmp_path
) -> Callable[[Callable[[httpx.AsyncClient, Engine], Awaitable[Any]]], Any]:
    """Runs a coroutine with a client of the API and the engine behind it.

    The engine has two models: ``chat``, with a chat template, and ``base``, without one.
    """

    def run(work: Callable[[httpx.AsyncClient, Engine], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            app = web.Application()
            app.router.add_post("/{path:.*}", llama.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            llama.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            engine = Engine(ModelStore(tmp_path))
            for name in ("chat", "base"):
                make_model(engine.store, name)
            transport = httpx.ASGITransport(routes.app(engine, key=None))
            try:
                async with httpx.AsyncClient(
                    transport=transport, base_url="http://localhost"
                ) as client:
                    return await work(client, engine)
            finally:
                await engine.pool.close()
                await runner.cleanup()

        return asyncio.run(inside())

    return run


def make_model(store: ModelStore, name: str) -> StoredModel:
    """Give the store a model; only one named ``chat`` has a chat template."""
    digest = f"{sum(name.encode()):064x}"
    store.blob(digest).write_bytes(b"GGUF")
    template = {"tokenizer.chat_template": "{{ messages }}"} if name == "chat" else {}
    model = StoredModel(
        name=f"{name}:latest",
        blob=digest,
        size=4,
        modified="2026-01-01T00:00:00+00:00",
        architecture="llama",
        parameters=10**6,
        quantization="F16",
        context_length=8192,
        metadata=template,
    )
    store.write(model)
    return model

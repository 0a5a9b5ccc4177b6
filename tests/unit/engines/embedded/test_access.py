"""Who the engine answers, and whom it refuses."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from slmlab.engines.embedded.access import REFUSED, USER, OnlyLocal, OnlyOwner

# Windows has no such numbers, and does not tell.
ME = os.geteuid() if os.name == "posix" else None
OTHERS = [None, ME + 1, ME + 65534] if ME is not None else [None]


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


def get(app: Starlette, path: str = "/", user: int | None = None, **headers: str) -> httpx.Response:
    """The answer to a request of which the system says that it is of this user."""

    async def as_user(scope, receive, send) -> None:
        await app({**scope, "state": {USER: user}}, receive, send)

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(as_user)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(once())


@pytest.fixture
def app() -> Starlette:
    return Starlette(routes=[Route("/{path:path}", hello)])


class TestOnlyLocal:
    @pytest.fixture(autouse=True)
    def guarded(self, app):
        app.add_middleware(OnlyLocal)

    @pytest.mark.parametrize(
        "host", ["localhost", "localhost:1", "127.0.0.1:1", "127.9.9.9", "[::1]:1", "x.localhost"]
    )
    def test_this_machines_names(self, app, host):
        for origin in ({}, {"Origin": f"http://{host}"}):
            assert get(app, Host=host, **origin).status_code == 200

    @pytest.mark.parametrize(
        "name",
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "8.8.8.8"],
    )
    def test_names_of_others(self, app, name):
        assert get(app, Host=name).status_code == 403
        assert get(app, Origin=f"http://{name}").status_code == 403

    def test_a_page_without_a_name(self, app):
        assert get(app, Origin="null").status_code == 403


class TestOnlyOwner:
    @pytest.fixture(autouse=True)
    def guarded(self, app):
        app.add_middleware(OnlyOwner, key="right")

    @pytest.mark.parametrize("user", OTHERS)
    def test_others_need_the_key(self, app, user):
        for given in ("", "right", "Bearer", "Bearer wrong", "bearer right", "Basic right"):
            answer = get(app, user=user, Authorization=given)
            assert (answer.status_code, answer.json()) == (401, {"error": REFUSED})
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert get(app, user=user, Authorization="Bearer right").text == "hello"

    @pytest.mark.skipif(ME is None, reason="the system does not tell")
    def test_the_owner_needs_none(self, app):
        for given in ("", "Bearer ollama"):
            assert get(app, user=ME, Authorization=given).text == "hello"

    @pytest.mark.skipif(ME is None, reason="the system does not tell")
    def test_a_proxy_of_root_does_for_another_what_root_may_not(self, app, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert get(app, user=1000).text == "hello"
        assert get(app, user=0).status_code == 401

    def test_each_api_says_so_in_its_own_shape(self, app):
        error = get(app, "/v1/models").json()["error"]
        assert error.keys() == {"message", "type", "param", "code"} and error["message"] == REFUSED

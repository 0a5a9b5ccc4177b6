"""The embedded engine's state: models on disk, models in memory, and waiting requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from slmlab import hardware
from slmlab.engines.embedded.loader import Loader, LoadError, LoadSettings, Worker, WorkerLost
from slmlab.engines.embedded.model_store import ModelStore, StoredModel
from slmlab.engines.embedded.pool import Pool
from slmlab.engines.embedded.responses import ApiError
from slmlab.engines.embedded.worker_process import WorkerProcess
from slmlab.engines.model_names import NameNotValid, full_name
from slmlab.memory import effective_context, parallel_requests

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 4096


@dataclass
class BlobDownload:
    """A blob that is being fetched, for as many pulls as want it; ``done`` bytes are here."""

    task: asyncio.Task[None] | None = None
    done: int = 0
    users: int = 0


class Engine:
    """The state that the handlers of all requests share."""

    def __init__(self, store: ModelStore, first_worker: WorkerProcess | None = None) -> None:
        self.store = store
        self.pool = Pool(
            hardware.env_number("OLLAMA_MAX_LOADED_MODELS") or 3,
            Loader(parallel_requests("embedded"), first_worker),
        )
        # One download of a model at a time: a second pull of the same name waits for the first.
        self.pulls: dict[str, asyncio.Lock] = {}
        self.downloads: dict[str, BlobDownload] = {}
        self._max_queue = hardware.env_number("OLLAMA_MAX_QUEUE") or 512
        self._waiting = 0

    def model(self, name: str) -> StoredModel:
        """The stored model of this name; raises Ollama's 404 if there is none, 400 for no name."""
        if not name:
            raise ApiError(404, "model '' not found")
        try:
            model = self.store.get(full_name(name))
        except NameNotValid as error:
            raise ApiError(400, "invalid model name") from error
        if model is None:
            raise ApiError(404, f"model '{name}' not found")
        return model

    @contextlib.asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Admit a request, or refuse it as Ollama does if too many are waiting."""
        room = self._max_queue + self.pool.loader.parallel * self.pool.max_loaded
        if self._waiting >= room:
            log.warning("refused a request: %d are already waiting", self._waiting)
            raise ApiError(503, "server busy, please try again.  maximum pending requests exceeded")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    @contextlib.asynccontextmanager
    async def loaded(
        self, model: StoredModel, options: dict[str, Any], keep_alive: float
    ) -> AsyncIterator[Worker]:
        """The process that has ``model`` in memory; it is loaded first if needed."""
        num_ctx = options.get("num_ctx") or hardware.env_number("OLLAMA_CONTEXT_LENGTH")
        num_ctx = effective_context(num_ctx or DEFAULT_CONTEXT, model.context_length)
        # Threads beyond the cores only wait for each other; ten thousand hang the machine.
        cores, threads = hardware.usable_cores(), options.get("num_thread") or 0
        settings = LoadSettings(num_ctx, min(threads, cores) if threads > 0 else cores)
        path = self.store.blob(model.blob)
        if not path.exists():
            raise ApiError(404, f"model '{model.name}' not found")
        try:
            async with self.pool.use(model, path, settings, keep_alive) as worker:
                yield worker
        except LoadError as error:
            raise ApiError(500, str(error)) from error
        except WorkerLost as error:
            log.warning("%s", error)
            raise ApiError(
                500,
                "model runner has unexpectedly stopped, this may be due to resource limitations "
                "or an internal error, check ollama server logs for details",
            ) from error


def keep_alive_seconds(value: object) -> float:
    """Seconds in a request's ``keep_alive``; without one, ``OLLAMA_KEEP_ALIVE`` applies."""
    try:
        default = parse_keep_alive(os.environ.get("OLLAMA_KEEP_ALIVE") or None)
        return parse_keep_alive(value, default)
    except ValueError as error:
        raise ApiError(400, str(error)) from error


def parse_keep_alive(value: object, default: float = 300.0) -> float:
    """Seconds in an Ollama ``keep_alive``: 300, "5m", "1h30m", negative for ever, None = default.

    Raises:
        ValueError: the text is not a duration.
    """
    if value is None:
        return default
    if isinstance(value, bool):
        raise ValueError("invalid keep_alive")
    if isinstance(value, (int, float)):
        return math.inf if value < 0 else float(value)
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    text = str(value).strip()
    negative, rest, seconds = text.startswith("-"), text.lstrip("+-"), 0.0
    if rest.isdigit():
        return math.inf if negative and int(rest) else float(rest)
    if not rest:
        raise ValueError(f'time: invalid duration "{value}"')
    position = 0
    for part in re.finditer(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", rest):
        if part.start() != position:
            break
        seconds += float(part[1]) * units[part[2]]
        position = part.end()
    if position != len(rest):
        raise ValueError(f'time: invalid duration "{value}"')
    return math.inf if negative and seconds else seconds

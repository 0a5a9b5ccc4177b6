"""The loaded models: a process for each, with a limit; the least recently used is unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import re
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from slmlab import hardware
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.worker_output import (
    WorkerOutput,
    how_it_ended,
    memory_error,
    reason_in,
)
from slmlab.memory import (
    CacheShape,
    batch_size,
    embedding_buffer,
    free_for,
    memory_needed,
    pooling,
)

log = logging.getLogger(__name__)

# llama.cpp's threads synchronize several hundred times for each token, and wait by spinning. By
# default they spin for so long that, if anything else runs on the same cores (another model, a
# browser), a waiting thread blocks the core for the thread that it waits for. So on few cores they
# sleep after a short while. Measured on two cores, against 10,000 (the default is longer still):
# two models at once write 45 + 41 tokens/s instead of 6 + 6; one alone 119 instead of 130. It was
# not measured with more cores.
FEW_CORES = 4
SPIN = {"GOMP_SPINCOUNT": "300"}
# Texts that an encoder embeds at once: on two cores 69 short ones a second with 16, 33 with 4, and
# no more with 32.
TEXTS_AT_ONCE = 16
# The context length with which a new model is loaded once, as a check.
CHECK_CONTEXT = 64


class LoadError(RuntimeError):
    """A model could not be loaded; the message says why."""


class NoMemory(LoadError):
    """There is not enough free memory for it now."""


@dataclass(frozen=True)
class LoadSettings:
    """The settings of a loaded model; to change one, it has to be loaded again."""

    num_ctx: int
    threads: int


@dataclass
class Worker:
    """A loaded model: its process and how to reach it."""

    model: StoredModel
    settings: LoadSettings
    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession
    users: int = 0
    last_used: float = 0.0
    keep_alive: float = 0.0
    stale: bool = False

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.returncode is None

    @property
    def expires(self) -> float:
        """When it may be unloaded, in seconds of ``time.monotonic``."""
        return self.last_used + self.keep_alive

    @property
    def memory(self) -> int:
        """Bytes of memory that the process uses, including its mapped weights."""
        try:
            resident: int = psutil.Process(self.process.pid).memory_info().rss
            return resident
        except psutil.Error:
            return self.model.size

    async def close(self) -> None:
        """End the process and wait for it."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        status = await self.process.wait()
        log.info("process %d of %s ended with status %d", self.process.pid, self.model.name, status)
        await self.client.close()


class Pool:
    """The loaded models of one engine."""

    def __init__(self, max_loaded: int, parallel: int) -> None:
        self.max_loaded, self.parallel = max_loaded, parallel
        self.loaded: list[Worker] = []
        # This condition guards `loaded` and all workers' `users`, and is notified of each change.
        self.changed = asyncio.Condition()
        self.loading: set[str] = set()

    @contextlib.asynccontextmanager
    async def use(
        self, model: StoredModel, path: Path, settings: LoadSettings, keep_alive: float
    ) -> AsyncIterator[Worker]:
        """Borrow the worker of ``model``, which is loaded first if needed.

        Raises:
            LoadError: it does not fit into memory, or llama.cpp refuses the file.
        """
        worker = await self._borrow(model, path, settings)
        try:
            yield worker
        except aiohttp.ClientError:
            worker.stale = True  # it broke off; that its process has ended may not be known yet
            raise
        finally:
            worker.users -= 1
            worker.last_used = time.monotonic()
            worker.keep_alive = keep_alive
            if worker.users == 0 and (keep_alive == 0 or worker.stale):
                await asyncio.shield(self._unload(worker))
            else:
                await asyncio.shield(self._notify())

    async def _borrow(self, model: StoredModel, path: Path, settings: LoadSettings) -> Worker:
        key = model.digest
        async with self.changed:
            while True:
                await self._drop_dead()
                worker = self._find(model)
                if worker and worker.settings == settings and not worker.stale:
                    worker.users += 1
                    return worker
                if worker and worker.users == 0:
                    await self._remove(worker)
                    continue
                if worker is None and key not in self.loading and await self._make_room():
                    self.loading.add(key)
                    break
                await self.changed.wait()
        try:
            worker = await self._load(model, path, settings)
        finally:
            async with self.changed:
                self.loading.discard(key)
                self.changed.notify_all()
        async with self.changed:
            worker.users += 1
            self.loaded.append(worker)
            self.changed.notify_all()
        return worker

    def _find(self, model: StoredModel) -> Worker | None:
        for worker in self.loaded:
            if worker.model.digest == model.digest:
                return worker
        return None

    async def _make_room(self) -> bool:
        """Unload the least recently used idle model if the limit is reached."""
        if len(self.loaded) + len(self.loading) < self.max_loaded:
            return True
        idle = [worker for worker in self.loaded if worker.users == 0]
        if not idle:
            return False
        await self._remove(min(idle, key=lambda worker: worker.last_used))
        return True

    async def _remove(self, worker: Worker) -> None:
        self.loaded.remove(worker)
        await worker.close()

    async def _drop_dead(self) -> None:
        for worker in [worker for worker in self.loaded if not worker.alive]:
            await self._remove(worker)

    async def _unload(self, worker: Worker) -> None:
        async with self.changed:
            if worker in self.loaded and worker.users == 0:
                await self._remove(worker)
            self.changed.notify_all()

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _load(self, model: StoredModel, path: Path, settings: LoadSettings) -> Worker:
        batch = batch_size(model.metadata, settings.num_ctx)
        shape = CacheShape.from_metadata(model.metadata)
        # An encoder caches nothing, so many texts at once take no more memory than one.
        encoder = shape == CacheShape(0)
        parallel = max(self.parallel, TEXTS_AT_ONCE) if encoder else self.parallel
        needed = memory_needed(model.size, shape, settings.num_ctx, parallel, batch)
        needed += embedding_buffer(model.metadata, settings.num_ctx)
        free, _ = free_for("embedded")
        if needed > free:
            raise NoMemory(
                f"model requires more system memory ({needed / 2**30:.1f} GiB) than is available "
                f"({free / 2**30:.1f} GiB)"
            )
        key = secrets.token_urlsafe(32)
        spin = SPIN if hardware.usable_cores() <= FEW_CORES else {}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "slmlab.engines.embedded.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=spin | os.environ,
        )
        assert process.stdin and process.stdout and process.stderr  # noqa: S101  pipes
        output = WorkerOutput(process.stderr)
        config = {
            "path": str(path),
            "key": key,
            "num_ctx": settings.num_ctx,
            "parallel": parallel,
            "threads": settings.threads,
            "chat_template": model.chat_template,
            "embedding": "embedding" in model.capabilities,
            "pooling": pooling(model.metadata),
            "batch": batch,
        }
        try:
            # The process may have ended already; uvloop then raises RuntimeError.
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(json.dumps(config).encode() + b"\n")
            line = await process.stdout.readline()
            answer = json.loads(line) if line else {"error": await how_it_ended(process)}
            if "error" in answer:
                text = await output.text()
                if no_memory := memory_error(text):
                    raise NoMemory(f"unable to load model: {no_memory}")
                kind = NoMemory if "out of memory" in answer["error"] else LoadError
                raise kind(f"unable to load model: {reason_in(text) or answer['error']}")
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        # aiohttp uses proxies from the environment only with trust_env.
        client = aiohttp.ClientSession(
            answer["address"],
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            # llama.cpp's server now and then closes an idle connection just as it is reused.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )
        log.info("loaded %s with %s in process %d", model.name, settings, process.pid)
        return Worker(model, settings, process, client, last_used=time.monotonic())

    async def check(self, model: StoredModel, path: Path) -> None:
        """Load a model once, as a check, and unload it; skipped if memory is short.

        Raises:
            LoadError: llama.cpp refuses it.
        """
        try:
            worker = await self._load(model, path, LoadSettings(CHECK_CONTEXT, 1))
        except NoMemory as error:
            log.info("%s is not checked: %s", model.name, error)
        else:
            await worker.close()

    async def unload_model(self, model: StoredModel) -> None:
        """Unload every worker of ``model``: idle ones now, busy ones when they are done."""
        for worker in [one for one in self.loaded if one.model.digest == model.digest]:
            worker.stale = True
            await self._unload(worker)

    async def expire(self) -> None:
        """Unload models that were idle for their ``keep_alive``; runs until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            for worker in list(self.loaded):
                if not worker.alive or (worker.users == 0 and worker.expires < now):
                    await self._unload(worker)

    async def close(self) -> None:
        """End all workers."""
        workers, self.loaded = self.loaded, []
        for worker in workers:
            await worker.close()


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
        return math.inf if negative else float(rest)
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
    return math.inf if negative else seconds

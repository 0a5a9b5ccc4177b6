"""The loaded models: a process for each, with a limit; the least recently used is unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from slmlab.engines.embedded import worker_process
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.waiting_threads import SLEEP, SPIN
from slmlab.engines.embedded.worker_output import how_it_ended, memory_error, reason_in
from slmlab.engines.embedded.worker_process import WorkerProcess
from slmlab.hardware import usable_cores
from slmlab.memory import (
    CacheShape,
    batch_size,
    embedding_buffer,
    free_for,
    memory_needed,
    pooling,
)

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

# Texts that an encoder embeds at once: on two cores 69 short ones a second with 16, 33 with 4, and
# no more with 32.
TEXTS_AT_ONCE = 16
# The context length with which a new model is loaded once, as a check.
CHECK_CONTEXT = 64
# Bytes that the path of a socket may have; the least of all systems is 104 (macOS).
LONGEST_SOCKET = 104


class LoadError(RuntimeError):
    """A model could not be loaded; the message says why."""


class NoMemory(LoadError):
    """There is not enough free memory for it now."""


class WorkerLost(RuntimeError):
    """A worker broke off a request: most often its process has ended."""


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
    image_marker: str = ""
    has_gpu: bool = False
    users: int = 0
    last_used: float = 0.0
    keep_alive: float = 0.0
    stale: bool = False
    sleeps: bool = False

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

    def share_cores(self, shared: bool) -> None:
        """Let its threads sleep while they wait for each other, or spin if the cores are theirs."""
        if shared != self.sleeps and self.process.stdin:
            self.sleeps = shared
            with contextlib.suppress(OSError, RuntimeError):  # the process may have ended
                self.process.stdin.write((SLEEP if shared else SPIN).encode())

    async def close(self) -> None:
        """End the process and wait for it."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        status = await self.process.wait()
        log.info("process %d of %s ended with status %d", self.process.pid, self.model.name, status)
        await self.client.close()


def has_ended(pid: int) -> bool:
    """Whether a process of ours has ended, also where asyncio has not noticed it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Pool:
    """The loaded models of one engine."""

    def __init__(self, max_loaded: int, parallel: int, spare: WorkerProcess | None = None) -> None:
        """Nothing is loaded yet; ``spare`` is a started process for the first model."""
        self.max_loaded, self.parallel = max_loaded, parallel
        self.loaded: list[Worker] = []
        # This condition guards `loaded` and all workers' `users`, and is notified of each change.
        self.changed = asyncio.Condition()
        self.loading: set[str] = set()
        self._spare = spare
        self._sockets: tempfile.TemporaryDirectory[str] | None = None

    @contextlib.asynccontextmanager
    async def use(
        self, model: StoredModel, path: Path, settings: LoadSettings, keep_alive: float
    ) -> AsyncIterator[Worker]:
        """Borrow the worker of ``model``, which is loaded first if needed.

        Raises:
            LoadError: it does not fit into memory, or llama.cpp refuses the file.
            WorkerLost: its process broke off a request.
        """
        worker = await self._borrow(model, path, settings)
        self._share_cores()
        import aiohttp  # here already, since a model was loaded

        try:
            yield worker
        except (aiohttp.ClientError, WorkerLost) as error:
            worker.stale = True  # that its process has ended may not be known yet
            raise WorkerLost(f"the process of {model.name} broke off: {error!r}") from error
        finally:
            worker.users -= 1
            self._share_cores()
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

    def _share_cores(self) -> None:
        """Tell the busy workers whether they have more threads together than there are cores."""
        busy = [worker for worker in self.loaded if worker.users]
        threads = sum(worker.settings.threads for worker in busy)
        for worker in busy:
            worker.share_cores(len(busy) > 1 and threads > usable_cores())

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
        # What stands for an image in a prompt; nobody can guess it and write it into a text.
        image_marker = f"<__image_{secrets.token_hex(16)}__>"
        projector = str(path.with_name(f"sha256-{model.projector}")) if model.projector else ""
        worker, self._spare = self._spare, None
        if worker is None or not worker.alive or has_ended(worker.process.pid):
            worker = await worker_process.start()
        process, output = worker.process, worker.output
        assert process.stdin and process.stdout  # noqa: S101  pipes
        place = self._socket()
        config = {
            "path": str(path),
            "socket": place,
            "projector": projector,
            "image_marker": image_marker,
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
            await self._start_spare()
            # It takes a while to import, and the model takes longer to load.
            import aiohttp

            line = await process.stdout.readline()
            answer: dict[str, Any] = (
                json.loads(line) if line else {"error": await how_it_ended(process)}
            )
            if "error" in answer:
                text = await output.text()
                if no_memory := memory_error(text):
                    raise NoMemory(f"unable to load model: {no_memory}")
                kind = NoMemory if "out of memory" in answer["error"] else LoadError
                raise kind(f"unable to load model: {reason_in(text) or answer['error']}")
        except BaseException:
            await worker.end()
            raise
        # llama.cpp's server now and then closes an idle connection just as it is reused.
        once: dict[str, Any] = {"limit": 0, "force_close": True}
        # aiohttp uses proxies from the environment only with trust_env.
        client = aiohttp.ClientSession(
            "http://worker" if place else answer["address"],
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            connector=(
                aiohttp.UnixConnector(place, **once) if place else aiohttp.TCPConnector(**once)
            ),
        )
        log.info("loaded %s with %s in process %d", model.name, settings, process.pid)
        return Worker(
            model,
            settings,
            process,
            client,
            image_marker,
            has_gpu=answer["has_gpu"],
            last_used=time.monotonic(),
        )

    async def _start_spare(self) -> None:
        """Start the process for the next model, while this one is loaded and nothing is measured.

        It imports llama.cpp and waits, with 13 MB of memory of its own.
        """
        if self._spare and self._spare.alive:
            return
        with contextlib.suppress(OSError):  # there is no room for it; then each load starts its own
            spare = await worker_process.start()
            if self._spare and self._spare.alive:  # another load was quicker
                await spare.end()
            else:
                self._spare = spare

    def _socket(self) -> str | None:
        """The path of a new worker's socket; None where it has to listen at a port of 127.0.0.1."""
        if os.name != "posix":
            return None
        # Only this user can enter the folder, so nobody else can connect to the workers.
        self._sockets = self._sockets or tempfile.TemporaryDirectory(
            prefix="slmlab-", ignore_cleanup_errors=True
        )
        path = os.path.join(self._sockets.name, f"{secrets.token_hex(4)}.sock")
        return path if len(os.fsencode(path)) < LONGEST_SOCKET else None

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
        if self._spare:
            await self._spare.end()
            self._spare = None
        workers, self.loaded = self.loaded, []
        for worker in workers:
            await worker.close()
        if self._sockets:
            self._sockets.cleanup()

"""A loaded model: its process, how to reach it, and how it is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from slmlab.engines.embedded import worker_process
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.waiting_threads import SLEEP, SPIN
from slmlab.engines.embedded.worker_output import how_it_ended, memory_error, reason_in
from slmlab.engines.embedded.worker_process import WorkerProcess
from slmlab.kv_cache import CacheShape, cache_type
from slmlab.memory import (
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


class Loader:
    """Loads models, each in a process of its own, with a spare one started for the next.

    Args:
        parallel: how many requests a model answers at once.
        spare: a started process for the first model.
    """

    def __init__(self, parallel: int, spare: WorkerProcess | None = None) -> None:
        self.parallel = parallel
        self._spare = spare
        self._sockets: tempfile.TemporaryDirectory[str] | None = None

    async def load(self, model: StoredModel, path: Path, settings: LoadSettings) -> Worker:
        """Start a process and let it load a model; returns when it answers.

        Raises:
            NoMemory: there is not enough free memory for it.
            LoadError: llama.cpp refuses the file.
        """
        parallel = self._admit(model, settings)
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
            "cache_type": cache_type(),
            "chat_template": model.chat_template,
            "embedding": "embedding" in model.capabilities,
            "pooling": pooling(model.metadata),
            "batch": batch_size(model.metadata, settings.num_ctx),
        }
        try:
            # The process may have ended already; uvloop then raises RuntimeError.
            with contextlib.suppress(OSError, RuntimeError):
                process.stdin.write(json.dumps(config).encode() + b"\n")
            await self._start_spare()
            # It takes a while to import, and the model takes longer to load.
            import aiohttp  # noqa: F401  which _client needs then

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
        client = _client(place, answer["address"], key)
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

    def _admit(self, model: StoredModel, settings: LoadSettings) -> int:
        """How many requests the model will answer at once, if there is memory for it.

        Raises:
            NoMemory: there is not.
        """
        shape = CacheShape.from_metadata(model.metadata)
        # An encoder caches nothing, so many texts at once take no more memory than one.
        encoder = shape == CacheShape(0)
        parallel = max(self.parallel, TEXTS_AT_ONCE) if encoder else self.parallel
        batch = batch_size(model.metadata, settings.num_ctx)
        needed = memory_needed(model.size, shape, settings.num_ctx, parallel, batch)
        needed += embedding_buffer(model.metadata, settings.num_ctx)
        free, _ = free_for("embedded")
        if needed > free:
            raise NoMemory(
                f"model requires more system memory ({needed / 2**30:.1f} GiB) than is available "
                f"({free / 2**30:.1f} GiB)"
            )
        return parallel

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
            worker = await self.load(model, path, LoadSettings(CHECK_CONTEXT, 1))
        except NoMemory as error:
            log.info("%s is not checked: %s", model.name, error)
        else:
            await worker.close()

    async def close(self) -> None:
        """End the spare process, and remove the sockets of those that have ended."""
        if self._spare:
            await self._spare.end()
            self._spare = None
        if self._sockets:
            self._sockets.cleanup()


def _client(place: str | None, address: str, key: str) -> aiohttp.ClientSession:
    """A client for the worker's server, at its socket or else its address."""
    import aiohttp

    # llama.cpp's server now and then closes an idle connection just as it is reused.
    once: dict[str, Any] = {"limit": 0, "force_close": True}
    # aiohttp uses proxies from the environment only with trust_env.
    return aiohttp.ClientSession(
        "http://worker" if place else address,
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        connector=(aiohttp.UnixConnector(place, **once) if place else aiohttp.TCPConnector(**once)),
    )

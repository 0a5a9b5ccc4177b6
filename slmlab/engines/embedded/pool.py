"""The loaded models, up to a limit: who uses which, and which is unloaded to make room."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from slmlab.engines.embedded.loader import Loader, LoadSettings, Worker, WorkerLost
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.hardware import usable_cores


class Pool:
    """The loaded models of one engine."""

    def __init__(self, max_loaded: int, loader: Loader) -> None:
        self.max_loaded, self.loader = max_loaded, loader
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
            worker = await self.loader.load(model, path, settings)
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
        await self.loader.close()

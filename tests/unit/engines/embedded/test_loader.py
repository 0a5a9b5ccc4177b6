"""The process that waits for the next model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from slmlab.engines.embedded import loader as loader_module
from slmlab.engines.embedded.loader import Loader
from tests.support.processes import wait_for


class TestTheProcessForTheNextModel:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Processes that are none, as they are started."""
        found: list[Any] = []

        async def start() -> Any:
            one = SimpleNamespace(alive=True)

            async def end() -> None:
                one.alive = False

            one.end = end
            found.append(one)
            await asyncio.sleep(0)
            return one

        monkeypatch.setattr(loader_module.worker_process, "start", start)
        return found

    def test_one_waits_however_many_loads_want_it(self, started):
        async def test() -> None:
            loader = Loader(1)
            await asyncio.gather(*(loader._start_spare() for _ in "123"))
            assert [one.alive for one in started].count(True) == 1
            await loader._start_spare()
            assert len(started) == 3
            await loader.close()
            assert not any(one.alive for one in started)

        asyncio.run(test())

    def test_one_that_ended_is_replaced(self, started):
        async def test() -> None:
            loader = Loader(1)
            await loader._start_spare()
            started[0].alive = False
            await loader._start_spare()
            assert [one.alive for one in started] == [False, True]

        asyncio.run(test())

    def test_without_room_for_it_each_load_starts_its_own(self, monkeypatch):
        async def start() -> None:
            raise BlockingIOError("Resource temporarily unavailable")

        monkeypatch.setattr(loader_module.worker_process, "start", start)
        asyncio.run(Loader(1)._start_spare())

    def test_one_that_was_killed_a_moment_ago_is_not_taken(self):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            assert not loader_module.has_ended(process.pid)
            process.kill()
            # Nobody has waited for it yet, as asyncio may not have.
            assert wait_for(lambda: loader_module.has_ended(process.pid), 10)
        assert loader_module.has_ended(process.pid)

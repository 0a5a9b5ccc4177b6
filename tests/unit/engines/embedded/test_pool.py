"""Which models are loaded, for how long, and which goes when there is no room."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slmlab.engines.embedded import pool as pool_module
from slmlab.engines.embedded.engine import parse_keep_alive
from slmlab.engines.embedded.loader import Loader, LoadError, LoadSettings, Worker
from slmlab.engines.embedded.pool import Pool
from slmlab.hardware import usable_cores
from tests.support.fake_process import FakeProcess

SETTINGS = LoadSettings(num_ctx=512, threads=1)


class FakeClient:
    async def close(self) -> None:
        pass


class LoaderWithoutProcesses(Loader):
    """A loader whose processes are no processes; ``loads`` has the names in order."""

    def __init__(self) -> None:
        super().__init__(parallel=4)
        self.loads: list[str] = []
        self.fail: list[Exception] = []
        self.pool: Pool
        self.most = 0

    async def load(self, model: Any, path: Path, settings: LoadSettings) -> Worker:
        self.loads.append(model.name)
        self.most = max(self.most, len(self.pool.loaded) + len(self.pool.loading))
        await asyncio.sleep(0)
        if self.fail:
            raise self.fail.pop()
        return Worker(model, settings, FakeProcess(), FakeClient())


class PoolWithoutProcesses(Pool):
    """A pool with such a loader."""

    loader: LoaderWithoutProcesses

    def __init__(self, max_loaded: int = 2) -> None:
        super().__init__(max_loaded, LoaderWithoutProcesses())
        self.loader.pool = self

    def borrow(self, name: str, settings: LoadSettings = SETTINGS, keep_alive: float = 300):
        model = SimpleNamespace(name=name, digest=name, size=1)
        return self.use(model, Path(name), settings, keep_alive)

    @property
    def names(self) -> list[str]:
        return [one.model.name for one in self.loaded]


def in_pool(test):
    """Run a coroutine that takes a pool as a test, ten seconds at most."""

    def run(self) -> None:
        async def inside() -> None:
            await asyncio.wait_for(test(self, PoolWithoutProcesses()), 10)

        asyncio.run(inside())

    return run


async def settle() -> None:
    """Let every task go on until it waits for another."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestBorrowing:
    @in_pool
    async def test_a_model_is_loaded_once_for_all_who_want_it(self, pool):
        async with pool.borrow("a") as one, pool.borrow("a") as two:
            assert one is two
            assert one.users == 2
        assert one.users == 0
        async with pool.borrow("a") as again:
            assert again is one
        assert pool.loader.loads == ["a"]

    @in_pool
    async def test_two_who_come_at_once_wait_for_one_load(self, pool):
        async def borrow() -> Worker:
            async with pool.borrow("a") as worker:
                return worker

        one, two = await asyncio.gather(borrow(), borrow())
        assert one is two
        assert pool.loader.loads == ["a"]

    @in_pool
    async def test_other_settings_load_it_anew_in_place_of_the_old_one(self, pool):
        async with pool.borrow("a") as old:
            pass
        async with pool.borrow("a", LoadSettings(1024, 1)) as new:
            assert not old.alive
            assert pool.loaded == [new]
        assert pool.loader.loads == ["a", "a"]

    @in_pool
    async def test_threads_sleep_while_two_models_want_more_of_them_than_there_are_cores(
        self, pool
    ):
        all_cores = LoadSettings(512, usable_cores())
        async with pool.borrow("a", all_cores) as one:
            assert not one.sleeps
            async with pool.borrow("b", all_cores) as two:
                assert one.sleeps and two.sleeps
            assert not one.sleeps
        async with pool.borrow("b", all_cores):
            assert not two.sleeps
        for worker in (one, two):
            assert worker.process.stdin.getvalue() == b"sleep\nspin\n"

    @pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
    @in_pool
    async def test_threads_spin_where_every_one_has_a_core(self, pool):
        async with pool.borrow("a") as one, pool.borrow("b") as two:
            assert not one.sleeps and not two.sleeps

    @in_pool
    async def test_other_settings_wait_until_nobody_uses_it(self, pool):
        async def other() -> Worker:
            async with pool.borrow("a", LoadSettings(1024, 1)) as worker:
                return worker

        async with pool.borrow("a") as old:
            waiting = asyncio.create_task(other())
            await settle()
            assert old.alive
            assert not waiting.done()
        assert (await waiting).settings.num_ctx == 1024
        assert not old.alive

    @in_pool
    async def test_a_process_that_died_is_replaced(self, pool):
        async with pool.borrow("a") as dead:
            pass
        dead.process.returncode = -11
        async with pool.borrow("a") as worker:
            assert worker is not dead
            assert pool.loaded == [worker]

    @in_pool
    async def test_a_load_that_failed_is_tried_again_by_the_next(self, pool):
        pool.loader.fail = [LoadError("no")]
        with pytest.raises(LoadError):
            async with pool.borrow("a"):
                pass
        assert pool.loading == set()
        async with pool.borrow("a"):
            assert pool.names == ["a"]

    @in_pool
    async def test_a_failure_of_the_caller_gives_the_model_back(self, pool):
        with contextlib.suppress(KeyError):
            async with pool.borrow("a") as worker:
                raise KeyError
        assert worker.users == 0
        assert pool.names == ["a"]


class TestEviction:
    @in_pool
    async def test_the_least_recently_used_goes(self, pool):
        for name in ("a", "b", "a", "c"):
            async with pool.borrow(name):
                pass
        assert pool.names == ["a", "c"]
        assert pool.loader.loads == ["a", "b", "c"]

    @in_pool
    async def test_one_that_is_in_use_stays(self, pool):
        async with pool.borrow("a") as a:
            for name in ("b", "c"):
                async with pool.borrow(name):
                    pass
            assert pool.names == ["a", "c"]
            assert a.alive

    @in_pool
    async def test_where_all_are_in_use_the_next_waits(self, pool):
        async def third() -> list[str]:
            async with pool.borrow("c"):
                return pool.names

        async with pool.borrow("a"):
            async with pool.borrow("b"):
                waiting = asyncio.create_task(third())
                await settle()
                assert not waiting.done()
            assert await waiting == ["a", "c"]

    @in_pool
    async def test_the_limit_holds_while_models_load(self, pool):
        async def borrow(name: str) -> None:
            async with pool.borrow(name):
                await asyncio.sleep(0)

        await asyncio.gather(*(borrow(name) for name in "abcdabcd"))
        assert pool.loader.most == pool.max_loaded == 2

    @in_pool
    async def test_who_gave_up_waiting_leaves_no_trace(self, pool):
        async with pool.borrow("a"), pool.borrow("b"):
            waiting = asyncio.create_task(pool.borrow("c").__aenter__())
            await settle()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with pool.borrow("d"):
            assert sorted(pool.names) == ["a", "d"]
        assert pool.loader.loads == ["a", "b", "d"]


class TestKeepAlive:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            *((None, 300), (10, 10), ("5m", 300), ("1h30m", 5400), ("90", 90), ("1.5s", 1.5)),
            *((0, 0), ("-0", 0), ("-0s", 0), (-0.0, 0)),  # no time at all, and not without end
        ],
    )
    def test_durations(self, value, seconds):
        assert parse_keep_alive(value) == seconds

    def test_for_ever_and_never(self):
        assert parse_keep_alive(-1) == parse_keep_alive("-1m") == float("inf")
        for nonsense in ("", "m", "5 m", "5x", "1m2", True):
            with pytest.raises(ValueError, match=r"invalid"):
                parse_keep_alive(nonsense)

    @in_pool
    async def test_zero_unloads_as_soon_as_the_last_is_done(self, pool):
        async with pool.borrow("a", keep_alive=0) as worker:
            async with pool.borrow("a", keep_alive=0):
                pass
            assert worker.alive
        assert not worker.alive
        assert pool.loaded == []

    @in_pool
    async def test_unloading_waits_for_those_who_are_busy(self, pool):
        async with pool.borrow("a") as worker:
            await pool.unload_model(worker.model)
            assert worker.alive
        assert not worker.alive
        assert pool.loaded == []

    @in_pool
    async def test_nobody_new_gets_one_that_is_to_go(self, pool):
        async def another() -> Worker:
            async with pool.borrow("a") as worker:
                return worker

        async with pool.borrow("a") as old:
            await pool.unload_model(old.model)
            waiting = asyncio.create_task(another())
            await settle()
            assert not waiting.done()
        assert await waiting is not old

    def test_what_nobody_uses_goes_after_its_time(self, monkeypatch):
        """On a clock of our own, with a look at it that comes at once."""
        now, sleep = [1000.0], asyncio.sleep
        monkeypatch.setattr(pool_module.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(pool_module.asyncio, "sleep", lambda _: sleep(0))

        async def work() -> None:
            pool = PoolWithoutProcesses(max_loaded=3)
            for name, keep_alive in (("a", 10), ("b", 20), ("c", float("inf"))):
                async with pool.borrow(name, keep_alive=keep_alive):
                    pass
            expiry = asyncio.create_task(pool.expire())
            for seconds, left in ((9, "abc"), (2, "bc"), (10, "c"), (10**9, "c")):
                now[0] += seconds
                await settle()
                assert pool.names == [*left]
            async with pool.borrow("b", keep_alive=1):
                now[0] += 5
                await settle()
                assert pool.names == ["c", "b"], "one that is in use does not expire"
            expiry.cancel()

        asyncio.run(work())

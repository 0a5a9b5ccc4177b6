"""Memory that runs out."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading

import psutil
import pytest
import uvloop

import slmlab
from slmlab import models
from slmlab.engines.embedded.loader import Loader, LoadError, LoadSettings
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.embedded.pool import Pool
from slmlab.errors import ModelError
from slmlab.run.generate import generate
from tests.support.engines import GEMMA, SMOL, engine_process, runners


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process need Linux")
class TestMemory:
    def test_an_allocation_that_fails_while_loading(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        models.load(SMOL, num_ctx=512)  # in the process that the engine started with
        for one in [engine_process(host), *runners(host)]:  # one of these waits for a model
            limit = one.memory_info().vms + 400 * 2**20
            one.rlimit(psutil.RLIMIT_AS, (limit, psutil.RLIM_INFINITY))
        with pytest.raises(ModelError) as caught:
            models.load(GEMMA, num_ctx=8192)
        assert "memory" in str(caught.value)
        assert SMOL in str(caught.value)
        for one in [engine_process(host), *runners(host)]:
            one.rlimit(psutil.RLIMIT_AS, (psutil.RLIM_INFINITY,) * 2)
        assert generate(SMOL, "Say A.", num_predict=2).tokens == 2

    def test_a_process_that_the_system_ends_while_it_loads(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        models.load(SMOL, num_ctx=512)  # in the process that the engine started with
        over = threading.Event()
        *_, waiting = sorted(runners(host), key=lambda one: one.create_time())
        before = waiting.memory_info().rss

        def end_it() -> None:
            while not over.is_set():
                if waiting.memory_info().rss > before + 2**24:
                    waiting.kill()
                    return

        thread = threading.Thread(target=end_it)
        thread.start()
        try:
            with pytest.raises(ModelError, match="memory") as caught:
                models.load(GEMMA, num_ctx=512)
        finally:
            over.set()
            thread.join()
        assert SMOL in str(caught.value)

    def test_the_process_that_the_engine_started_with_is_killed_before_it_is_needed(
        self, lab_with_models
    ):
        host = slmlab.start("embedded", quiet=True).host
        (waiting,) = runners(host)
        waiting.kill()
        assert generate(SMOL, "Say A.", num_predict=2).tokens == 2
        assert waiting not in runners(host)

    def test_a_process_that_the_system_ends_before_it_is_told_what_to_load(
        self, models_home, monkeypatch
    ):
        start = asyncio.create_subprocess_exec

        async def start_and_end(*command, **more) -> asyncio.subprocess.Process:
            process = await start(*command, **more)
            process.kill()
            await process.wait()
            await asyncio.sleep(0.1)  # until the loop has closed its end of the pipes
            return process

        async def load() -> None:
            loaded = Pool(1, Loader(1))
            async with loaded.use(model, store.blob(model.blob), LoadSettings(512, 2), 0):
                pass

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_end)
        store = ModelStore(models_home / "models")
        model = store.get(SMOL)
        for policy in (asyncio.DefaultEventLoopPolicy(), uvloop.EventLoopPolicy()):
            with (
                contextlib.closing(policy.new_event_loop()) as loop,
                pytest.raises(LoadError, match="out of memory: the system ended"),
            ):
                loop.run_until_complete(load())

"""Servers that are killed or hang in the middle of a grid."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time

import psutil
import pytest

import slmlab
from slmlab.engines import supervisor
from slmlab.errors import ServerError, ServerGone
from slmlab.run import compare
from slmlab.run.store import RecordStore
from tests.support.engines import SHALLOW, engine_process, give_models, runners
from tests.support.faults import note, times
from tests.support.processes import answers, free_port, serving, wait_for
from tests.support.records import stored

# What must be the same in two records of one cell; times never are.
ANSWER = ["model", "prompt", "seed", "text", "tokens", "prompt_tokens", "stop_reason", "error"]


class TestKilledServer:
    """The server, or its process with a model, gets SIGKILL at random moments of a grid."""

    @pytest.mark.parametrize("victim", ["server", "model"])
    def test_the_grid_comes_to_the_very_same_records(self, victim, lab_with_models, shallow_gguf):
        wanted, prompts_n = times(3, 25), times(10, 100)
        host = slmlab.start("embedded", quiet=True).host
        names = [SHALLOW, "two-layers:again"]
        slmlab.add(names[1], shallow_gguf)
        prompts = [f"The number after {n} is" for n in range(prompts_n)]
        # One at a time: llama.cpp's arithmetic depends a little on what else is in its batch.
        grid = {"num_predict": 6, "quiet": True}
        undisturbed = slmlab.compare(names, prompts, **grid)
        rng, killed, over = random.Random(5), [], threading.Event()

        def kill() -> None:
            while len(killed) < wanted and not over.wait(rng.uniform(0.2, 1.5)):
                if victim == "server":
                    wait_for(lambda: answers(host) or over.is_set(), 60, "the server to be back")
                    over.wait(supervisor.STEADY)
                found = [engine_process(host)] if victim == "server" else runners(host)
                for one in [one for one in found if one][:1]:
                    with contextlib.suppress(psutil.Error):
                        one.kill()
                        killed.append(one.pid)

        killer = threading.Thread(target=kill)
        killer.start()
        failed, rounds = 0, 0
        while rounds == 0 or (len(killed) < wanted and killer.is_alive()):
            store = RecordStore(lab_with_models / f"round-{rounds}")
            rounds += 1
            lines = 0
            for _ in range(20):
                with contextlib.suppress(ServerError):  # killed before the first cell
                    again = slmlab.compare(names, prompts, store=store.folder, **grid)
                    assert stored(store.folder) >= lines, "nothing that was stored went away"
                    lines = stored(store.folder)
                    if again["error"].isna().all():
                        break
                    failed += int(again["error"].notna().sum())
            assert again[ANSWER].equals(undisturbed[ANSWER])
        over.set()
        killer.join()
        note(victim=victim, kills=len(killed), cells=len(again), grids=rounds, failed_rows=failed)

    def test_one_that_never_comes_back_stops_the_grid(self, lab_with_models, monkeypatch):
        """Killed together with its supervisor; with two hosts, the other one does the rest."""
        monkeypatch.setattr(compare, "SERVER_COMES_BACK_WITHIN", 3.0)
        host = slmlab.start("embedded", quiet=True).host
        prompts, other = [f"Say {n}." for n in range(6)], f"http://127.0.0.1:{free_port()}"
        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "num_thread": 1}

        def end(cell) -> None:
            engine = engine_process(host) if cell.prompt == "Say 2." else None
            if engine:
                engine.parent().kill()
                engine.kill()

        with pytest.raises(ServerGone, match="2 of 6 cells are finished and saved") as caught:
            slmlab.compare(SHALLOW, prompts, on_cell=end, **grid)
        assert caught.value.frame["prompt"].tolist() == prompts[:2]
        home = lab_with_models / "other"
        home.mkdir()
        give_models(lab_with_models, home)
        command = [sys.executable, "-m", "slmlab", "serve", "--port", other.rsplit(":", 1)[1]]
        with serving(command, other, home / "log", SLMLAB_HOME=str(home)):
            slmlab.stop()
            monkeypatch.setenv("OLLAMA_HOST", host)
            host = slmlab.start("embedded", quiet=True).host
            frame = slmlab.compare(SHALLOW, prompts, on_cell=end, hosts=[host, other], **grid)
        assert frame["error"].isna().all()
        assert frame["prompt"].tolist() == prompts


class TestHungServer:
    @pytest.mark.parametrize("victim", ["server", "model"])
    def test_it_is_a_sentence_and_not_a_hang(self, victim, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        prompts, stopped = ["Say A.", "Say B.", "Say C."], []

        def stop(cell) -> None:
            if cell.prompt == "Say B." and not stopped:
                found = [engine_process(host)] if victim == "server" else runners(host)
                stopped.extend(found)
                for one in found:
                    one.suspend()

        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "timing": False}
        started = time.monotonic()
        os.environ["OLLAMA_NUM_PARALLEL"] = "1"
        try:
            frame = slmlab.compare(SHALLOW, prompts, on_cell=stop, timeout=10, **grid)
            took = time.monotonic() - started
        finally:
            del os.environ["OLLAMA_NUM_PARALLEL"]
            for one in stopped:
                one.resume()
        assert stopped
        assert frame["error"].isna().tolist() == [True, False, False]
        assert "did not answer in time" in frame["error"][1]
        assert took < 120
        assert slmlab.compare(SHALLOW, prompts, **grid)["error"].isna().all()

    def test_a_server_that_hangs_before_the_grid(self, lab_with_models):
        host = slmlab.start("embedded", quiet=True).host
        hung = engine_process(host)
        hung.suspend()
        try:
            started = time.monotonic()
            with pytest.raises(ServerError, match="slmlab"):
                slmlab.compare(SHALLOW, "Say A.", quiet=True)
            assert time.monotonic() - started < 120
        finally:
            hung.resume()

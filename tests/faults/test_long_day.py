"""Hours of work."""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest

import slmlab
from slmlab import models
from slmlab.errors import ModelError
from tests.support.engines import SHALLOW, engine_process
from tests.support.faults import note, times

COUNTS = ("handles", "threads", "server's handles", "server's threads", "processes")


@pytest.mark.alone
class TestTime:
    def test_a_long_day_leaves_nothing_behind(self, lab_with_models):
        """Hours of work, shortened: nothing grows in the notebook's process or the server's."""
        host = slmlab.start("embedded", quiet=True).host
        here, there = psutil.Process(), engine_process(host)
        grid = {"num_predict": 4, "quiet": True}

        def work(round_: int) -> None:
            slmlab.compare(SHALLOW, [f"Say {round_}.", "Say A."], timing=round_ % 2 == 0, **grid)
            slmlab.ask(SHALLOW, "Say B.", num_predict=4)
            models.table()
            with contextlib.suppress(ModelError):
                slmlab.ask("missing", "Say B.")
            if round_ % 5 == 0:
                models.unload(SHALLOW)

        def measure() -> dict[str, int]:
            family = [there, *there.children(recursive=True)]
            return {
                "handles": here.num_fds(),
                "threads": here.num_threads(),
                "server's handles": there.num_fds(),
                "server's threads": there.num_threads(),
                "processes": len(family),
                "MiB": here.memory_info().rss >> 20,
                "server's MiB": there.memory_info().rss >> 20,
            }

        rounds, until = 0, time.monotonic() + times(6, 1800)
        while rounds < 7:  # with the model loaded, as at the end
            work(rounds)
            rounds += 1
        first = measure()
        while time.monotonic() < until:
            work(rounds)
            rounds += 1
        if rounds % 5 == 1:  # the model was just unloaded
            work(rounds)
        last, until = measure(), time.monotonic() + 30
        # On a busy machine the last connections may still be closing; a leak stays.
        while time.monotonic() < until and any(last[one] > first[one] + 3 for one in COUNTS):
            time.sleep(0.5)
            last = measure()
        note(rounds=rounds, before=first, after=last)
        for what in COUNTS:
            assert last[what] <= first[what] + 3, what
        for what in ("MiB", "server's MiB"):
            assert last[what] <= first[what] + 60, what

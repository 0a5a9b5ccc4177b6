"""Answers drawn as they come: within the callback, and from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field

import pytest

from slmlab.widgets import live


@dataclass
class Work:
    """Something that is under way for a number of looks at it; ``log`` has what was done to it."""

    looks: int = 3
    late: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def running(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")
        self.looks = 0

    def wait(self, seconds: float) -> bool:
        self.late -= 1
        self.log.append("wait")
        return self.late < 0

    def draw(self) -> None:
        self.log.append("draw")

    def end(self) -> None:
        self.log.append("end")


@pytest.fixture
def notebook(monkeypatch):
    """A notebook with a reader, which is not Colab."""
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setattr(live.display, "in_notebook", lambda: True)
    monkeypatch.setattr(live, "unattended", lambda: False)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between frames, which take no time."""
    taken = []
    monkeypatch.setattr(live.time, "sleep", taken.append)
    return taken


class TestWithinTheCallback:
    def test_it_draws_while_work_is_under_way_and_once_when_all_has_come(self, pauses):
        work = Work()
        live.follow(work, work.draw, work.end)
        assert work.log == ["start", "draw", "draw", "draw", "wait", "draw", "end"]
        assert len(pauses) == 3

    def test_an_interrupt_stops_the_work_and_what_has_come_is_drawn(self, monkeypatch):
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(live.time, "sleep", interrupt)
        work = Work()
        live.follow(work, work.draw, work.end)
        assert work.log == ["start", "draw", "stop", "wait", "draw", "end"]

    def test_on_colab_the_callback_stays(self, notebook, pauses, monkeypatch):
        monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
        work = Work()

        async def callback() -> None:
            live.follow(work, work.draw, work.end)

        asyncio.run(callback())
        assert work.log[-1] == "end"

    def test_where_nobody_looks_it_stays_too(self, notebook, pauses, monkeypatch):
        monkeypatch.setattr(live, "unattended", lambda: True)
        work = Work()

        async def callback() -> None:
            live.follow(work, work.draw, work.end)

        asyncio.run(callback())
        assert work.log[-1] == "end"


class TestFromTheEventLoop:
    def test_the_callback_returns_at_once_and_the_loop_draws(self, notebook):
        work = Work(late=1)

        async def callback() -> None:
            live.follow(work, work.draw, work.end)
            assert work.log == ["start"]
            await asyncio.gather(*live._tasks)

        asyncio.run(callback())
        assert work.log == ["start", "draw", "draw", "draw", "wait", "wait", "draw", "end"]
        assert not live._tasks

    def test_an_interrupt_stops_the_work_and_then_is_the_kernels_again(self, notebook):
        work, before = Work(looks=10**6), signal.getsignal(signal.SIGINT)

        async def callback() -> None:
            live.follow(work, work.draw, work.end)
            await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.gather(*live._tasks)

        asyncio.run(callback())
        assert work.log[-4:] == ["stop", "wait", "draw", "end"]
        assert signal.getsignal(signal.SIGINT) is before

    def test_work_that_does_not_end_is_not_waited_for_for_ever(self, notebook, monkeypatch):
        monkeypatch.setattr(live, "STOPS_WITHIN", 0.1)
        work = Work(looks=0, late=10**6)

        async def callback() -> None:
            live.follow(work, work.draw, work.end)
            await asyncio.wait_for(asyncio.gather(*live._tasks), 10)

        asyncio.run(callback())
        assert work.log == ["start", "wait", "wait", "draw", "end"]


class TestFrames:
    @pytest.mark.parametrize(
        ("drawing", "pause"),
        [
            (0.0, 1 / live.FRAMES_PER_SECOND),
            (0.025, 0.1),  # the frame's own time is part of its interval
            (1.0, 3.0),  # a quarter of a core at most
        ],
    )
    def test_slow_drawing_makes_fewer_frames(self, drawing, pause, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])

        def draw() -> None:
            now[0] += drawing

        assert next(live._frames(Work(), draw)) == pytest.approx(pause)

    def test_what_has_ended_gets_no_frame(self):
        with contextlib.closing(live._frames(Work(looks=0), pytest.fail)) as frames:
            assert list(frames) == []

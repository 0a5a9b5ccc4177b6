"""Draw answers as they come.

Colab's front end draws what a widget's callback changes while the callback runs, and nothing that
is changed later or from another thread. So there the callback stays until the answers are finished,
and an interrupt of the kernel stops them. Elsewhere the callback returns at once and a task of the
kernel's own event loop draws, so that the Stop button can be heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from slmlab.run.streaming import STOPS_WITHIN, Answers, finish
from slmlab.show import display
from slmlab.widgets.panel import Panel, unattended

FRAMES_PER_SECOND = 8
# Drawing may take this share of a core; a slow browser or a long text makes the frames fewer.
DRAWING_SHARE = 0.25

log = logging.getLogger(__name__)


class Work(Protocol):
    """Something under way elsewhere: ``slmlab.run.streaming.Answers``, or a download."""

    @property
    def running(self) -> bool:
        """Whether there is more to come."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End it as soon as it can be ended."""

    def wait(self, seconds: float) -> bool:
        """Wait for its threads; whether they are done."""


class AnswersPanel(Panel):
    """A widget in which models answer; ``answers`` are those of the last run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answers: Answers | None = None

    @property
    def running(self) -> bool:
        """Whether an answer is under way."""
        return self.answers is not None and self.answers.running

    def begin(self, answers: Answers) -> None:
        """Let models answer, and draw what comes; where nobody looks, only the end of it."""
        self.answers = answers
        self.say("")
        if unattended():
            finish(answers)
            self.draw()
        else:
            follow(answers, self.draw, self.draw)

    def stop(self) -> None:
        """End all answers that are under way; what has come stays."""
        if self.answers is not None:
            self.answers.stop()


def follow(answers: Work, draw: Callable[[], None], end: Callable[[], None]) -> None:
    """Start answers and draw them as they come; ``end`` is called when all are final."""
    loop = None
    if "COLAB_RELEASE_TAG" not in os.environ and display.in_notebook() and not unattended():
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
    log.debug("drawing %s", "within the callback" if loop is None else "from the event loop")
    answers.start()
    if loop is not None:
        task = loop.create_task(_follow_from_the_loop(answers, draw, end))
        # An event loop keeps only weak references to its tasks.
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
        return
    try:
        for pause in _frames(answers, draw):
            time.sleep(pause)
    except KeyboardInterrupt:
        log.info("interrupted: what is under way is stopped")
        answers.stop()
    answers.wait(STOPS_WITHIN)
    draw()
    end()


_tasks: set[asyncio.Task[None]] = set()


async def _follow_from_the_loop(
    answers: Work, draw: Callable[[], None], end: Callable[[], None]
) -> None:
    with _interrupts_go_to(answers.stop):
        for pause in _frames(answers, draw):
            await asyncio.sleep(pause)
    for _ in range(int(STOPS_WITHIN / 0.05)):
        if answers.wait(0):
            break
        await asyncio.sleep(0.05)
    draw()
    end()


def _frames(answers: Work, draw: Callable[[], None]) -> Iterator[float]:
    """Draw, and yield the seconds until the next frame, while anything is under way."""
    while answers.running:
        started = time.perf_counter()
        draw()
        took = time.perf_counter() - started
        yield max(1 / FRAMES_PER_SECOND - took, took * (1 / DRAWING_SHARE - 1), 0.01)


@contextlib.contextmanager
def _interrupts_go_to(stop: Callable[[], None]) -> Iterator[None]:
    """While no cell runs, a kernel ignores interrupts; let them stop the answers instead."""
    from IPython import get_ipython

    before: list[Any] = []

    def take() -> None:
        before.append(signal.signal(signal.SIGINT, lambda *_: stop()))

    def give_back() -> None:
        if before:
            signal.signal(signal.SIGINT, before[0])

    # Only the main thread may say so, and newer kernels run callbacks in another one.
    if threading.current_thread() is threading.main_thread():
        in_main: Callable[[Callable[[], None]], Any] = lambda call: call()  # noqa: E731
    else:
        in_main = get_ipython().kernel.io_loop.add_callback
    in_main(take)
    try:
        yield
    finally:
        in_main(give_back)

"""Draw answers while they are generated.

Colab's front end only shows what a widget's callback changes while it runs, and nothing that is
changed later or from another thread. So on Colab the callback runs until the answers are finished,
and interrupting the kernel stops them. Elsewhere the callback returns at once and a task in the
kernel's event loop draws, so that the kernel can handle the Stop button.
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
# The share of a core that drawing may take; with slow drawing there are fewer frames.
DRAWING_SHARE = 0.25

log = logging.getLogger(__name__)


class Work(Protocol):
    """Work in the background: ``slmlab.run.streaming.Answers``, or a download."""

    @property
    def running(self) -> bool:
        """Whether it is not finished yet."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End it as soon as it can be ended."""

    def wait(self, seconds: float) -> bool:
        """Wait for its threads; returns whether they are done."""


class AnswersPanel(Panel):
    """A widget in which models answer; ``answers`` are those of the last run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answers: Answers | None = None

    @property
    def running(self) -> bool:
        """Whether any answer is still being generated."""
        return self.answers is not None and self.answers.running

    def begin(self, answers: Answers) -> None:
        """Start answers and draw them as they come; in an unattended run, only when finished."""
        self.answers = answers
        self.say("")
        if unattended():
            finish(answers)
            self.draw()
        else:
            follow(answers, self.draw, self.draw)

    def stop(self) -> None:
        """Stop all running answers and keep their text so far."""
        if self.answers is not None:
            self.answers.stop()

    def _draw(self) -> None:
        # Read first, so that an answer that ends during drawing is drawn completely next time.
        running = self.running
        # A front end shows each change at once, and a busy one takes a while for all. So buttons
        # that running answers ignore are disabled before anything is drawn, and enabled after all.
        if running:
            self._set_buttons(running)
        self._draw_answers(running)
        if not running:
            self._set_buttons(running)

    def _draw_answers(self, running: bool) -> None:
        raise NotImplementedError

    def _set_buttons(self, running: bool) -> None:
        raise NotImplementedError


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
        log.info("interrupted; stopping the answers")
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
    """Draw and yield the seconds until the next frame, as long as an answer is running."""
    while answers.running:
        started = time.perf_counter()
        draw()
        took = time.perf_counter() - started
        yield max(1 / FRAMES_PER_SECOND - took, took * (1 / DRAWING_SHARE - 1), 0.01)


@contextlib.contextmanager
def _interrupts_go_to(stop: Callable[[], None]) -> Iterator[None]:
    """Let interrupts stop the answers; while no cell runs, a kernel would ignore them."""
    from IPython import get_ipython

    before: list[Any] = []

    def take() -> None:
        before.append(signal.signal(signal.SIGINT, lambda *_: stop()))

    def give_back() -> None:
        if before:
            signal.signal(signal.SIGINT, before[0])

    # Only the main thread may set signal handlers, and newer kernels run callbacks in another one.
    if threading.current_thread() is threading.main_thread():
        in_main: Callable[[Callable[[], None]], Any] = lambda call: call()  # noqa: E731
    else:
        in_main = get_ipython().kernel.io_loop.add_callback
    in_main(take)
    try:
        yield
    finally:
        in_main(give_back)

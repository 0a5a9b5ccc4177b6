"""Hand out the cells of a grid to servers: load by load, and again where a server went away."""

from __future__ import annotations

import collections
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)


class HasLoad(Protocol):
    """A cell: all that is known of it here is what has to be loaded for it."""

    @property
    def load(self) -> Hashable:
        """Equal for cells that share a load."""


CellT = TypeVar("CellT", bound=HasLoad)
LoadedT = TypeVar("LoadedT")
ResultT = TypeVar("ResultT")
T = TypeVar("T")


@dataclass(frozen=True)
class Attempt(Generic[ResultT]):
    """What one attempt at a cell gave; ``server_lost`` says that another may give more."""

    result: ResultT
    server_lost: bool = False


class Job(ABC, Generic[CellT, LoadedT, ResultT]):
    """The work itself. It runs on the executor, perhaps in another process, and keeps no state."""

    @abstractmethod
    def load(self, host: str, cell: CellT) -> LoadedT:
        """Load what a cell needs on a server; what it returns goes to ``attempt``."""

    @abstractmethod
    def attempt(self, host: str, cell: CellT, loaded: LoadedT) -> Attempt[ResultT]:
        """Run one cell on a server, once."""

    @abstractmethod
    def comes_back(self, host: str) -> bool:
        """Wait for a server that went away; whether it answers again."""


class Listener(Generic[CellT, LoadedT, ResultT]):
    """Hears of the work, in the thread that runs the scheduler; by default it does nothing."""

    def loading(self, host: str, cell: CellT) -> None:
        """What this cell and others need will be loaded."""

    def loaded(self, host: str, loaded: LoadedT) -> None:
        """It is loaded."""

    def starting(self, host: str, cell: CellT) -> None:
        """A cell will be attempted."""

    def finished(self, host: str, name: str, result: ResultT) -> None:
        """A cell is finished."""

    def waiting(self) -> None:
        """About a second went by in which nothing was finished."""


class NoServerLeft(Exception):
    """Cells are left, and every server went away for good."""


@dataclass
class _Lane(Generic[LoadedT]):
    """One server: what is loaded there, and what runs there now."""

    host: str
    load: Hashable = None
    loaded: LoadedT | None = None
    running: int = 0
    # It loads a model or is waited for, and takes no cells meanwhile.
    busy: bool = False
    gone: bool = False
    # The cells that were there when the server went away.
    held: list[str] = field(default_factory=list)


@dataclass
class Scheduler(Generic[CellT, LoadedT, ResultT]):
    """Runs cells on servers, each server with a lane of its own.

    A lane loads what the next cells need, takes these cells, ``width`` at a time, and goes on to
    the load on which the fewest other lanes work. When a server goes away, its lane holds the cells
    back that were there until it answers again; if it does not, they go to the other lanes.

    Args:
        job: the work.
        listener: hears of it.
        hosts: the servers.
        width: how many cells run on a server at once.
        attempts: how often a cell is attempted whose server goes away and comes back.
        cancel: ends what is under way on the executor, for a run that is interrupted or fails.
    """

    job: Job[CellT, LoadedT, ResultT]
    listener: Listener[CellT, LoadedT, ResultT]
    hosts: Sequence[str]
    width: int = 1
    attempts: int = 3
    cancel: Callable[[], None] | None = None

    def run(self, cells: Mapping[str, CellT], executor: Executor) -> None:
        """Run all cells, given by their names, on an executor; in their order but for the loads.

        Raises:
            NoServerLeft: every server went away for good.
        """
        self._cells, self._executor = cells, executor
        self._tries: collections.Counter[str] = collections.Counter()
        self._queues: dict[Hashable, collections.deque[str]] = {}
        for name, cell in cells.items():
            self._queues.setdefault(cell.load, collections.deque()).append(name)
        self._lanes: list[_Lane[LoadedT]] = [_Lane(host) for host in self.hosts]
        # What is under way, each with what takes in its result.
        self._running: dict[Future[Any], Callable[[Any], None]] = {}
        self._stopping = False
        try:
            while True:
                # One piece of work for each lane in turn, so that none waits for another's.
                started = [lane for lane in self._lanes if self._start(lane)]
                if not started and not self._running:
                    break
                pause = 0 if started else 1
                done = wait(self._running, timeout=pause, return_when=FIRST_COMPLETED).done
                for future in done:
                    self._running.pop(future)(future.result())
                if not started and not done:
                    self.listener.waiting()
        except BaseException:
            self._keep_what_is_finished()
            raise
        if self._queues:
            raise NoServerLeft

    def _start(self, lane: _Lane[LoadedT]) -> bool:
        """Start one more piece of work on a lane, if there is one and the lane has room."""
        if lane.gone or lane.busy:
            return False
        if lane.held:
            lane.busy = True
            take = functools.partial(self._take_return, lane)
            self._submit(take, self.job.comes_back, lane.host)
            return True
        if lane.load not in self._queues:
            if lane.running or not self._queues:
                return False
            lanes = collections.Counter(other.load for other in self._lanes)
            lane.load = min(self._queues, key=lanes.__getitem__)
            first = self._cells[self._queues[lane.load][0]]
            self.listener.loading(lane.host, first)
            lane.busy = True
            self._submit(functools.partial(self._take_load, lane), self.job.load, lane.host, first)
            return True
        if lane.running >= self.width:
            return False
        name = self._queues[lane.load].popleft()
        if not self._queues[lane.load]:
            del self._queues[lane.load]
        self._tries[name] += 1
        self.listener.starting(lane.host, self._cells[name])
        lane.running += 1
        take = functools.partial(self._take_attempt, lane, name)
        self._submit(take, self.job.attempt, lane.host, self._cells[name], lane.loaded)
        return True

    def _submit(self, take: Callable[[Any], None], call: Callable[..., Any], *args: Any) -> None:
        self._running[self._executor.submit(call, *args)] = take

    def _take_load(self, lane: _Lane[LoadedT], loaded: LoadedT) -> None:
        lane.loaded, lane.busy = loaded, False
        self.listener.loaded(lane.host, loaded)

    def _take_attempt(self, lane: _Lane[LoadedT], name: str, attempt: Attempt[ResultT]) -> None:
        lane.running -= 1
        again = self._stopping or self._tries[name] < self.attempts
        if not attempt.server_lost or not again:
            self.listener.finished(lane.host, name, attempt.result)
            return
        log.info("The server at %s went away in attempt %d.", lane.host, self._tries[name])
        lane.held.append(name)
        if lane.gone:
            self._put_back(lane)

    def _take_return(self, lane: _Lane[LoadedT], is_back: bool) -> None:
        log.info("The server at %s %s.", lane.host, "is back" if is_back else "is gone for good")
        lane.busy, lane.gone = False, not is_back
        self._put_back(lane)

    def _put_back(self, lane: _Lane[LoadedT]) -> None:
        """Let the cells that a lane has held be attempted again, before others."""
        if lane.gone:
            # That a server is lost for good says nothing of its cells.
            self._tries.subtract(lane.held)
        self._queues.setdefault(lane.load, collections.deque()).extendleft(lane.held)
        lane.held.clear()

    def _keep_what_is_finished(self) -> None:
        """End what is under way, and take in the results that came until then."""
        self._stopping = True
        for future in self._running:
            future.cancel()
        if self.cancel is not None:
            self.cancel()
            wait(self._running)
        for future, take in self._running.items():
            if not future.done() or future.cancelled() or future.exception() is not None:
                continue
            try:
                take(future.result())
            except Exception as error:
                log.info("A finished cell could not be kept: %r", error)


class Inline(Executor):
    """Runs each call at once, in the thread that submits it: an interrupt ends it right there."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """A future that is done."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

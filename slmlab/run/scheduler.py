"""Schedule the cells of a grid on servers: grouped by load, and retried if a server goes away."""

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
    """A cell, of which the scheduler only knows what has to be loaded for it."""

    @property
    def load(self) -> Hashable:
        """Equal for cells that share a load."""


CellT = TypeVar("CellT", bound=HasLoad)
LoadedT = TypeVar("LoadedT")
ResultT = TypeVar("ResultT")
T = TypeVar("T")


@dataclass(frozen=True)
class Attempt(Generic[ResultT]):
    """The result of one attempt at a cell; after ``server_lost`` another may succeed."""

    result: ResultT
    server_lost: bool = False


class Job(ABC, Generic[CellT, LoadedT, ResultT]):
    """The work itself, which runs on the executor, perhaps in another process; without state."""

    @abstractmethod
    def load(self, host: str, cell: CellT) -> LoadedT:
        """Load what a cell needs on a server; the result is passed to ``attempt``."""

    @abstractmethod
    def attempt(self, host: str, cell: CellT, loaded: LoadedT) -> Attempt[ResultT]:
        """Run one cell on a server, once."""

    @abstractmethod
    def comes_back(self, host: str) -> bool:
        """Wait for a server that went away; returns whether it answers again."""


class Listener(Generic[CellT, LoadedT, ResultT]):
    """Callbacks for progress, called in the scheduler's thread; by default they do nothing."""

    def loading(self, host: str, cell: CellT) -> None:
        """Called before a server loads what this cell and others need."""

    def loaded(self, host: str, loaded: LoadedT) -> None:
        """Called after loading."""

    def starting(self, host: str, cell: CellT) -> None:
        """Called before a cell is attempted."""

    def finished(self, host: str, name: str, result: ResultT) -> bool:
        """Called when a cell is finished; True ends the run."""
        return False

    def waiting(self) -> None:
        """Called after about a second in which nothing finished."""


class NoServerLeft(Exception):
    """Every server went away for good before all cells were finished; ``host`` was the first."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host


@dataclass
class _Lane(Generic[LoadedT]):
    """The state of one server: what is loaded and what is running there."""

    host: str
    load: Hashable = None
    loaded: LoadedT | None = None
    running: int = 0
    # It is loading a model or being waited for, and takes no cells.
    busy: bool = False
    gone: bool = False
    # The cells that were running there when the server went away.
    held: list[str] = field(default_factory=list)


@dataclass
class Scheduler(Generic[CellT, LoadedT, ResultT]):
    """Runs cells on servers, each server with a lane of its own.

    A run ends early if ``listener.finished`` returns True: ``stopped`` is set, what runs is
    cancelled as by an interrupt, and ``run`` returns.

    A lane loads what the next cells need, runs these cells, ``width`` at a time, and then turns to
    the load that the fewest other lanes work on. When a server goes away, its lane holds its cells
    back until the server answers again; if it does not, they go to the other lanes.

    Args:
        job: the work.
        listener: gets the callbacks.
        hosts: the servers.
        width: how many cells run on a server at once.
        attempts: how often a cell is attempted if its server keeps going away and coming back.
        cancel: ends the running jobs on the executor if the run is interrupted or fails.
    """

    job: Job[CellT, LoadedT, ResultT]
    listener: Listener[CellT, LoadedT, ResultT]
    hosts: Sequence[str]
    width: int = 1
    attempts: int = 3
    cancel: Callable[[], None] | None = None
    stopped: bool = field(default=False, init=False)

    def run(self, cells: Mapping[str, CellT], executor: Executor) -> None:
        """Run all cells, given by name, on an executor; in order, but grouped by load.

        Raises:
            NoServerLeft: every server went away for good.
        """
        self._cells, self._executor = cells, executor
        self._tries: collections.Counter[str] = collections.Counter()
        self._queues: dict[Hashable, collections.deque[str]] = {}
        for name, cell in cells.items():
            self._queues.setdefault(cell.load, collections.deque()).append(name)
        self._lanes: list[_Lane[LoadedT]] = [_Lane(host) for host in self.hosts]
        # The running jobs, each with the function that takes its result.
        self._running: dict[Future[Any], Callable[[Any], None]] = {}
        self._stopping = False
        try:
            while not self.stopped:
                # One job for each lane in turn, so that none waits for another's.
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
        if self.stopped:
            self._keep_what_is_finished()
        elif self._queues:
            raise NoServerLeft(self.hosts[0])

    def _start(self, lane: _Lane[LoadedT]) -> bool:
        """Start one more job on a lane, if there is one and the lane has room."""
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
            if self.listener.finished(lane.host, name, attempt.result):
                self.stopped = True
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
        """Put the cells that a lane held back at the front of their queue."""
        if lane.gone:
            # The loss of a server must not count as an attempt of its cells.
            self._tries.subtract(lane.held)
        self._queues.setdefault(lane.load, collections.deque()).extendleft(lane.held)
        lane.held.clear()

    def _keep_what_is_finished(self) -> None:
        """Cancel the running jobs, and take the results that came before."""
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
    """Runs each call in the thread that submits it, so that an interrupt reaches it."""

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """A finished future."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future

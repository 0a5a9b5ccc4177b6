"""Jobs for the scheduler that need no server, and who hears of them."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from slmlab.run.scheduler import Attempt, Inline, Job, Listener, Scheduler


@dataclass(frozen=True)
class Cell:
    name: str
    load: str


@dataclass
class FakeJob(Job[Cell, str, str]):
    """Records its calls; ``each`` is called in the middle of each attempt."""

    each: Callable[[str, Cell], bool | None] = lambda host, cell: None
    back: Callable[[str], bool] = lambda host: True
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    running: collections.Counter = field(default_factory=collections.Counter)
    most: collections.Counter = field(default_factory=collections.Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, host: str, name: str) -> None:
        with self.lock:
            self.calls.append((kind, host, name))

    def load(self, host, cell):
        self.note("load", host, cell.load)
        assert not self.running[host], "nothing runs on a server that loads"
        return f"{cell.load} at {host}"

    def attempt(self, host, cell, loaded):
        assert loaded == f"{cell.load} at {host}", "a cell runs on what is loaded for it"
        self.note("run", host, cell.name)
        with self.lock:
            self.running[host] += 1
            self.most[host] = max(self.most[host], self.running[host])
        try:
            lost = self.each(host, cell)
        finally:
            with self.lock:
                self.running[host] -= 1
        return Attempt(f"{cell.name} at {host}", bool(lost))

    def comes_back(self, host):
        self.note("wait", host, "")
        return self.back(host)

    def of(self, kind: str, host: str | None = None) -> list[str]:
        return [name for call, at, name in self.calls if call == kind and host in (None, at)]


@dataclass
class Heard(Listener[Cell, str, str]):
    """Keeps what it hears."""

    results: dict[str, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    each: Callable[[str], None] = lambda name: None

    def loading(self, host, cell):
        self.events.append(f"loading {cell.load} at {host}")

    def loaded(self, host, loaded):
        self.events.append(f"loaded {loaded}")

    def starting(self, host, cell):
        self.started.append(cell.name)
        self.events.append(f"starting {cell.name} at {host}")
        self.each(cell.name)

    def finished(self, host, name, result):
        assert name not in self.results, "each cell is finished once"
        self.results[name] = result
        self.events.append(f"finished {name} at {host}")


def cells(*loads: str, each: int = 3) -> dict[str, Cell]:
    """Some cells for each load: a0, a1, a2, b0 …"""
    return {f"{load}{n}": Cell(f"{load}{n}", load) for load in loads for n in range(each)}


def run(todo, job, heard=None, hosts=("h",), **more) -> Heard:
    heard = heard or Heard()
    scheduler = Scheduler(job, heard, list(hosts), **more)
    threads = scheduler.width * len(scheduler.hosts)
    with Inline() if threads == 1 else ThreadPoolExecutor(threads) as executor:
        scheduler.run(todo, executor)
    return heard

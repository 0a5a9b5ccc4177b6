"""Run a grid of generations: fairly, each cell once, nothing lost when it is interrupted."""

from __future__ import annotations

import collections
import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ollama
import tenacity

from slmlab import models, paths
from slmlab.engines import server
from slmlab.engines.address import is_local
from slmlab.engines.client import Abortable, ask_version, client, log_of
from slmlab.errors import Interrupted, ModelError, ResultsError, ServerGone, ServerLost, SlmlabError
from slmlab.memory import parallel_requests
from slmlab.run import results
from slmlab.run.generate import Target, generate_on, resolve_target
from slmlab.run.grid import Cell, plan
from slmlab.run.options import LOAD_OPTIONS, Prompt
from slmlab.run.record import Generation, GenerationError
from slmlab.run.store import Store, key, machine_id

if TYPE_CHECKING:
    import pandas as pd


ATTEMPTS = 3
SERVER_COMES_BACK_WITHIN = 60.0
# What is asked of a model between loading and timing; its answer is not kept.
WARM_UP = ("Count from one to five.", 8)


def compare(
    names: str | Iterable[str],
    prompts: Any,
    *,
    template: str | Sequence[str] | None = None,
    system: str | Sequence[str | None] | None = None,
    quantization: str | Sequence[str] | None = None,
    repeats: int = 1,
    timing: bool = True,
    think: bool = False,
    store: str | Path | None = None,
    fresh: bool = False,
    executor: Executor | None = None,
    hosts: str | Sequence[str] | None = None,
    quiet: bool = False,
    on_cell: Callable[[Cell], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    on_record: Callable[[Generation], None] | None = None,
    timeout: float = 600.0,
    **options: Any,
) -> pd.DataFrame:
    """Put every prompt to every model, with every setting, and measure each answer.

    All options are sent explicitly and are the same for all models. Every finished cell is on disk
    before the next starts, and a comparison that is run again computes only what is missing.
    A generation that fails is a row with ``error`` set, and the grid goes on; a server that went
    away is waited for for a minute, and its cells tried again, there or on the other hosts.

    Args:
        names: one model or several; all must be installed.
        prompts: one prompt or several: texts, conversations (lists of messages), or a table (a
            DataFrame, a list of dicts, or a path to a ``.csv`` or ``.jsonl`` file) with a column
            ``prompt``. All columns of a table go along into the result.
        template: a template's name or text, or several: each row's columns (or each text) fill it.
        system: a system prompt, or several to compare (None: without one).
        quantization: tags such as ``q4_0``, put behind each model's name.
        repeats: how often each is run; repeat ``r`` has the seed ``seed + r`` on every model.
        timing: True: one request at a time, each model alone in memory, loaded and warmed up
            first, so that times mean something. False: as many requests at once as the server
            runs (``OLLAMA_NUM_PARALLEL``; by default Ollama runs 1, the embedded engine 4), for
            when only the answers matter.
        think: let models that can think do so; off by default for all of them.
        store: the folder of the records (default: ``results`` in slmlab's own folder). On Colab it
            can lie on Drive.
        fresh: measure again what the store already has.
        executor: runs the generations; any ``concurrent.futures.Executor``, such as Dask's
            ``client.get_executor()``. Default: threads of this process.
        hosts: one server or several that share the work (default: ``slmlab.server.host()``). All
            must have the same models.
        quiet: show no progress.
        on_cell: called before each generation that runs.
        on_text: called with each piece of text; only where generations run one by one in here.
        on_record: called with each finished record.
        timeout: seconds without a sign of life from the server after which a cell fails.
        options: sampling options (see ``slmlab.run.options.DEFAULT_OPTIONS``). One with a list of
            values is an axis of the grid: ``temperature=[0, 0.8]``.

    Returns:
        One row for each cell, in the grid's order: the record's fields and options (see
        ``slmlab.results.to_frame``), ``repeat``, ``prompt_id``, ``model_load_s`` (seconds to load
        the model from cold; None where it was not loaded for this) and the table's own columns.

    Raises:
        ModelError, PromptError, ServerError: something is wrong with the arguments; nothing ran.
        ResultsError: a record cannot be written; ``.frame`` has what was finished.
        ServerGone: every server went away and did not come back; ``.frame`` as above.
        Interrupted: the reader stopped it; what was finished is kept, and in ``.frame``.
    """
    cells = plan(
        names,
        prompts,
        template=template,
        system=system,
        quantization=quantization,
        repeats=repeats,
        **options,
    )
    hosts = [hosts] if isinstance(hosts, str) else list(hosts or [server.host()])
    targets = _targets(cells, hosts)
    keys = [_key(cell, targets, hosts[0], think) for cell in cells]
    shelf = Store(Path(store).expanduser() if store else paths.results())
    found = {} if fresh else shelf.find(keys, machine_id() if timing else None)
    todo: dict[str, int] = {}
    for number, name in enumerate(keys):
        if name not in found:
            todo.setdefault(name, number)
    loads: dict[str, float | None] = {}
    width = 1 if timing else _width(targets)
    progress = _Progress(len(cells), len(cells) - len(todo), shelf.folder, quiet or bool(on_text))

    def finished(number: int, record: Generation, load_s: float | None) -> None:
        found[keys[number]] = record
        loads[keys[number]] = load_s
        if record.error is None:
            shelf.add(keys[number], record)
        progress.step(record)
        if on_record:
            on_record(record)

    lanes = [_Lane(host, width) for host in hosts]
    job = _Job(timing, think, timeout, in_flight=width)

    def frame() -> pd.DataFrame:
        """The finished cells, in the grid's order."""
        there = [(cell, name) for cell, name in zip(cells, keys, strict=True) if name in found]
        return results.to_frame(
            [found[name] for _, name in there],
            [
                {"repeat": cell.repeat, "model_load_s": loads.get(name), **cell.columns}
                for cell, name in there
            ],
        )

    def so_far() -> str:
        done = sum(name in found for name in keys)
        return f"{done} of {len(cells)} cells are finished and kept in {shelf.folder}"

    try:
        with _pool(executor, width * len(hosts), on_text) as (pool, listen):
            _run(
                [*todo.values()],
                cells,
                targets,
                lanes,
                pool,
                job,
                listen,
                on_cell,
                finished,
                progress,
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped. {so_far()}; run the same compare(…) again to go on where it stopped.",
            frame(),
        ) from None
    except ServerLost as error:
        raise ServerGone(
            f"{error} {so_far()}; start a server with slmlab.start() and run the same compare(…) "
            f"again.{log_of(hosts[0])}",
            frame(),
        ) from None
    except ResultsError as error:
        raise ResultsError(str(error), frame()) from None
    finally:
        progress.close()
    return frame()


# Before anything runs.


def _targets(cells: list[Cell], hosts: list[str]) -> dict[tuple[str, str], Target]:
    """What each server says of each model: one look for each, not one for each cell.

    Raises:
        ModelError: a model is missing somewhere, or is another one there.
    """
    targets: dict[tuple[str, str], Target] = {}
    for cell in cells:
        for host in hosts:
            if (host, cell.model) not in targets:
                found = resolve_target(cell.model, cell.options["num_ctx"], host)
                first = targets.get((hosts[0], cell.model), found)
                same = ("digest", "engine", "engine_version")
                if any(getattr(found, name) != getattr(first, name) for name in same):
                    raise ModelError(
                        f"{cell.model} at {host} is not the one at {hosts[0]} (model "
                        f"{found.digest[:12]} on {found.engine} {found.engine_version}, there "
                        f"{first.digest[:12]} on {first.engine} {first.engine_version}). Hosts "
                        "that share a comparison need the same models and versions."
                    )
                targets[host, cell.model] = found
    return targets


def _key(cell: Cell, targets: dict[tuple[str, str], Target], host: str, think: bool) -> str:
    return key(targets[host, cell.model], cell.prompt, cell.options, think)


def _width(targets: dict[tuple[str, str], Target]) -> int:
    """How many requests are sent to a server at once; all servers of a comparison are alike.

    As many as it runs at once, and no more: the rest would wait in its queue, where nobody hears of
    them until their time limit is over, and the records would name neighbours that they never had.
    """
    return max((parallel_requests(one.engine) for one in targets.values()), default=1)


# Running.


@dataclass(frozen=True)
class _Job:
    """What all cells of a run have in common; it goes to other processes too."""

    timing: bool
    think: bool
    timeout: float
    in_flight: int

    def load(self, target: Target, cell: Cell) -> tuple[Target, float | None]:
        """Load a model; the target as it is then, and the seconds that it took from cold.

        For timing, every other model goes first on this machine, so that the one that runs has the
        machine to itself, and an answer that is not kept warms it up. On a remote server, which
        others may be using, nothing is unloaded, and there are no seconds. What fails here fails
        again, with its sentence, in the first cell.
        """
        seconds, host = None, target.host
        alone = self.timing and is_local(host)
        loading = {name: cell.options[name] for name in LOAD_OPTIONS if name in cell.options}
        with contextlib.suppress(SlmlabError):
            for other in models.loaded(host) if alone else []:
                models.unload(other.name, host)
            took = models.load(target.model, host=host, **loading)
            seconds = took if alone else None
            target = resolve_target(target.model, cell.options["num_ctx"], host)
            if self.timing:
                text, tokens = WARM_UP
                generate_on(target, text, {**cell.options, "num_predict": tokens}, timeout=60)
        return target, seconds

    def cell(
        self,
        target: Target,
        cell: Cell,
        on_text: Callable[[str], None] | None = None,
        stopped: _Stopped | None = None,
    ) -> Generation:
        """One record, also where it failed; tried again where the server had gone away."""
        whole = None
        if stopped and self.timing:
            on_text = stopped.leave
        if not self.timing:
            whole = stopped.client(target.host, self.timeout) if stopped else None
            whole = whole or client(target.host, self.timeout)
        for attempt in range(ATTEMPTS):
            try:
                record = generate_on(
                    target,
                    cell.prompt,
                    dict(cell.options),
                    on_text=on_text,
                    timeout=self.timeout,
                    think=self.think,
                    whole=whole,
                )
            except GenerationError as error:
                record = error.record
                again = error.lost and attempt < ATTEMPTS - 1 and not (stopped and stopped.now)
                if again and _comes_back(target.host):
                    continue
                if again:
                    raise ServerLost(
                        f"The server at {target.host} went away and did not come back within "
                        f"{SERVER_COMES_BACK_WITHIN:.0f} s."
                    ) from None
            return replace(record, in_flight=self.in_flight)
        raise AssertionError  # the loop always returns


class _Stopped:
    """Lets the thread that was interrupted end what the other threads are waiting for."""

    def __init__(self) -> None:
        self.now = False
        self.transports: dict[str, Abortable] = {}
        self.clients: dict[str, ollama.Client] = {}
        self.lock = threading.Lock()

    def client(self, host: str, timeout: float) -> ollama.Client:
        """A client whose requests ``stop`` ends; one for each server."""
        with self.lock:
            if host not in self.clients:
                self.transports[host] = Abortable(host)
                self.clients[host] = ollama.Client(
                    host, timeout=timeout, transport=self.transports[host]
                )
            return self.clients[host]

    def leave(self, _: str) -> None:
        """Ends a generation that streams, at its next piece of text."""
        if self.now:
            raise SlmlabError("The comparison was stopped.")

    def stop(self) -> None:
        """End all requests."""
        self.now = True
        for transport in self.transports.values():
            transport.abort()


def _comes_back(host: str) -> bool:
    """Wait for a server that went away; whether it answers again."""
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda facts: facts is None),
        wait=tenacity.wait_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_after_delay(SERVER_COMES_BACK_WITHIN),
        retry_error_callback=lambda _: None,
    )
    return waiting(ask_version, host) is not None


@dataclass
class _Lane:
    """One server: what is loaded there, what runs there now, and which prompts it has seen."""

    host: str
    width: int
    load: tuple | None = None
    target: Target | None = None
    load_s: float | None = None
    lost: ServerLost | None = None
    running: set[Future] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)


def _run(
    todo: list[int],
    cells: list[Cell],
    targets: dict[tuple[str, str], Target],
    lanes: list[_Lane],
    pool: Executor,
    job: _Job,
    listen: dict[str, Any],
    on_cell: Callable[[Cell], None] | None,
    finished: Callable[[int, Generation, float | None], None],
    progress: _Progress,
) -> None:
    """Hand out the cells to the lanes, load by load, and take in the records as they come."""
    groups: dict[tuple, collections.deque[int]] = {}
    for number in todo:
        groups.setdefault(cells[number].load, collections.deque()).append(number)
    # Future → the lane it runs on and the number of its cell; None where it loads a model.
    running: dict[Future, tuple[_Lane, int | None]] = {}

    def hand_out(lane: _Lane) -> bool:
        """Start one more piece of work on a lane, if there is one and the lane has room."""
        if lane.lost:
            return False
        if lane.load not in groups:
            if lane.running or not groups:
                return False
            lane.load = min(groups, key=lambda load: sum(other.load == load for other in lanes))
            first = cells[groups[lane.load][0]]
            progress.show(first.model, "loading")
            lane.target, lane.seen = targets[lane.host, first.model], set()
            future = pool.submit(job.load, lane.target, first)
            number = None
        elif len(lane.running) < lane.width and not any(
            running[f][1] is None for f in lane.running
        ):
            number = groups[lane.load].popleft()
            if not groups[lane.load]:
                del groups[lane.load]
            progress.show(cells[number].model)
            if on_cell:
                on_cell(cells[number])
            future = pool.submit(job.cell, lane.target, cells[number], **listen)
        else:
            return False
        lane.running.add(future)
        running[future] = (lane, number)
        return True

    def take_in(future: Future) -> None:
        lane, number = running.pop(future)
        lane.running.discard(future)
        if number is None:
            lane.target, lane.load_s = future.result()
            return
        try:
            record = future.result()
        except ServerLost as error:
            lane.lost = error
            groups.setdefault(cells[number].load, collections.deque()).appendleft(number)
            return
        if job.timing:
            # A model that had to be loaded again in the middle makes its next answer a cold one.
            again = lane.load_s is not None and record.load_s > max(0.2, lane.load_s / 2)
            unseen = _unseen(record.prompt, lane.seen) if lane.load_s is not None else None
            record = replace(record, cold=record.cold or again, prompt_fresh=unseen)
            lane.target = replace(lane.target, cold=False)
        finished(number, record, lane.load_s)

    try:
        while True:
            # One piece of work for each lane in turn, so that no host waits for another's queue.
            while any([hand_out(lane) for lane in lanes]):
                done = [future for future in running if future.done()]
                for future in done:
                    take_in(future)
            if not running and groups:
                raise next(lane.lost for lane in lanes if lane.lost)
            if not running:
                return
            for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                take_in(future)
            progress.tick()
    except BaseException:
        # What was finished while this went wrong is kept too.
        for future in [*running]:
            if not future.cancel() and future.done() and future.exception() is None:
                take_in(future)
        raise


def _unseen(prompt: Prompt, seen: set[int]) -> bool:
    """Whether no earlier prompt had the same first tenth; notes this one.

    A server remembers what it read and reads only what is new, which makes its reading look fast.
    Beginnings are compared at lengths of powers of two, which keeps the notes short.
    """
    text = prompt if isinstance(prompt, str) else "\n".join(one["content"] for one in prompt)
    lengths = [2**power for power in range(3, len(text).bit_length())]
    tenth = max((length for length in lengths if length <= max(8, len(text) // 10)), default=0)
    known = hash(text[:tenth]) in seen
    seen.update(hash(text[:length]) for length in [*lengths, 0])
    return not known


class _Inline(Executor):
    """Runs each call at once, in the thread that submits it: an interrupt ends it right there."""

    def submit(self, call: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call(*args, **kwargs))
        except SlmlabError as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def _pool(given: Executor | None, width: int, on_text: Callable | None) -> Any:
    """The executor to use, and what the cells that run on it listen with."""
    if given is not None:
        yield given, {}
    elif width == 1:
        yield _Inline(), {"on_text": on_text}
    else:
        stopped = _Stopped()
        with ThreadPoolExecutor(width) as pool:
            try:
                yield pool, {"stopped": stopped}
            except BaseException:
                stopped.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class _Progress:
    """One line: cells done, the running model, the time left, and what it has cost so far."""

    def __init__(self, total: int, before: int, folder: Path, quiet: bool) -> None:
        self.tokens, self.joules, self.said = 0, None, ""
        self.bar = None
        if quiet:
            return
        if before:
            print(
                f"{before} of {total} cells were measured before (in {folder}; "
                "fresh=True measures them again)."
            )
        if before < total:
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=total, initial=before, unit="cell", file=sys.stdout, mininterval=0.5
            )

    def show(self, model: str, doing: str = "") -> None:
        said = f"{model}{' ' + doing if doing else ''}"
        if self.bar is not None and said != self.said:
            self.said = said
            self.bar.set_description_str(said)

    def step(self, record: Generation) -> None:
        self.tokens += record.prompt_tokens + record.tokens
        if record.energy_j is not None:
            self.joules = (self.joules or 0.0) + record.energy_j
        if self.bar is not None:
            energy = f", {self.joules:.0f} J" if self.joules is not None else ""
            self.bar.set_postfix_str(f"{self.tokens:,} tokens{energy}", refresh=False)
            self.bar.update()

    def tick(self) -> None:
        """Let the clock run on while nothing is finished, where that does not fill a log file."""
        if self.bar is not None and sys.stdout.isatty():
            self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

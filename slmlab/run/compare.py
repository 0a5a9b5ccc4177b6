"""Compare models: run a grid of generations under equal conditions and keep every result."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab import paths
from slmlab.engines.address import is_local
from slmlab.engines.client import TIMEOUT, Session
from slmlab.engines.server_errors import log_tail_text
from slmlab.errors import Interrupted, PromptError, ResultsError, ServerGone
from slmlab.memory import parallel_requests
from slmlab.run.comparison import Comparison, with_room
from slmlab.run.grid import Cell, GridOptions, plan
from slmlab.run.job import GenerationJob, Loaded
from slmlab.run.logprobs import validate_logprobs
from slmlab.run.options import parameters_of
from slmlab.run.progress import Progress
from slmlab.run.record import Generation
from slmlab.run.scheduler import Inline, NoServerLeft, Scheduler
from slmlab.run.servers import addresses, on_engines, unload_all
from slmlab.run.store import RecordStore, key

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

SERVER_COMES_BACK_WITHIN = 60.0


def compare(
    models: str | Iterable[str],
    prompts: Any,
    *,
    template: str | Sequence[str] | None = None,
    system: str | Sequence[str | None] | None = None,
    quantization: str | Sequence[str] | None = None,
    repeats: int = 1,
    timing: bool = True,
    think: bool = False,
    logprobs: int = 0,
    ask_again: bool = False,
    store: str | Path | None = None,
    fresh: bool = False,
    executor: Executor | None = None,
    host: str | Sequence[str] | None = None,
    hosts: str | Sequence[str] | None = None,
    quiet: bool = False,
    on_cell: Callable[[Cell], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    on_record: Callable[[Generation], object] | None = None,
    until: Callable[[pd.DataFrame], bool] | None = None,
    step: int = 4,
    timeout: float = TIMEOUT,
    **options: Unpack[GridOptions],
) -> pd.DataFrame:
    """Run every prompt on every model with every setting, and measure each answer.

    All options are sent explicitly and are the same for all models. Every finished cell is saved
    before the next starts, and running a comparison again computes only what is missing.
    A generation that fails becomes a row with ``error`` set, and the grid goes on. If a server goes
    away, its cells are tried again when it is back within a minute, or on the other hosts.

    Args:
        models: one model or several; all must be installed.
        prompts: one prompt or several: texts, conversations (lists of messages), or a table (a
            DataFrame, a list of dicts, a dict of columns, a ``datasets.Dataset``, or the path of a
            file: ``.csv``, ``.tsv``, ``.json``, ``.jsonl``, ``.parquet``, ``.xlsx``) with a column
            ``prompt``. A column ``num_predict`` limits each row's answer, unless that option is
            given. A column ``images`` has paths of images that go with the prompt, to models that
            can see; a column ``tools`` has lists of functions that models may call. All other
            columns of a table are copied to the result.
        template: a template's name or text, or several; filled with each text or row's columns.
        system: a system prompt, or several to compare (None: without one).
        quantization: tags such as ``q4_0``, appended to each model's name.
        repeats: how often each is run; repeat ``r`` has the seed ``seed + r`` on every model.
        timing: True: one request at a time, each model alone in memory, loaded and warmed up
            first, so that times can be compared (not those of several servers on this machine,
            which work at once). False: as many requests at once as the server
            runs (``OLLAMA_NUM_PARALLEL``; by default Ollama runs 1, the embedded engine 4), for
            when only the answers matter.
        think: let models that can think do so; off by default for all of them.
        logprobs: record how probable each token was, and this many of the likeliest ones at its
            place, up to 20 (True: 5), in the column ``logprobs``; see ``slmlab.tokens``.
        ask_again: ask once more, with four times as many tokens, where ``num_predict`` cut the
            answer, and keep what comes then. For answers that are to be scored: one that was cut
            before its result says more about the limit than about the model. The column
            ``asked_again`` tells where.
        store: the folder of the records (default: ``results`` in slmlab's own folder). On Colab it
            can be on Drive.
        fresh: measure again even what the store already has.
        executor: runs the generations; any ``concurrent.futures.Executor``, such as Dask's
            ``client.get_executor()``. Default: threads of this process.
        host: the server (default: ``slmlab.server.host()``), or several. Those of one engine share
            the work, and must have the same models; of several engines each answers every prompt,
            one after the other. With ``/v1`` at its end it is a server that is used through
            OpenAI's API, such as llama-server, vLLM or LM Studio; several of one program answer
            for the models that each of them has. Beside another engine, options that it does not
            take are left out there, as the column ``ignored`` says.
        hosts: another name for ``host``.
        quiet: show no progress.
        on_cell: called before each generation that runs.
        on_text: called with each piece of text, if generations run one by one in this process.
        on_record: called with each finished record. If it returns True, nothing more is asked, and
            the result is the table of what is finished.
        until: called after every few prompts, all models and settings, with their rows; True ends
            the comparison there. ``slmlab.decide`` stops in this way.
        step: after how many prompts ``until`` is called each time. Each time all models are loaded
            in turn, if the server does not keep them in memory.
        timeout: seconds without any data from the server after which a cell fails.
        options: sampling options (see ``slmlab.run.options.DEFAULT_OPTIONS``). A list of values
            makes an option an axis of the grid: ``temperature=[0, 0.8]``. ``format`` is ``"json"``
            or a JSON schema that each answer must have, or several to compare (None: any form);
            ``tools`` are functions that a model may call, or several lists of them; the calls come
            in the column ``tool_calls``.

    Returns:
        One row for each cell, in the grid's order: the record's fields and options (see
        ``slmlab.results.to_frame``), ``repeat``, ``prompt_id``, ``model_load_s`` (seconds to load
        the model from cold; None if it was not loaded for this) and the table's own columns.

    Raises:
        ModelError, PromptError, ServerError: an argument is not usable; nothing ran.
        ResultsError: a record cannot be written; ``.frame`` has the finished rows.
        ServerGone: every server went away and did not come back; ``.frame`` as above.
        Interrupted: the user stopped it; finished rows are saved, and in ``.frame``.

    Examples:
        >>> frame = slmlab.compare(names, ["Say hello.", "What is 2 + 2?"], num_predict=20)
        >>> len(frame)  # models × prompts
        4
        >>> prompts = slmlab.tasks.load("arithmetic", items=2)
        >>> frame = slmlab.compare(names[0], prompts, temperature=[0, 1], repeats=2, num_predict=5)
        >>> len(frame)  # prompts × temperatures × repeats
        8
    """
    cells = plan(
        models,
        prompts,
        template=template,
        system=system,
        quantization=quantization,
        repeats=repeats,
        parameters=parameters_of(compare),
        **options,
    )
    logprobs = validate_logprobs(logprobs)
    step = _checked_step(until, step)
    cells, targets, engines = on_engines(cells, addresses(host, hosts), logprobs)

    def key_of_cell(cell: Cell) -> str:
        host = engines[cell.engine or next(iter(engines))][0]
        return key(targets[host, cell.model], cell.prompt, cell.options, think, logprobs)

    keys = [key_of_cell(cell) for cell in cells]
    keyed = list(zip(keys, cells, strict=True))
    records = RecordStore(Path(store).expanduser() if store else paths.results())
    longer = [key_of_cell(with_room(cell)) for cell in cells] if ask_again else []
    # Servers on this machine work at once too, and share its processor.
    sharing = {name: max(1, sum(map(is_local, there))) for name, there in engines.items()}
    stored = (
        {} if fresh else records.find({*keys, *longer}, {1, *sharing.values()} if timing else None)
    )
    missing = _missing(keyed, stored)
    if missing:
        records.make_folder()
    before = len(cells) - len(missing)
    log.info("%d cells, %d of them from %s.", len(cells), before, records.folder)
    progress = Progress(len(cells), before, records.folder, quiet or bool(on_text))
    comparison = Comparison(cells, keys, stored, records, progress, timing, on_cell, on_record)
    # As many requests are sent to a server at once as it runs. More would wait in its queue, where
    # they might time out, and their records would count requests that did not run beside them.
    widths = {name: 1 if timing else parallel_requests(name) for name in engines}
    threads = max(widths[name] * len(hosts_of) for name, hosts_of in engines.items())
    # An interrupt reaches cells that run in this thread directly, others through their session.
    session = Session() if executor is None and threads > 1 else None

    def scheduled(engine: str) -> Scheduler[Cell, Loaded, Generation]:
        job = GenerationJob(
            targets=targets,
            timing=timing,
            think=think,
            logprobs=logprobs,
            timeout=timeout,
            in_flight=widths[engine],
            patience=SERVER_COMES_BACK_WITHIN,
            on_text=on_text if executor is None and threads == 1 else None,
            session=session,
            sharing=sharing[engine],
        )
        end = session.cancel if session else None
        return Scheduler(job, comparison, engines[engine], widths[engine], cancel=end)

    def run(batch: Iterable[tuple[str, Cell]], pool: Executor) -> bool:
        """Run what is missing, one engine after the other; whether it was stopped."""
        missing = _missing(batch, stored)
        for engine, scheduler in schedulers.items():
            todo = {key: cell for key, cell in missing.items() if cell.engine in ("", engine)}
            if todo and timing and len(engines) > 1:
                others = [hosts for name, hosts in engines.items() if name != engine]
                unload_all(itertools.chain.from_iterable(others))
            scheduler.run(todo, pool)
            if scheduler.stopped:
                return True
        return False

    schedulers = {engine: scheduled(engine) for engine in engines}
    try:
        with _finished_rows_kept(comparison, fresh), _executor(executor, threads) as pool:
            for batch in _batches(keyed, step) if until else [keyed]:
                stopped = run(batch, pool)
                if ask_again and not stopped:
                    again = comparison.ask_again(batch, key_of_cell)
                    progress.more(len(_missing(again, stored)))
                    stopped = run(again, pool)
                if stopped:
                    break
                if until and until(comparison.frame(batch)):
                    last = max(cell.columns["prompt_id"] for _, cell in batch)
                    return comparison.frame(
                        [one for one in keyed if one[1].columns["prompt_id"] <= last]
                    )
    finally:
        progress.close()
        if session:
            session.close()
    return comparison.frame()


@contextlib.contextmanager
def _finished_rows_kept(comparison: Comparison, fresh: bool) -> Iterator[None]:
    """Give an error that ends a comparison the rows that are finished."""
    try:
        yield
    except KeyboardInterrupt as error:
        # What is to be measured afresh begins again.
        hint = "" if fresh else "; run the same compare(…) again to continue"
        raise Interrupted(f"Stopped. {comparison.so_far()}{hint}.", comparison.frame()) from error
    except NoServerLeft as error:
        raise ServerGone(
            f"The server at {error.host} went away and did not come back within "
            f"{SERVER_COMES_BACK_WITHIN:.0f} s. {comparison.so_far()}; start a server with "
            f"slmlab.start() and run the same compare(…) again.{log_tail_text(error.host)}",
            comparison.frame(),
        ) from error
    except ResultsError as error:
        raise ResultsError(str(error), comparison.frame()) from error


def _batches(keyed: Iterable[tuple[str, Cell]], step: int) -> list[list[tuple[str, Cell]]]:
    """The cells of so many prompts at a time, in the prompts' order."""
    batches: dict[int, list[tuple[str, Cell]]] = {}
    for key_of_record, cell in keyed:
        number = cell.columns["prompt_id"] // step
        batches.setdefault(number, []).append((key_of_record, cell))
    return [batches[number] for number in sorted(batches)]


def _checked_step(until: object, step: int) -> int:
    """After how many prompts ``until`` is called.

    Raises:
        PromptError: that is no number of prompts, or ``until`` is no function.
    """
    if not (until is None or callable(until)):
        raise PromptError(
            f"until is a function of a table that returns whether to stop; got {until!r}. To ask "
            "until it is decided which of two models is better: slmlab.decide(models, prompts)."
        )
    if isinstance(step, bool) or not hasattr(step, "__index__") or step < 1:
        raise PromptError(f"step is a number of prompts, 1 or more; got {step!r}.")
    return int(step)


def _executor(given: Executor | None, threads: int) -> contextlib.AbstractContextManager[Executor]:
    """The executor that runs the cells; a given one is not shut down."""
    if given is not None:
        return contextlib.nullcontext(given)
    return Inline() if threads == 1 else ThreadPoolExecutor(threads)


def _missing(
    keyed: Iterable[tuple[str, Cell]], stored: Mapping[str, Generation]
) -> dict[str, Cell]:
    """The cells that have no record yet, each once, by the key of their record."""
    todo: dict[str, Cell] = {}
    for name, cell in keyed:
        if name not in stored:
            todo.setdefault(name, cell)
    return todo

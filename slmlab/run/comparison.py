"""The records of a comparison while it runs: kept as they come, and asked for again where cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slmlab.run import results
from slmlab.run.grid import Cell
from slmlab.run.job import Loaded
from slmlab.run.options import ASK_AGAIN_FACTOR, Prompt, full_options
from slmlab.run.progress import Progress
from slmlab.run.record import Generation
from slmlab.run.scheduler import Listener
from slmlab.run.store import RecordStore

if TYPE_CHECKING:
    import pandas as pd


class Comparison(Listener[Cell, Loaded, Generation]):
    """The records of a comparison: those that were found, and those that are added.

    Args:
        cells: the grid.
        keys: of the record of each cell.
        found: the records that the store has, by key.
        store: keeps each new record.
        progress: the progress bar.
        timing: whether times matter, so that it counts what a server had read before.
        on_cell: called before each generation.
        on_record: called with each finished record; True ends the run.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        keys: Sequence[str],
        found: dict[str, Generation],
        store: RecordStore,
        progress: Progress,
        timing: bool,
        on_cell: Callable[[Cell], None] | None,
        on_record: Callable[[Generation], object] | None,
    ) -> None:
        self.cells, self.keys, self.found = cells, keys, found
        self.store, self.progress, self.timing = store, progress, timing
        self.on_cell, self.on_record = on_cell, on_record
        # The keys of the second, longer answers, by those of the first; None if nobody asks again.
        self._longer: dict[str, str] | None = None
        self._longer_keys: set[str] = set()
        # By key: the seconds that loading its model took. By server: what is loaded there, and
        # hashes of how the prompts began that it has read since.
        self._load_s: dict[str, float | None] = {}
        self._loaded: dict[str, Loaded] = {}
        self._prefixes: dict[str, set[int]] = {}

    def loading(self, host: str, cell: Cell) -> None:
        """Show which model is being loaded."""
        self.progress.show(f"{cell.model} loading")

    def loaded(self, host: str, loaded: Loaded) -> None:
        """Nothing has been read by a model that was just loaded."""
        self._loaded[host], self._prefixes[host] = loaded, set()

    def starting(self, host: str, cell: Cell) -> None:
        """Show which model answers."""
        self.progress.show(cell.model)
        if self.on_cell:
            self.on_cell(cell)

    def finished(self, host: str, name: str, record: Generation) -> bool:
        """Keep a record; that of a failure only for now, so that it is tried again next time."""
        load_s = self._loaded[host].seconds
        if self.timing:
            record = self._timed(host, record, load_s)
        self.found[name], self._load_s[name] = record, load_s
        if record.error is None:
            self.store.add(name, record, name in self._longer_keys)
        self.progress.step(record)
        # Only True: a callback may return anything else, such as how many letters it wrote.
        return self.on_record is not None and self.on_record(record) is True

    def waiting(self) -> None:
        """Let the progress bar show that time passes."""
        self.progress.tick()

    def _timed(self, host: str, record: Generation, load_s: float | None) -> Generation:
        """The record with ``cold`` and ``prompt_fresh`` set by what ran before it."""
        first = not self._prefixes[host]
        unseen = _unseen(record.prompt, self._prefixes[host])
        if load_s is None:
            # It is not known what the server had read; only the first can have been cold.
            return replace(record, cold=record.cold and first)
        # If the model had to be loaded again in between, this answer is a cold one.
        again = (record.load_s or 0) > max(0.2, load_s / 2)
        fresh = record.prompt_fresh or unseen  # a server that reads all says so itself
        return replace(record, cold=(record.cold and first) or again, prompt_fresh=fresh)

    def ask_again(
        self, batch: Iterable[tuple[str, Cell]], key_of_cell: Callable[[Cell], str]
    ) -> list[tuple[str, Cell]]:
        """Those of these cells whose answers were cut, with room for more, by their keys."""
        self._longer, again = self._longer or {}, []
        for name, cell in batch:
            if _ended_by_num_predict(self.found[name]):
                more = with_room(cell)
                self._longer[name] = key_of_cell(more)
                self._longer_keys.add(self._longer[name])
                again.append((self._longer[name], more))
        return again

    def so_far(self) -> str:
        """A sentence on how much is finished."""
        done = sum(name in self.found for name in self.keys)
        return f"{done} of {len(self.cells)} cells are finished and saved in {self.store.folder}"

    def frame(self, batch: Iterable[tuple[str, Cell]] | None = None) -> pd.DataFrame:
        """The finished cells, in the grid's order; of these, given with their keys, or of all."""
        rows: list[Generation] = []
        columns: list[dict[str, Any]] = []
        for name, cell in zip(self.keys, self.cells, strict=True) if batch is None else batch:
            if name not in self.found:
                continue
            longer = (self._longer or {}).get(name)
            kept = longer if longer is not None and longer in self.found else name
            rows.append(self.found[kept])
            load_s = self._load_s.get(kept)
            facts = {"repeat": cell.repeat, "model_load_s": load_s, **cell.columns}
            columns.append(
                facts if self._longer is None else {**facts, "asked_again": kept == longer}
            )
        return results.to_frame(rows, columns)


def with_room(cell: Cell) -> Cell:
    """A cell as it is asked again if its answer was cut: with more tokens."""
    tokens = cell.options["num_predict"] * ASK_AGAIN_FACTOR
    return replace(cell, options=full_options({**cell.options, "num_predict": tokens}))


def _ended_by_num_predict(record: Generation) -> bool:
    """Whether more tokens would have let the answer go on; the context's end leaves no room."""
    return record.cut and 0 < record.options["num_predict"] <= record.tokens


def _unseen(prompt: Prompt, seen: set[int]) -> bool:
    """Whether no earlier prompt had the same first tenth; adds this one to ``seen``.

    A server keeps the KV cache of earlier prompts and prefills only what is new, which makes its
    prefill look fast. Only prefixes whose lengths are powers of two are compared, which keeps
    ``seen`` small.
    """
    text = prompt if isinstance(prompt, str) else "\n".join(one["content"] for one in prompt)
    lengths = [2**power for power in range(3, len(text).bit_length())]
    tenth = max((length for length in lengths if length <= max(8, len(text) // 10)), default=0)
    is_known = hash(text[:tenth]) in seen
    seen.update(hash(text[:length]) for length in [*lengths, 0])
    return not is_known


def as_first_asked(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the limits before compare() asked again where they cut the answer."""
    if "asked_again" not in frame or "num_predict" not in frame:
        return frame
    longer = frame["asked_again"].fillna(False).astype(bool)
    first = frame["num_predict"].where(~longer, frame["num_predict"] // ASK_AGAIN_FACTOR)
    return frame.assign(num_predict=first)

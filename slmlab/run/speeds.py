"""Measured speeds: their spread, their table, their rows as llama-bench writes them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Timing:
    """The tokens of one request that were timed, the seconds they took, and the tokens before."""

    tokens: int
    seconds: float
    depth: int

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Speed:
    """The speed of one test: ``prefill`` or ``decode``, at one depth, with so many at once.

    ``repeats`` has the timings of each repeat, one of each request in it. ``threads`` is None where
    the server chose them; ``joules`` are those per token that GPU and processor used, also for
    reading the prompt (None: unknown, or not known well after so little work); ``note`` says what
    was left out, and why.
    """

    test: str
    depth: int
    threads: int | None
    at_once: int
    started: str
    repeats: tuple[tuple[Timing, ...], ...]
    joules: float | None = None
    note: str = ""

    @property
    def timings(self) -> list[Timing]:
        """Those of all repeats."""
        return [one for repeat in self.repeats for one in repeat]

    @property
    def slowest(self) -> float | None:
        """Tokens per second of the slowest request: of each repeat's slowest, the median."""
        each = [min(one.rate for one in repeat) for repeat in self.repeats]
        return statistics.median(each) if each else None

    def to_dict(self) -> dict[str, Any]:
        """The row of a table; speeds are those of each request, in tokens per second."""
        low, middle, high = percentiles([one.rate for one in self.timings])
        return {
            "test": self.test,
            "tokens": _middle(one.tokens for one in self.timings),
            "depth": _middle((one.depth for one in self.timings), self.depth),
            "threads": self.threads,
            "at_once": self.at_once,
            "tokens_per_s": middle,
            "p10": low,
            "p90": high,
            "n": len(self.timings),
            "joules_per_token": self.joules,
            "note": self.note,
        }

    def __str__(self) -> str:
        """One readable line."""
        row = self.to_dict()
        name = f"{self.test} at depth {row['depth']:,}"
        name += in_threads(self.threads)
        name += f", {self.at_once} at once" if self.at_once > 1 else ""
        note = f"; {self.note}" if self.note else ""
        if not self.timings:
            return f"{name}: not measured{note}"
        return (
            f"{name}: {row['tokens_per_s']:.1f} tokens/s (p10 {row['p10']:.1f}, p90 "
            f"{row['p90']:.1f}, n = {row['n']}){note}"
        )


@dataclass(frozen=True, repr=False)
class Bench:
    """What ``slmlab.bench`` measured.

    Attributes:
        model: the model's name.
        engine: the engine and its version.
        machine: processor and GPUs; empty if the server is on another machine.
        speeds: one ``Speed`` for each test.
        cold: sentences on the first answer after each load, which is in no speed.
        predicted: tokens per second that ``python -m slmlab fit`` predicts (None: nothing).
        students: a sentence on how many requests at once get the speed asked for.
        facts: the fields of llama-bench that all its rows have in common.
        notes: sentences on what else ran, and on energy that could not be measured.
    """

    model: str
    engine: str
    machine: str
    speeds: tuple[Speed, ...]
    cold: tuple[str, ...] = ()
    predicted: float | None = None
    students: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each test, speeds in tokens per second for each request."""
        return frame(self.speeds)

    @property
    def measured(self) -> float | None:
        """Tokens per second that one request writes, at the first depth with the first threads."""
        alone = [one for one in self.speeds if one.test == "decode" and one.at_once == 1]
        found = alone[0].to_dict() if alone and alone[0].timings else {}
        return found.get("tokens_per_s")

    def jsonl(self) -> str:
        """The tests of one request at a time as ``llama-bench -o jsonl`` writes them.

        Fields that a server does not tell are left out, such as the commit of llama.cpp;
        ``model_filename`` is the model's name. Several requests at once have no field there.
        """
        rows = [one for one in self.speeds if one.at_once == 1 and one.timings]
        return "".join(json.dumps(llama_bench(one, self.facts)) + "\n" for one in rows)

    def __str__(self) -> str:
        """The table, and a line for all else."""
        shown = self.frame.round({"tokens_per_s": 1, "p10": 1, "p90": 1, "joules_per_token": 2})
        shown = shown.dropna(axis="columns", how="all")
        if not any(shown["note"]):
            shown = shown.drop(columns="note")
        where = ", ".join(filter(None, [f"{self.model} on {self.engine}", self.machine]))
        lines = [where, shown.to_string(index=False, na_rep="-"), *self.cold]
        if self.predicted and self.measured:
            lines.append(f"Predicted {self.predicted:.0f} tokens/s, measured {self.measured:.0f}.")
        return "\n".join([*lines, *filter(None, [self.students]), *self.notes])

    __repr__ = __str__


def in_threads(count: int | None) -> str:
    """``, 2 threads``; empty if their number is not known."""
    return f", {count} thread{'s' * (count > 1)}" if count else ""


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The 10th, 50th and 90th percentile, interpolated between values; NaN without any."""
    if len(values) < 2:
        one = values[0] if values else float("nan")
        return one, one, one
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[4], tenths[8]


def frame(speeds: Iterable[Speed]) -> pd.DataFrame:
    """A row for each test."""
    import pandas as pd

    rows = [one.to_dict() for one in speeds]
    whole = {name: "Int64" for name in ("tokens", "depth", "threads")}
    return pd.DataFrame(rows).astype(whole) if rows else pd.DataFrame()


def llama_bench(speed: Speed, facts: dict[str, Any]) -> dict[str, Any]:
    """One row as llama-bench writes it, with the fields that are known.

    Durations are nanoseconds, and the spread is the standard deviation, 0 for one repeat, as in
    llama.cpp's tools/llama-bench. ``n_depth`` is what the context really held.
    """
    row = speed.to_dict()
    prefill = speed.test == "prefill"
    durations = [round(one.seconds * 1e9) for one in speed.timings]
    rates = [one.rate for one in speed.timings]
    return facts | {
        **({"n_threads": speed.threads} if speed.threads else {}),
        "n_prompt": row["tokens"] if prefill else 0,
        "n_gen": 0 if prefill else row["tokens"],
        "n_depth": row["depth"],
        "test_time": speed.started,
        "avg_ns": round(statistics.mean(durations)),
        "stddev_ns": round(_deviation(durations)),
        "avg_ts": statistics.mean(rates),
        "stddev_ts": _deviation(rates),
        "samples_ns": durations,
        "samples_ts": rates,
    }


def largest(limit: int, enough: Callable[[int], bool]) -> int:
    """The largest number up to ``limit`` that is enough, if all below it are; 0 if none is."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if enough(middle) else (low, middle - 1)
    return low


def students(
    wanted: float, limit: int, written: dict[int, Speed], decode: Callable[[int], Speed]
) -> str:
    """How many requests at once get ``wanted`` tokens per second each, as a sentence.

    Args:
        wanted: tokens per second of the slowest request.
        limit: how many requests the engine takes at once.
        written: what is measured already, by requests at once.
        decode: measures with so many at once.
    """

    def enough(number: int) -> bool:
        if number not in written:
            written[number] = decode(number)
        slowest = written[number].slowest
        return slowest is not None and slowest >= wanted

    held = largest(limit, enough)
    last = written[max(1, held)]
    each = last.to_dict()
    conditions = (
        f"measured at depth {each['depth']:,} with {each['tokens']} tokens each"
        f"{in_threads(last.threads)}, the median of {len(last.repeats)} repeats"
    )
    if not last.timings:
        return f"How many students this host holds was not measured: {last.note}."
    if not held:
        alone = f"alone {last.slowest:.1f} ({conditions})"
        return f"Not one student gets {wanted:g} tokens/s here: {alone}."
    who = "1 student can" if held == 1 else f"{held} students at once can"
    sentence = f"{who} have {wanted:g} tokens/s here: the slowest gets {last.slowest:.1f}"
    if held == limit:
        return f"{sentence} ({conditions}). The engine takes no more at once (OLLAMA_NUM_PARALLEL)."
    more = written[held + 1]
    beyond = f"{more.slowest:.1f}" if more.slowest else f"not measured ({more.note})"
    return f"{sentence}, with {held + 1} at once {beyond} ({conditions})."


def _middle(numbers: Iterable[int], default: int | None = None) -> int | None:
    found = [*numbers]
    return round(statistics.median(found)) if found else default


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0

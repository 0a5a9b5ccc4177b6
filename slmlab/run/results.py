"""Tables of results: from records, summarized, and to and from files."""

from __future__ import annotations

import collections
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import ResultsError
from slmlab.run import cells, tables
from slmlab.run.collected import collect
from slmlab.run.frames import need
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS
from slmlab.run.record import Generation
from slmlab.run.store import write

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = {
    "model": "model",
    "engine": "engine",
    "ttft_s": "first token (s)",
    "tokens_per_s": "tokens/s",
    "tokens": "tokens",
    "wall_s": "seconds",
    "flags": "flags",
}


# The types of a comparison's columns, for restoring them from a file.
COLUMN_TYPES: dict[str, str] = {
    **{one.name: str(one.type) for one in fields(Generation)},
    **{name: type(value).__name__ for name, value in DEFAULT_OPTIONS.items()},
    **dict.fromkeys(EXTRA_OPTIONS, "int"),
    **dict.fromkeys(("tokens_per_s", "prompt_tokens_per_s", "model_load_s", "score"), "float"),
    **dict.fromkeys(("repeat", "prompt_id", "turn"), "int"),
    **dict.fromkeys(("machine", "cpu", "gpu", "ignored"), "str | None"),
    "cores": "int | None",
    **dict.fromkeys(
        ("system", "template", "quantization", "score_note", "format", "tools"), "str | None"
    ),
    **dict.fromkeys(("cut", "asked_again"), "bool"),
    **dict.fromkeys(("stop", "given_prompt", "logprobs", "tool_calls"), "str or list | None"),
}
for _name in ("prompt", "options"):  # texts or lists
    del COLUMN_TYPES[_name]
FLOATS = frozenset(name for name, kind in COLUMN_TYPES.items() if kind.startswith("float"))
# Those that may be unknown in all rows.
TIMES = ("ttft_s", "load_s", "prompt_s", "generation_s", "tokens_per_s", "prompt_tokens_per_s")


# How many times as fast one has to be as another to be called faster. A smaller difference may be
# gone in the next run of the same model.
CLEARLY = 1.2

# The flags that concern the answer and not only its times.
ANSWER_FLAGS = (
    *("failed", "stopped", "prompt truncated", "prompt perhaps truncated", "answer cut"),
    "options ignored",
)


def flags(record: Generation) -> list[str]:
    """Reasons why a record cannot be compared with others without care; often none.

    ``failed`` · ``stopped`` (by the user) · ``prompt truncated`` · ``prompt perhaps truncated``
    (the server does not say) · ``answer cut`` · ``cold`` · ``on the CPU`` · ``partly on the CPU`` ·
    ``options ignored`` (some that are not at their defaults; ``record.ignored`` says which) ·
    ``prompt cached`` (Ollama had read most of it before, so the first token came early) ·
    ``not alone`` (other requests ran at the same time, so its times say little).

    Examples:
        >>> record = slmlab.generate(names[0], "Tell me a long story.", num_predict=5)
        >>> "answer cut" in slmlab.results.flags(record)
        True
    """
    reasons = {
        "failed": record.error is not None,
        "stopped": record.stop_reason == "stopped",
        "prompt truncated": record.truncated is True,
        "prompt perhaps truncated": record.truncated is None and record.prompt_tokens > 0,
        "answer cut": record.cut,
        "options ignored": any(
            value != DEFAULT_OPTIONS.get(name) for name, value in (record.ignored or {}).items()
        ),
        "cold": record.cold,
        "on the CPU": record.gpu_share == 0,
        "partly on the CPU": record.gpu_share is not None and 0 < record.gpu_share < 1,
        "prompt cached": record.prompt_cached,
        "not alone": record.in_flight > 1,
    }
    return [name for name, holds in reasons.items() if holds]


def to_frame(
    records: Iterable[Generation], columns: Sequence[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """One row for each generation: the record's fields, each option as a column, and more.

    Further columns: ``tokens_per_s`` (decode) and ``prompt_tokens_per_s`` (prefill; only if the
    prompt was fresh and not truncated, see ``Generation.prompt_fresh``), each from five tokens on;
    ``cut``, ``turn`` (of its conversation; 1 for a text) and ``flags`` (joined by ``, ``).
    ``columns`` gives additional columns for each row, by name.

    Examples:
        >>> record = slmlab.generate(names[0], "What is 2 + 2?", num_predict=10)
        >>> slmlab.results.to_frame([record])["num_predict"].tolist()
        [10]
    """
    rows = []
    for number, record in enumerate(records):
        row = record.to_dict()
        options = row.pop("options")
        row["ignored"] = ", ".join(record.ignored) if record.ignored else None
        for name in ("logprobs", "tool_calls", "ignored"):
            if row[name] is None:
                del row[name]
        row |= {
            "tokens_per_s": record.tokens_per_s,
            "prompt_tokens_per_s": record.prompt_tokens_per_s,
            "cut": record.cut,
            "turn": record.turn,
            "flags": ", ".join(flags(record)),
        }
        rows.append(row | options | (dict(columns[number]) if columns else {}))
    return _frame(rows)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = tables.frame_of(rows, FLOATS)
    # Without a number in any row these columns would have the type object, which breaks arithmetic.
    times = [name for name in TIMES if name in frame]
    return frame.astype(dict.fromkeys(times, float))


def load(*folders: str | Path, prompts: Any = None) -> pd.DataFrame:
    """The records of several stores in one table, as those of a class's laptops.

    Each answer counts once: copies of a record do, an answer that was measured again on the same
    machine counts as it was last, and one that was cut and asked for again with its longer one.
    Seeds that follow each other are repeats; others, as of an axis ``seed=[1, 100]``, are not.
    ``slmlab.report``, plots and statistics take the table; a model on two machines counts as two.

    Args:
        folders: folders with records, such as copies of the folder ``results`` of each laptop's
            slmlab folder, or one that contains them all.
        prompts: the table of prompts, as for ``slmlab.compare``: only the answers to these, with
            the table's columns, so that they can be scored. Templates and system prompts are not
            in it, so what was asked with one is left out.

    Returns:
        The table of ``slmlab.compare`` with the columns ``machine``, ``cpu``, ``cores`` and ``gpu``
        (None: none, or not recorded).

    Raises:
        ResultsError: there is no such folder, it has no records, or none of these prompts.

    Examples:
        >>> answered = slmlab.compare(names, "Hi!", num_predict=8)  # leaves its records there
        >>> frame = slmlab.results.load(slmlab.paths.results())
        >>> slmlab.results.summary(frame, by=["machine", "model"])
    """
    records, columns = collect(folders, prompts)
    return to_frame(records, columns)


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose times may be compared: finished, warm, and measured alone.

    ``ttft_s`` is blank where most of the prompt came from the server's cache.

    Examples:
        >>> len(slmlab.results.comparable(frame)) <= len(frame)
        True
    """
    need(frame, "error", "cold", "in_flight")
    rows = frame[frame["error"].isna() & ~frame["cold"] & (frame["in_flight"] == 1)]
    if "flags" in rows and "ttft_s" in rows:
        cached = rows["flags"].map(lambda flags: "prompt cached" in str(flags)).astype(bool)
        rows = rows.assign(ttft_s=rows["ttft_s"].mask(cached))
    return rows


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The most important columns, rounded, for display.

    Examples:
        >>> slmlab.results.table(frame)
    """
    need(frame, *TABLE_COLUMNS)
    short = frame[list(TABLE_COLUMNS)].rename(columns=TABLE_COLUMNS)
    return short.round({"first token (s)": 2, "tokens/s": 1, "seconds": 1})


def summary(frame: pd.DataFrame, by: str | Sequence[str] = "model") -> pd.DataFrame:
    """One row for each model: median and range of speed and time to first token over its runs.

    Columns: ``runs``, then for ``tokens_per_s`` and ``ttft_s`` the median, min and max over the
    runs whose times may be compared (finished, warm, alone), ``model_load_s`` (seconds to load the
    model, measured once), and how many runs carry each flag: ``failed``, ``truncated`` (prompts),
    ``cut`` (answers), ``cold``, ``on_cpu``, ``not_alone``. ``by`` names other columns to group by.

    Examples:
        >>> slmlab.results.summary(frame)
        >>> slmlab.results.summary(frame, by=["model", "task"])
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    need(frame, *by, "error", "tokens_per_s", "ttft_s", "truncated", "cut", "cold", "gpu_share")
    rows = []
    for group, runs in frame.groupby(by, sort=False, dropna=False):
        timed = comparable(runs)
        row = dict(zip(by, group if isinstance(group, tuple) else (group,), strict=True))
        row["runs"] = len(runs)
        for column in ("tokens_per_s", "ttft_s"):
            values = timed[column].dropna().astype(float)
            row[column] = values.median()
            row[f"{column}_min"], row[f"{column}_max"] = values.min(), values.max()
        row["model_load_s"] = runs["model_load_s"].max() if "model_load_s" in runs else None
        row["failed"] = int(runs["error"].notna().sum())
        row["truncated"] = int(runs["truncated"].eq(True).sum())
        row["cut"] = int(runs["cut"].sum())
        row["cold"] = int(runs["cold"].sum())
        row["on_cpu"] = int((runs["gpu_share"].astype(float) < 1).sum())
        row["not_alone"] = int((runs["in_flight"] > 1).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def warnings(frame: pd.DataFrame, of_times: bool = True) -> str:
    """How many runs carry each flag, as one line for the foot of a table or plot; may be empty.

    ``of_times=False`` leaves out the flags that concern times only.

    Examples:
        >>> print(slmlab.results.warnings(frame))
    """
    need(frame, "flags")
    words = frame["flags"].str.split(", ").explode()
    shown = [word for word in words if word and (of_times or word in ANSWER_FLAGS)]
    counts = collections.Counter(shown).most_common()
    return ", ".join(f"{n} of {len(frame)} {word}" for word, n in counts)


def to_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a comparison, or any table, as CSV in UTF-8 with a byte-order mark for Excel.

    Lists and objects (conversations, labels) are written as JSON. A text that a spreadsheet would
    take for a formula (it begins with ``=``, ``+``, ``-`` or ``@``) has an invisible character
    (U+2060) before it. ``read`` restores a comparison from the file, without these characters;
    ``slmlab.compare`` and ``slmlab.tasks.load`` take it as a table of prompts.

    Raises:
        ResultsError: it cannot be written.

    Examples:
        >>> slmlab.results.to_csv(frame, "comparison.csv")
    """
    text = io.StringIO(newline="")
    need(frame)
    rows = tables.records(frame)
    writer = csv.writer(text)
    writer.writerow(cells.guarded(str(name)) for name in frame.columns)
    for row in rows:
        written = cells.to_text(row)
        writer.writerow(cells.guarded(written[str(name)]) for name in frame.columns)
    write(path, "\ufeff" + text.getvalue())


def to_json(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a comparison, or any table, as a JSON list with one object for each row.

    Raises:
        ResultsError: it cannot be written.

    Examples:
        >>> slmlab.results.to_json(frame, "comparison.json")
    """
    need(frame)
    write(path, json.dumps(tables.records(frame), indent=2, ensure_ascii=False, default=str))


def read(path: str | Path) -> pd.DataFrame:
    """A comparison from a file of ``to_csv`` or ``to_json``, as ``slmlab.compare`` returned it.

    In a CSV file, columns of your own are texts, except those that scorers read (see
    ``slmlab.tasks.load``); in a JSON file they keep their types.

    Raises:
        PromptError: the file cannot be read.
        ResultsError: it does not contain a comparison.

    Examples:
        >>> slmlab.results.to_csv(frame, "comparison.csv")
        >>> len(slmlab.results.read("comparison.csv")) == len(frame)
        True
    """
    rows = tables.read_rows(Path(path).expanduser())
    restored = []
    for number, row in enumerate(rows, 1):
        if missing := [name for name in ("model", "prompt", "text", "error") if name not in row]:
            raise ResultsError(f"{path} is not a comparison: it has no column {missing[0]!r}.")
        try:
            restored.append({name: _as_written(name, value) for name, value in row.items()})
        except ValueError as error:
            raise ResultsError(
                f"{path}, row {number}, is not from a comparison: {error}."
            ) from error
    return _frame(restored)


def _as_written(name: str, value: Any) -> Any:
    """A cell, converted to the type of its column in a comparison."""
    kind = COLUMN_TYPES.get(name)
    if kind is None:
        return value
    if isinstance(value, str) and not kind.startswith("str"):
        if value == "":
            return None
        if kind.startswith("bool"):
            if value not in ("True", "False"):
                raise ValueError(f"{name} is True or False, and not {value[:40]!r}")
            return value == "True"
        return int(value) if kind.startswith("int") else float(value)
    if kind.startswith("float") and isinstance(value, int):
        return float(value)
    return None if value == "" and kind.endswith("None") else value

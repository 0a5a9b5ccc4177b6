"""Records: kept on disk as they come, found again by what could change them, shown as tables."""

from __future__ import annotations

import collections
import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab import hardware
from slmlab.errors import ResultsError
from slmlab.generation import Generation, Target

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


# The flags that say something of the answer and not only of how long it took.
ANSWER_FLAGS = ("failed", "stopped", "prompt truncated", "answer cut")


# On disk.


def key(target: Target, prompt: Any, options: Mapping[str, Any], think: bool) -> str:
    """A name for one cell's answer: 64 hex digits over everything that can change it.

    That is the model's name and digest (weights, template, parameters), the engine and its
    version, the prompt as sent, all options with the seed, and whether the model may think.
    """
    parts = [
        target.model, target.digest, target.engine, target.engine_version, prompt, dict(options),
        think,
    ]  # fmt: skip
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stage() -> str:
    """What the times of a record depend on besides the cell: this machine's processor and GPU."""
    return ", ".join([hardware.cpu_name(), *hardware.gpu_names()])


@dataclass
class Store:
    """A folder with finished records, in which any number of processes may write at once.

    Each writer has a JSON-lines file of its own and appends one line with one write as soon as a
    cell is finished. SQLite, the obvious choice, needs locks and shared memory that network drives
    (Google Drive on Colab above all) do not give reliably; here nothing is shared, so nothing is
    locked. A process that is killed in the middle leaves at worst a torn last line in its own file,
    which readers pass over. The lines are not forced to the disk one by one: a killed process loses
    nothing by that, and a machine that loses power loses the last seconds.
    """

    folder: Path
    _file: Path | None = None

    def find(self, keys: Collection[str], on: str | None = None) -> dict[str, Generation]:
        """The stored records with these keys, each once.

        With ``on`` (see ``stage``) only those that were measured there, one request at a time.

        Raises:
            ResultsError: the folder cannot be read.
        """
        wanted, found = set(keys), {}
        try:
            files = sorted(self.folder.glob("*.jsonl")) if wanted else []
            for file in files:
                with file.open("rb") as lines:
                    for line in lines:
                        name = line[8:72].decode(errors="replace")
                        if name in wanted and name not in found and (got := _parse(line, on)):
                            found[name] = got
        except OSError as error:
            raise ResultsError(f"The records in {self.folder} cannot be read: {error}.") from None
        return found

    def add(self, name: str, record: Generation) -> None:
        """Append one record under its key.

        Raises:
            ResultsError: the disk is full or read-only; what was stored before is whole.
        """
        on = stage() if record.in_flight == 1 else None
        # The key comes first, so that a reader can pass over a line without parsing it.
        line = f'{{"key":"{name}","on":{json.dumps(on)},"record":'
        line += json.dumps(record.to_dict(), separators=(",", ":")) + "}\n"
        data = line.encode()
        try:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                writer = f"{platform.node()}-{os.getpid()}-{time.time_ns()}"
                self._file = self.folder / f"{writer}.jsonl"
            append(self._file, data)
        except OSError as error:
            raise ResultsError(
                f"A record ({len(data)} bytes) cannot be written to {self.folder}: "
                f"{error.strerror}. What was stored before is whole; make room, or give "
                "store=… another folder, and run the same comparison again."
            ) from None


def append(path: str | Path, line: bytes) -> None:
    """Add a line to a file with one write, whole or not at all.

    Raises:
        OSError: the disk is full or read-only; the file is as it was.
    """
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        if file.write(line) != len(line):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(line: bytes, on: str | None) -> Generation | None:
    """The record of one line; None for a torn or foreign line, or one measured elsewhere."""
    try:
        entry = json.loads(line)
        if on is not None and entry["on"] != on:
            return None
        known = {field.name for field in fields(Generation)}
        return Generation(**{k: v for k, v in entry["record"].items() if k in known})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


# As tables.


def flags(record: Generation) -> list[str]:
    """What keeps a record from being compared like any other, in words; empty where nothing does.

    ``failed`` · ``stopped`` (by the reader) · ``prompt truncated`` · ``answer cut`` · ``cold`` ·
    ``on the CPU`` · ``partly on the CPU`` · ``not alone`` (other requests ran beside it, so its
    times say little).
    """
    found = {
        "failed": record.error is not None,
        "stopped": record.stop_reason == "stopped",
        "prompt truncated": record.truncated,
        "answer cut": record.cut,
        "cold": record.cold,
        "on the CPU": record.gpu_share == 0,
        "partly on the CPU": record.gpu_share is not None and 0 < record.gpu_share < 1,
        "not alone": record.in_flight > 1,
    }
    return [name for name, holds in found.items() if holds]


def to_frame(records: Iterable[Generation], columns: Sequence[Mapping] = ()) -> pd.DataFrame:
    """One row for each generation: the record's fields, each option as a column, and more.

    Besides: ``tokens_per_s`` (writing), ``prompt_tokens_per_s`` (reading; only where the prompt was
    fresh and whole, see ``Generation.prompt_fresh``), ``cut``, and ``flags`` (words joined by
    ``, ``). ``columns`` has further columns for each row, by name.
    """
    import pandas as pd

    rows = []
    for number, record in enumerate(records):
        row = record.to_dict()
        options = row.pop("options")
        fresh = record.prompt_fresh and record.prompt_s and not record.truncated
        row |= {
            "tokens_per_s": record.tokens_per_s,
            "prompt_tokens_per_s": record.prompt_tokens / record.prompt_s if fresh else None,
            "cut": record.cut,
            "flags": ", ".join(flags(record)),
        }
        rows.append(row | options | (dict(columns[number]) if columns else {}))
    return pd.DataFrame(rows)


def good(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose times may be compared: finished, warm, and measured alone."""
    return frame[frame["error"].isna() & ~frame["cold"] & (frame["in_flight"] == 1)]


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that people read, rounded."""
    short = frame[list(TABLE_COLUMNS)].rename(columns=TABLE_COLUMNS)
    return short.round({"first token (s)": 2, "tokens/s": 1, "seconds": 1})


def summary(frame: pd.DataFrame, by: str | Sequence[str] = "model") -> pd.DataFrame:
    """One row for each model: median and range of speed and time to first token over its runs.

    Columns: ``runs``, then for ``tokens_per_s`` and ``ttft_s`` the median, min and max over the
    runs whose times may be compared (finished, warm, alone), ``model_load_s`` (seconds to load the
    model, measured once), and how many runs carry each flag: ``failed``, ``truncated`` (prompts),
    ``cut`` (answers), ``cold``, ``on_cpu``, ``not_alone``. ``by`` names other columns to group by.
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    rows = []
    for group, runs in frame.groupby(by, sort=False, dropna=False):
        timed = good(runs)
        row = dict(zip(by, group if isinstance(group, tuple) else (group,), strict=True))
        row["runs"] = len(runs)
        for column in ("tokens_per_s", "ttft_s"):
            values = timed[column].dropna().astype(float)
            row[column] = values.median()
            row[f"{column}_min"], row[f"{column}_max"] = values.min(), values.max()
        row["model_load_s"] = runs["model_load_s"].max() if "model_load_s" in runs else None
        row["failed"] = int(runs["error"].notna().sum())
        row["truncated"] = int(runs["truncated"].sum())
        row["cut"] = int(runs["cut"].sum())
        row["cold"] = int(runs["cold"].sum())
        row["on_cpu"] = int((runs["gpu_share"].astype(float) < 1).sum())
        row["not_alone"] = int((runs["in_flight"] > 1).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def warnings(frame: pd.DataFrame, of_times: bool = True) -> str:
    """How many runs carry which flag, as one line for the foot of a table or plot; or nothing.

    ``of_times=False`` leaves out the flags that touch times only and not answers.
    """
    words = frame["flags"].str.split(", ").explode()
    shown = [word for word in words if word and (of_times or word in ANSWER_FLAGS)]
    counts = collections.Counter(shown).most_common()
    return ", ".join(f"{n} of {len(frame)} {word}" for word, n in counts)


def to_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a comparison as CSV; conversations and other lists are written as JSON text.

    Raises:
        ResultsError: it cannot be written.
    """
    write(path, _plain(frame).to_csv(index=False))


def to_json(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a comparison as a JSON list with one object for each row.

    Raises:
        ResultsError: it cannot be written.
    """
    write(path, frame.to_json(orient="records", indent=2, force_ascii=False))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    plain = frame.copy()
    for column in plain:
        if not any(isinstance(value, (list, dict)) for value in plain[column]):
            continue
        plain[column] = [
            json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
            for value in plain[column]
        ]
    return plain


def write(path: str | Path, text: str) -> Path:
    """Write a file that the reader asked for, whole or not at all; returns its path.

    Raises:
        ResultsError: it cannot be written; what was there before is as it was.
    """
    path, data = Path(path), text.encode(errors="replace")
    if not path.parent.is_dir():
        raise ResultsError(f"There is no folder {path.parent} to write {path.name} to.")
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        room = f" It takes {len(data):,} bytes, and {free:,} are free." if free < len(data) else ""
        raise ResultsError(f"{path} cannot be written: {error.strerror}.{room}") from None
    return path

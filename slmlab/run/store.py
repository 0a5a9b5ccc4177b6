"""Records on disk: saved as they come, and found again by everything that affects the answer."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from slmlab import paths
from slmlab.devices import cpu_name, gpu_names
from slmlab.errors import ResultsError
from slmlab.hardware import usable_cores
from slmlab.run.record import Generation
from slmlab.run.target import Target


def key(
    target: Target, prompt: Any, options: Mapping[str, Any], think: bool, logprobs: int = 0
) -> str:
    """The key of a cell's record: 64 hex digits, a hash of everything that affects the answer.

    That is the model's name and digest (weights, template, parameters), the engine and its
    version, the prompt as sent, all options with the seed, and whether the model may think; and how
    many alternatives of each token are recorded, if any.
    """
    parts: list[Any] = [
        target.model,
        target.digest,
        target.engine,
        target.engine_version,
        prompt,
        dict(options),
        think,
        *([logprobs] if logprobs else []),
    ]
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def machine_id() -> str:
    """This machine's processor and GPUs, on which the times of a record depend."""
    return ", ".join([cpu_name(), *gpu_names()])


def _measured_on(in_flight: int) -> str:
    """The machine, and how many requests it worked on at once, on which times depend as much."""
    return machine_id() if in_flight == 1 else f"{machine_id()}, {in_flight} requests at once"


@functools.cache
def this_machine() -> dict[str, Any]:
    """What records say about the machine that wrote them: ``id``, ``name``, cpu, cores, gpu.

    Two laptops may have one name, so the id is drawn once and kept in slmlab's folder.
    """
    name = platform.node() or "unnamed"
    file = paths.home() / "machine"
    try:
        paths.make(file.parent)
        with contextlib.suppress(FileExistsError), open(file, "x", opener=paths.opener) as new:
            new.write(secrets.token_hex(8))
        drawn = file.read_text().strip()
    except OSError:  # a folder that cannot be written, which records do not need
        drawn = ""
    return {
        "id": drawn or name,
        "name": name,
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "gpu": ", ".join(gpu_names()) or None,
    }


@dataclass(frozen=True)
class Entry:
    """A stored record, with its key and the machine that wrote it (see ``this_machine``).

    ``asked_again`` says that it was asked for with more tokens because a shorter answer was cut.
    """

    key: str
    machine: Mapping[str, Any]
    record: Generation
    asked_again: bool


def entries(folder: Path) -> Iterator[Entry]:
    """All records in a folder and in the folders in it; other files and lines are passed over.

    Raises:
        ResultsError: the folder cannot be read.
    """
    try:
        for file in sorted(folder.rglob("*.jsonl")):
            # Records of earlier versions only have the machine's name, in that of their file.
            name = file.stem.rsplit("-", 2)[0]
            with file.open("rb") as lines:
                for line in lines:
                    if line.startswith(b'{"key":"') and (record := _parse(line, None)):
                        entry = json.loads(line)
                        machine = entry.get("machine")
                        if not isinstance(machine, dict) or not {"id", "name"} <= machine.keys():
                            machine = {"id": name, "name": name}
                        again = entry.get("asked_again") is True
                        yield Entry(entry["key"], machine, record, again)
    except OSError as error:
        raise ResultsError(f"The records in {folder} cannot be read: {error}.") from error


@dataclass
class RecordStore:
    """A folder with finished records, to which any number of processes may write at once.

    Each writer has a JSON Lines file of its own and appends one line with one write as soon as a
    cell is finished. SQLite, the obvious choice, needs locks and shared memory, which network
    drives (above all Google Drive on Colab) do not provide reliably; here nothing is shared, so
    nothing is locked. A process that is killed while it writes leaves at worst an incomplete last
    line in its own file, which readers skip. Lines are not flushed to the disk one by one: a killed
    process loses nothing by that, and a power failure loses the last seconds.
    """

    folder: Path
    _file: Path | None = None

    def find(
        self, keys: Collection[str], in_flight: Collection[int] | None = None
    ) -> dict[str, Generation]:
        """The stored records with these keys, each once.

        With ``in_flight`` only those measured on this machine, with so many requests at once.

        Raises:
            ResultsError: the folder cannot be read.
        """
        wanted, records = set(keys), {}
        on = None if in_flight is None else {_measured_on(number) for number in in_flight}
        try:
            files = sorted(self.folder.glob("*.jsonl")) if wanted else []
            for file in files:
                with file.open("rb") as lines:
                    for line in lines:
                        name = line[8:72].decode(errors="replace")
                        if name in wanted and name not in records and (record := _parse(line, on)):
                            records[name] = record
        except OSError as error:
            raise ResultsError(f"The records in {self.folder} cannot be read: {error}.") from error
        return records

    def make_folder(self) -> None:
        """Make the folder, if there is something to record.

        Raises:
            ResultsError: it cannot be made or written.
        """
        try:
            paths.make(self.folder)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise ResultsError(
                f"Records cannot be written to {self.folder}: {error.strerror}. Give store=… "
                "another folder, or set SLMLAB_HOME to a folder of your own."
            ) from error

    def add(self, name: str, record: Generation, asked_again: bool = False) -> None:
        """Append one record under its key (see ``Entry``).

        Raises:
            ResultsError: the disk is full or read-only; earlier records are intact.
        """
        on = _measured_on(record.in_flight)
        # The key comes first, so that readers can skip a line without parsing it.
        line = f'{{"key":"{name}","on":{json.dumps(on)},"machine":{json.dumps(this_machine())},'
        line += '"asked_again":true,"record":' if asked_again else '"record":'
        line += json.dumps(record.to_dict(), separators=(",", ":")) + "}\n"
        data = line.encode()
        if self._file is None:
            self.make_folder()
        try:
            if self._file is None:
                writer = f"{platform.node()}-{os.getpid()}-{time.time_ns()}"
                self._file = self.folder / f"{writer}.jsonl"
            append(self._file, data)
        except OSError as error:
            raise ResultsError(
                f"A record ({len(data)} bytes) cannot be written to {self.folder}: "
                f"{error.strerror}. Earlier records are intact. Free disk space, or give "
                "store=… another folder, and run the same comparison again."
            ) from error


def append(path: str | Path, line: bytes) -> None:
    """Add a line to a file with one write, whole or not at all.

    In slmlab's home a new file is for this user only.

    Raises:
        OSError: the disk is full or read-only; the file is as it was.
    """
    own = paths.home().absolute() in Path(path).absolute().parents
    with open(path, "ab", buffering=0, opener=paths.opener if own else None) as file:
        end = file.tell()
        if file.write(line) != len(line):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _parse(line: bytes, on: Collection[str] | None) -> Generation | None:
    """The record in a line; None if it is incomplete, not a record, or measured elsewhere."""
    try:
        entry = json.loads(line)
        if on is not None and entry["on"] not in on:
            return None
        known = {field.name for field in fields(Generation)}
        return Generation(**{k: v for k, v in entry["record"].items() if k in known})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def check_place(path: str | Path) -> None:
    """That a file for the user can have this path, as far as it is known before it is written.

    Raises:
        ResultsError: there is no such folder, or a folder has this name.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ResultsError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.is_dir():
        raise ResultsError(f"{path} is a folder; add a file's name to it.")


def write(path: str | Path, text: str) -> Path:
    """Write a file for the user, whole or not at all; returns its path.

    Raises:
        ResultsError: it cannot be written; an existing file is unchanged.
    """
    path, data = Path(path), text.encode(errors="replace")
    check_place(path)
    # Not a name that others could know, and put a link there.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        room = f" It takes {len(data):,} bytes, and {free:,} are free." if free < len(data) else ""
        raise ResultsError(f"{path} cannot be written: {error.strerror}.{room}") from error
    return path

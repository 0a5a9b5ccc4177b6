"""Keep one server alive while somebody uses it: the process between a notebook and its server.

A server started straight from a notebook's thread is hit by every cell interrupt, dies or is
orphaned with the kernel, and nobody restarts it when it crashes. So a small process of its own
session supervises it: ``python -m slmlab.engines.supervisor FOLDER`` starts the server as its
child, restarts it after a crash (one that crashes before it was of any use only a few times), and
stops it when no user is left.

The folder is named after the server's port and holds all that is known of it:

- ``config.json``: what to start, written by ``slmlab.start()`` (see ``Config``).
- ``users/``: a file for each process that uses the server, named after its id. ``slmlab.start()``
  enters its own process there before the supervisor exists, so a server is never without one.
- ``supervisor.lock``: held by the supervisor for as long as it lives. Two can never have one
  folder, and ``config.json`` is only written while no supervisor holds it.
- ``state.json``: who supervises (see ``State``). The supervisor writes it itself, before it starts
  the server, so there is no moment in which a server runs that nobody can find.
- ``child.pid`` and ``server.log``: the server's process and what it prints.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypedDict
from urllib.parse import urlsplit

import filelock
import psutil

from slmlab import paths
from slmlab.engines.address import LOOPBACK_NAMES
from slmlab.processes import end_tree, end_with_parent, is_same, start_time

# For so many seconds a server may be without users: a kernel that restarts keeps its server.
GRACE = 20.0
# How many crashes in a row, of a server that did not answer or not for a second, are enough.
MAX_RESTARTS = 3
STEADY = 1.0
POLL = 0.25
# What its log says where it was stopped and did not crash.
STOPPING = "stopping the server"
# In the folder of all servers: held by whoever starts one, or ends one that nobody uses.
START_LOCK = "start.lock"
# In a server's own folder: held by its supervisor.
LOCK = "supervisor.lock"


class Config(TypedDict, total=False):
    """What ``slmlab.start()`` asks of a supervisor."""

    engine: str
    command: list[str]
    env: dict[str, str]
    grace: float


class State(TypedDict):
    """What a supervisor says of itself and its server."""

    host: str
    engine: str
    pid: int
    start_time: float


def folder_of(address: str) -> Path:
    """The folder with the state, log and users of the server at ``address``."""
    return paths.servers() / str(urlsplit(address).port)


@contextlib.contextmanager
def exclusive(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file at ``path``, waiting up to ``timeout`` seconds for it.

    On a network drive that has no locks nothing is held.

    Raises:
        filelock.Timeout: another process holds it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(filelock.FileLock(path, timeout=timeout))
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield


def write_json(path: Path, data: Any) -> None:
    """Write a file that readers see either whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(data))
    os.replace(temporary, path)


# Users.


def add_user(folder: Path) -> None:
    """Enter this process as a user of the server in ``folder``."""
    pid = os.getpid()
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    # Not written in place: the supervisor would take a file that is still empty for a dead user's.
    temporary = folder / f".user.{pid}"
    temporary.write_text(repr(start_time(pid)))
    os.replace(temporary, users / str(pid))


def has_users(folder: Path) -> bool:
    """Whether any process that entered is still alive; the files of dead ones are removed.

    Where the folder went away, with a network drive, nobody is known any more.
    """
    alive = False
    with contextlib.suppress(OSError):
        for entry in (folder / "users").glob("*"):
            try:
                if is_same(int(entry.name), float(entry.read_text() or 0)):
                    alive = True
                    continue
            except (ValueError, OSError):
                pass
            entry.unlink(missing_ok=True)
    return alive


# What is known of the servers from outside.


def states() -> Iterator[State]:
    """The servers that slmlab started and whose supervisors still live."""
    try:
        folders = sorted(paths.servers().iterdir())
    except OSError:  # none was ever started, or the home lies on a network drive that went away
        return
    for folder in folders:
        if state := _read_state(folder):
            yield state


def state_at(address: str) -> State | None:
    """The state of the server at ``address``, where slmlab started it and its supervisor lives."""
    return _read_state(folder_of(address)) if _may_be_ours(address) else None


def _may_be_ours(address: str) -> bool:
    """Whether this is where slmlab's servers listen: 127.0.0.1, which is also called localhost."""
    parts = urlsplit(address)
    local = parts.hostname in LOOPBACK_NAMES
    return local and parts.scheme == "http" and not parts.path


def _read_state(folder: Path) -> State | None:
    try:
        state: State = json.loads((folder / "state.json").read_bytes())
        return state if is_same(state["pid"], state["start_time"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def log_tail(address: str, lines: int = 15) -> str:
    """The last lines of the log of a server that slmlab started; empty for any other.

    Empty too for one that was stopped, by its user or because nobody used it: what it wrote
    before that explains no error of today.
    """
    if not _may_be_ours(address):
        return ""
    path = folder_of(address) / "server.log"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    written = text.splitlines()
    return "" if f"[supervisor] {STOPPING}" in written else "\n".join(written[-lines:])


# The process.


def supervise(folder: Path) -> int:
    """Start, watch and in the end stop the server of ``folder``. Returns the exit status."""
    try:
        with exclusive(folder / LOCK, timeout=0):
            if _read_state(folder):  # on a drive without locks
                return 0
            config: Config = json.loads((folder / "config.json").read_bytes())
            state: State = {
                "host": f"http://127.0.0.1:{folder.name}",
                "engine": config.get("engine", ""),
                "pid": os.getpid(),
                "start_time": start_time(os.getpid()),
            }
            write_json(folder / "state.json", state)
            try:
                with (folder / "server.log").open("wb", buffering=0) as log:
                    return _run(folder, config, log)
            finally:
                with contextlib.suppress(OSError):
                    (folder / "state.json").unlink()
    except filelock.Timeout:  # another supervisor has this folder, and its server
        return 0


def _run(folder: Path, config: Config, log: IO[bytes]) -> int:
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    def note(text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk, or a network drive that went away
            log.write(f"[supervisor] {text}\n".encode())

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not has_users(folder):
        note("the process that wanted the server has ended; not starting it")
        return 0
    grace = config.get("grace", GRACE)
    restarts, last_used = 0, time.monotonic()
    with contextlib.ExitStack() as ending:
        while not stopping:
            try:
                child = subprocess.Popen(
                    config["command"],
                    env={**os.environ, **config["env"]},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=end_with_parent if os.name == "posix" else None,
                )
            except OSError as error:
                note(f"cannot start {config['command'][0]}: {error}")
                return 1
            (folder / "child.pid").write_text(str(child.pid))
            answered = None
            while child.poll() is None and not stopping:
                time.sleep(POLL)
                if answered is None and _listens(int(folder.name)):
                    answered = time.monotonic()
                if has_users(folder):
                    last_used = time.monotonic()
                elif time.monotonic() - last_used > grace and _nobody_comes(folder, ending):
                    note(f"nobody used the server for {grace:g} s")
                    stopping = True
            if stopping:
                note(STOPPING)
                if child.poll() is None:
                    end_tree(psutil.Process(child.pid))
                child.wait()
                return 0
            if answered and time.monotonic() - answered > STEADY:
                restarts = 0
            restarts += 1
            note(f"the server ended with status {child.returncode}")
            if restarts > MAX_RESTARTS:
                note("too many crashes, not starting it again")
                return 1
            time.sleep(0.2 * 2**restarts)
    return 0


def _nobody_comes(folder: Path, ending: contextlib.ExitStack) -> bool:
    """Whether it is certain that no ``start()`` is about to use the server.

    If so, ``ending`` holds the lock without which nobody starts or joins a server, until this one
    is gone.
    """
    try:
        ending.enter_context(exclusive(folder.parent / START_LOCK, timeout=0))
    except filelock.Timeout:
        return False
    except OSError:  # the drive with the folder went away, and with it all who could come
        return True
    if has_users(folder):
        ending.close()
        return False
    return True


def _listens(port: int) -> bool:
    """Whether something accepts connections at this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    raise SystemExit(supervise(Path(sys.argv[1])))

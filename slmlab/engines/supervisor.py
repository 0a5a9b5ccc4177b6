"""Keep one server running while it has users: the process between notebooks and their server.

A server that a notebook's kernel starts directly would be hit by every cell interrupt, die or be
orphaned with the kernel, and stay down after a crash. So a small process in a session of its own
supervises it: ``python -m slmlab.engines.supervisor FOLDER`` starts the server as its child,
restarts it after a crash (only a few times if it never answered), and stops it when no user is
left.

The folder is named after the server's port and holds everything about it:

- ``config.json``: what to start, written by ``slmlab.start()`` (see ``Config``).
- ``users/``: a file for each process that uses the server, named after its process id.
  ``slmlab.start()`` registers its own process before the supervisor exists, so that a server always
  has a user.
- ``supervisor.lock``: held by the supervisor for as long as it runs. No two supervisors can have
  one folder, and ``config.json`` is only written while no supervisor holds the lock.
- ``state.json``: the supervisor's process (see ``State``). The supervisor writes this itself before
  it starts the server, so every running server can be found.
- ``key``: the embedded engine's key (see ``keys``).
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
from slmlab.engines import keys
from slmlab.engines.address import LOOPBACK_NAMES
from slmlab.parent import end_with_parent
from slmlab.processes import end_tree, is_same, start_time
from slmlab.terminal import printable

# Seconds that a server goes on without users, so that a kernel that restarts finds it again.
GRACE = 20.0
# After more crashes in a row than this, each within STEADY seconds of answering, give up.
MAX_RESTARTS = 3
STEADY = 1.0
POLL = 0.25
# What the log says if the server was stopped and did not crash.
STOPPING = "stopping the server"
# In the folder of all servers: held while a server is started, or ended for lack of users.
START_LOCK = "start.lock"
# In a server's own folder: held by its supervisor.
LOCK = "supervisor.lock"


class Config(TypedDict, total=False):
    """What ``slmlab.start()`` tells a supervisor to run."""

    engine: str
    command: list[str]
    env: dict[str, str]
    grace: float


class State(TypedDict):
    """A supervisor's process, and the address and engine of its server."""

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

    On a network drive without locks this does nothing.

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
    """Write a file atomically: readers see it either whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _write(temporary, json.dumps(data))
    os.replace(temporary, path)


def _write(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=paths.opener) as file:
        file.write(text)


# Users.


def add_user(folder: Path) -> None:
    """Register this process as a user of the server in ``folder``."""
    pid = os.getpid()
    users = folder / "users"
    users.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written atomically: the supervisor would take an empty file for that of a dead user.
    temporary = folder / f".user.{pid}"
    _write(temporary, repr(start_time(pid)))
    os.replace(temporary, users / str(pid))


def has_users(folder: Path) -> bool:
    """Whether any registered process is still alive; the files of dead ones are removed.

    False if the folder is gone, with a network drive.
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


# What other processes know of the servers.


def states() -> Iterator[State]:
    """The servers that slmlab started and whose supervisors are running."""
    try:
        folders = sorted(paths.servers().iterdir())
    except OSError:  # none was ever started, or the home is on a network drive that is gone
        return
    for folder in folders:
        if state := _read_state(folder):
            yield state


def state_at(address: str) -> State | None:
    """The state of the server at ``address``; None if slmlab did not start it or it has ended."""
    return _read_state(folder_of(address)) if _may_be_ours(address) else None


def key_at(address: str) -> str | None:
    """The key of the embedded engine at ``address``; None if this user has not started one."""
    return keys.read(folder_of(address)) if _may_be_ours(address) else None


def _may_be_ours(address: str) -> bool:
    """Whether slmlab's servers could listen at this address: 127.0.0.1, or localhost."""
    parts = urlsplit(address)
    local = parts.hostname in LOOPBACK_NAMES
    return local and parts.scheme == "http" and not parts.path


def _read_state(folder: Path) -> State | None:
    try:
        path = folder / "state.json"
        # Another user must not say which processes slmlab takes for its own, and ends.
        if os.name == "posix" and path.stat().st_uid != os.geteuid():
            return None
        state: State = json.loads(path.read_bytes())
        return state if is_same(state["pid"], state["start_time"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def log_tail(address: str, lines: int = 15) -> str:
    """The last lines of the log of a server that slmlab started; empty for others.

    Also empty for a server that was stopped, by a user or for lack of users: what it logged before
    does not explain a later error.
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
    written = [printable(line) for line in text.splitlines()]
    return "" if f"[supervisor] {STOPPING}" in written else "\n".join(written[-lines:])


# The process.


def supervise(folder: Path) -> int:
    """Start the server of ``folder``, watch it, and stop it in the end. Returns the exit status."""
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
            if state["engine"] == "embedded":
                keys.write(folder, keys.new())
            write_json(folder / "state.json", state)
            try:
                path = folder / "server.log"
                with open(path, "wb", buffering=0, opener=paths.opener) as log:
                    return _run(folder, config, log)
            finally:
                for name in ("state.json", keys.NAME):
                    with contextlib.suppress(OSError):
                        (folder / name).unlink()
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
        note("the process that requested the server has ended; not starting it")
        return 0
    grace = config.get("grace", GRACE)
    restarts, last_used = 0, time.monotonic()
    with contextlib.ExitStack() as ending:
        while not stopping:
            try:
                child = _start_child(config, log)
            except OSError as error:
                note(f"cannot start {config['command'][0]}: {error}")
                return 1
            _write(folder / "child.pid", str(child.pid))
            answered = None
            while child.poll() is None and not stopping:
                time.sleep(POLL)
                if answered is None and _listens(int(folder.name)):
                    answered = time.monotonic()
                if has_users(folder):
                    last_used = time.monotonic()
                elif time.monotonic() - last_used > grace and _lock_out_new_users(folder, ending):
                    note(f"the server had no users for {grace:g} s")
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


def _start_child(config: Config, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        config["command"],
        env={**os.environ, **config["env"]},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=end_with_parent if os.name == "posix" else None,
        # Ollama's models may be meant for others; ours lie in our home.
        umask=0o077 if config.get("engine") == "embedded" else -1,
    )


def _lock_out_new_users(folder: Path, ending: contextlib.ExitStack) -> bool:
    """Take the lock that ``start()`` needs, unless somebody holds it or has just become a user.

    Returns:
        Whether ``ending`` holds the lock now, so that no ``start()`` can join the server until it
        is gone.
    """
    try:
        ending.enter_context(exclusive(folder.parent / START_LOCK, timeout=0))
    except filelock.Timeout:
        return False
    except OSError:  # the drive with the folder is gone, and no start() can find this server
        return True
    if has_users(folder):
        ending.close()
        return False
    return True


def _listens(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    raise SystemExit(supervise(Path(sys.argv[1])))

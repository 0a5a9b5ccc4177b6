"""Keep one server alive while somebody uses it: the process between a notebook and its server.

A server started straight from a notebook's thread is hit by every cell interrupt, dies or is
orphaned with the kernel, and nobody restarts it when it crashes. So a small process of its own
session does the watching: ``python -m slmlab.engines.supervisor FOLDER`` reads ``config.json``
there, starts the server as its child with the log in ``server.log``, restarts it after a crash (one
that crashes before it was of any use only a few times), and stops it when no user is left. A user
is a process whose id is the name of a file in ``users/``; ``GRACE`` seconds without one are
allowed, so that a kernel restart keeps its server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from slmlab import paths
from slmlab.processes import end_tree, end_with_parent, is_same, start_time

GRACE = 20.0
# How many crashes in a row, of a server that did not answer or not for a second, are enough.
MAX_RESTARTS = 3
STEADY = 1.0
POLL = 0.25


def add_user(folder: Path) -> None:
    """Enter this process as a user of the server in ``folder``."""
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    (users / str(os.getpid())).write_text(repr(start_time(os.getpid())))


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


def _listens(port: int | None) -> bool:
    """Whether something accepts connections at this port of 127.0.0.1."""
    if port is None:
        return False
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def keep(folder: Path) -> int:
    """Start, watch and in the end stop the server of ``folder``. Returns the exit status."""
    config = json.loads((folder / "config.json").read_text())
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    restarts, last_used = 0, time.monotonic()
    with (folder / "server.log").open("ab", buffering=0) as log:
        while not stopping:
            child = subprocess.Popen(
                config["command"],
                env={**os.environ, **config["env"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent if os.name == "posix" else None,
            )
            (folder / "child.pid").write_text(str(child.pid))
            answered = None
            while child.poll() is None and not stopping:
                time.sleep(POLL)
                if answered is None and _listens(config.get("port")):
                    answered = time.monotonic()
                if has_users(folder):
                    last_used = time.monotonic()
                elif time.monotonic() - last_used > GRACE:
                    stopping = True
            if stopping:
                end_tree(psutil.Process(child.pid)) if child.poll() is None else None
                child.wait()
                return 0
            if answered and time.monotonic() - answered > STEADY:
                restarts = 0
            restarts += 1
            log.write(f"[keeper] the server ended with status {child.returncode}\n".encode())
            if restarts > MAX_RESTARTS:
                log.write(b"[keeper] too many crashes, not starting it again\n")
                return 1
            time.sleep(0.2 * 2**restarts)
    return 0


def log_tail(address: str, lines: int = 15) -> str:
    """The last lines of the log of a server that slmlab started; empty for any other."""
    log = folder_of(address) / "server.log"
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def folder_of(address: str) -> Path:
    """The folder with the state, log and users of the server at ``address``."""
    return paths.servers() / str(urlsplit(address).port)


def states() -> Iterator[dict]:
    """The servers that slmlab started and whose keepers are still there."""
    try:
        files = sorted(paths.servers().glob("*/state.json"))
    except OSError:  # a home on a network drive that went away
        return
    for file in files:
        try:
            state = json.loads(file.read_text())
            same = is_same(state["pid"], state["born"])
            if same and psutil.Process(state["pid"]).status() != psutil.STATUS_ZOMBIE:
                yield state
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            continue


if __name__ == "__main__":
    raise SystemExit(keep(Path(sys.argv[1])))

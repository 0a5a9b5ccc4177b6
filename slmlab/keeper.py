"""Keep one server alive while somebody uses it: the process between a notebook and its server.

A server started straight from a notebook's thread is hit by every cell interrupt, dies or is
orphaned with the kernel, and nobody restarts it when it crashes. So a small process of its own
session does the watching: ``python -m slmlab.keeper FOLDER`` reads ``config.json`` there, starts
the server as its child with the log in ``server.log``, restarts it after a crash (a bounded number
of times), and stops it when no user is left. A user is a process whose id is the name of a file in
``users/``; ``GRACE`` seconds without one are allowed, so that a kernel restart keeps its server.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

GRACE = 20.0
MAX_RESTARTS = 3
# A server that ran this long before it crashed has earned a fresh count of restarts.
STEADY = 300.0
POLL = 0.25


def add_user(folder: Path) -> None:
    """Enter this process as a user of the server in ``folder``."""
    users = folder / "users"
    users.mkdir(parents=True, exist_ok=True)
    (users / str(os.getpid())).write_text(repr(psutil.Process().create_time()))


def has_users(folder: Path) -> bool:
    """Whether any process that entered is still alive; the files of dead ones are removed."""
    alive = False
    for entry in (folder / "users").glob("*"):
        try:
            # A process id is used again some day; with its start time it is unmistakable.
            born = float(entry.read_text() or 0)
            if abs(psutil.Process(int(entry.name)).create_time() - born) < 1:
                alive = True
                continue
        except (psutil.NoSuchProcess, ValueError, OSError):
            pass
        entry.unlink(missing_ok=True)
    return alive


def end_tree(process: psutil.Process, patience: float = 5.0) -> None:
    """End a process and all its children: politely first, then for certain."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for kill in (psutil.Process.terminate, psutil.Process.kill):
        for member in family:
            try:
                kill(member)
            except psutil.NoSuchProcess:
                continue
        _, family = psutil.wait_procs(family, timeout=patience)
        if not family:
            return


def _end_with_parent() -> None:
    """On Linux, have the kernel end this new process when the keeper dies, however that happens."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


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
        while True:
            started = time.monotonic()
            child = subprocess.Popen(
                config["command"],
                env={**os.environ, **config["env"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent if os.name == "posix" else None,
            )
            (folder / "child.pid").write_text(str(child.pid))
            while child.poll() is None and not stopping:
                time.sleep(POLL)
                if has_users(folder):
                    last_used = time.monotonic()
                elif time.monotonic() - last_used > GRACE:
                    stopping = True
            if stopping:
                end_tree(psutil.Process(child.pid)) if child.poll() is None else None
                child.wait()
                return 0
            if time.monotonic() - started > STEADY:
                restarts = 0
            restarts += 1
            log.write(f"[keeper] the server ended with status {child.returncode}\n".encode())
            if restarts > MAX_RESTARTS:
                log.write(b"[keeper] too many crashes, not starting it again\n")
                return 1
            time.sleep(0.2 * 2**restarts)


if __name__ == "__main__":
    raise SystemExit(keep(Path(sys.argv[1])))

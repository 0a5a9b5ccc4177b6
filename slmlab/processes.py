"""Processes: told apart for certain, ended with all their children, ended with their parent."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys

import psutil

log = logging.getLogger(__name__)


def start_time(pid: int) -> float:
    """When a process started: with its id it is unmistakable, also after the clock was set.

    Linux counts from the boot, and psutil adds the time of the boot, which moves with the clock.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    # First, for older versions of psutil keep the time of the boot that they saw last.
    boot = psutil.boot_time() if psutil.LINUX else 0.0
    return psutil.Process(pid).create_time() - boot


def is_same(pid: int, start: float) -> bool:
    """Whether the process of this number runs and is the one that started then (``start_time``).

    One that has ended and whose parent took no note of it yet (a zombie) does not run.
    """
    try:
        same = abs(start_time(pid) - start) < 1
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
        log.debug("still there after being asked to end: %s", family)


def end_with_parent() -> None:
    """On Linux, have the kernel end this new process when its parent dies, however that happens."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

"""Processes: identify them for certain, end them with their children."""

from __future__ import annotations

import logging

import psutil

log = logging.getLogger(__name__)


def start_time(pid: int) -> float:
    """When a process started, which together with its id identifies it.

    On Linux this counts from the boot, so that it stays the same when somebody sets the clock
    (psutil adds the time of the boot, which moves with the clock).

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    # Called first: older versions of psutil add the boot time that they saw last.
    boot = psutil.boot_time() if psutil.LINUX else 0.0
    return psutil.Process(pid).create_time() - boot


def is_same(pid: int, start: float) -> bool:
    """Whether a process with this id is running and started at this time (``start_time``).

    A zombie, which has ended but has not been waited for by its parent, does not count.
    """
    try:
        same = abs(start_time(pid) - start) < 1
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_tree(process: psutil.Process, patience: float = 5.0) -> None:
    """End a process and all its children: with SIGTERM, and after ``patience`` seconds SIGKILL."""
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
        log.debug("still running after %s: %s", kill.__name__, family)

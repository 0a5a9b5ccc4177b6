"""Processes, ports and waiting: what tests of servers need."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from slmlab.processes import end_tree


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float = 60.0, what: str = "it"):
    """Poll until the condition holds; a test that waits too long says for what."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what} in vain")


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (
            httpx.get(f"{url}/api/version", timeout=2, trust_env=False, verify=False).status_code
            == 200
        )
    return False


@contextlib.contextmanager
def serving(command: list[str], url: str, log: Path, **env: str) -> Iterator[subprocess.Popen]:
    """A server process that answers at ``url``, ended with all its children afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        wait_for(lambda: answers(url) or process.poll() is not None, 60, f"{command[0]} to answer")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        end_tree(psutil.Process(process.pid))
        process.wait()


def run(*command: str | Path, **more) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def listener(url: str) -> psutil.Process:
    """The server of these tests, and of no others on this machine, that listens at this address."""
    port = int(url.rsplit(":", 1)[1])
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            for connection in one.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return one
    raise AssertionError(f"no server of these tests listens at {url}")


def tree_memory(process: psutil.Process) -> int:
    """Bytes of memory of a process and its children, shared pages counted once for each."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total

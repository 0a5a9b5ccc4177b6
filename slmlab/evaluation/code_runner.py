"""Run code that a model wrote, with tests, in a separate process with limits.

The limits stop endless loops, keep memory and disk from being used up, and prevent child processes
and, if Linux lets ordinary users create network namespaces, connections. They are not a full
sandbox: the code runs as you and can read what you can read. So run model-written code on a
machine, or as a user, for which that is acceptable, such as Colab or a container.

This file has two roles: ``run_tests`` is imported; run as a script, it is the separate process.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5
MEMORY = 512 * 2**20
FILE_SIZE = 2**20


@dataclass(frozen=True)
class CodeResult:
    """Whether the tests passed; if not, the reason; and whether the network was disabled."""

    passed: bool
    why: str
    network_denied: bool


def run_tests(code: str, tests: str, seconds: float = SECONDS, memory: int = MEMORY) -> CodeResult:
    """Run ``code`` and then ``tests`` (assertions) in a process of its own.

    Args:
        code: Python source, untrusted.
        tests: Python source that raises an exception if the code is wrong.
        seconds: limit for the wall time, and for processor time if the platform can limit it.
        memory: limit for the address space in bytes, if the platform can limit it.
    """
    # Printed after the tests have passed; code cannot know it unless it searches for it.
    word = secrets.token_hex(16)
    job = {"code": code, "tests": tests, "word": word, "seconds": seconds, "memory": memory}
    with tempfile.TemporaryDirectory(prefix="slmlab-code-") as folder:
        out = Path(folder, "out")
        with out.open("wb") as file:
            process = subprocess.Popen(
                # -I ignores the user's environment and packages, -S all of site-packages.
                [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                cwd=folder,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
            try:
                process.communicate(json.dumps(job).encode(), timeout=seconds + 1)
                why = ""
            except subprocess.TimeoutExpired:
                why = f"took longer than {seconds} s"
            finally:
                process.kill()
                process.wait()
        output = out.read_bytes()[-4000:].decode(errors="replace").splitlines()
    denied = any(line == f"{word} no network" for line in output)
    if not why and f"{word} passed" in output:
        return CodeResult(True, "", denied)
    return CodeResult(False, why or _reason(output, word, process.returncode, seconds), denied)


def _reason(output: list[str], word: str, status: int, seconds: float) -> str:
    for line in reversed(output):
        if line.startswith(f"{word} failed "):
            return line.removeprefix(f"{word} failed ")
    if status in (-24, -9):  # SIGXCPU, SIGKILL
        return f"took longer than {seconds} s of processor time, or too much memory"
    return f"the process ended with status {status}"


def _limit(seconds: float, memory: int) -> None:
    """Limit the resources of this process, as far as the platform can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in (
        ("RLIMIT_CPU", int(seconds) + 1),
        ("RLIMIT_AS", memory),
        ("RLIMIT_FSIZE", FILE_SIZE),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 32),
    ):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            continue


def _deny_network() -> bool:
    """Move to a namespace without a network; returns whether that worked (Linux only)."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        new_user, new_net = 0x10000000, 0x40000000
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.unshare(new_user | new_net) == 0 or libc.unshare(new_net) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _main() -> None:
    job = json.loads(sys.stdin.readline())
    if _deny_network():
        os.write(1, f"{job['word']} no network\n".encode())
    _limit(job["seconds"], job["memory"])
    namespace: dict[str, object] = {"__name__": "answer"}
    verdict = ""
    try:
        exec(compile(job["code"], "<answer>", "exec"), namespace)  # noqa: S102  what this file is for
        exec(compile(job["tests"], "<tests>", "exec"), namespace)  # noqa: S102
        verdict = "passed"
    except BaseException as error:
        message = " ".join(str(error).split())[:200]
        verdict = f"failed {type(error).__name__}{': ' if message else ''}{message}"
    # Skips exit handlers, which the code may have registered.
    os.write(1, f"\n{job['word']} {verdict}\n".encode(errors="replace"))
    os._exit(0)


if __name__ == "__main__":
    _main()

"""Run code that a model wrote, with tests, in a process that can do nothing but compute.

On Linux (x86_64, aarch64) the code has no network and no sockets of any kind, starts no processes
or threads, signals and sees no others, and has an empty environment. It writes into a folder of its
own only, at most ``TOTAL_SIZE`` bytes, and nowhere at all before Linux 6.2; see
``slmlab.evaluation.confine``. Time and memory are limited. It runs as you: it can read what you can
read, but has no way to send it anywhere.

macOS and Windows offer nothing of that to an ordinary user. There nothing runs unless the caller
says ``unconfined=True``.

This file has two roles: ``run_tests`` is imported; run as a script, it is the separate process.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import runpy
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5
MEMORY = 512 * 2**20
FILE_SIZE = 2**20
TOTAL_SIZE = 8 * 2**20
FILES = 200
# Seconds between two looks at what was written.
POLL = 0.02


class Unconfined(RuntimeError):
    """This system cannot confine the code, so it did not run; the message says what is missing."""


class NoWriting(RuntimeError):
    """The code wants to write a file, and this kernel cannot confine that to one folder."""


@dataclass(frozen=True)
class CodeResult:
    """Whether the tests passed; if not, the reason."""

    passed: bool
    why: str


def run_tests(
    code: str,
    tests: str,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    *,
    unconfined: bool = False,
) -> CodeResult:
    """Run ``code`` and then ``tests`` (assertions) in a process of its own.

    Args:
        code: Python source, untrusted.
        tests: Python source that raises an exception if the code is wrong.
        seconds: limit for the wall time, and for processor time if the platform can limit it.
        memory: limit for the address space in bytes, if the platform can limit it.
        unconfined: run it also where the platform cannot confine it.

    Raises:
        Unconfined: the platform cannot confine it; nothing has run.
        NoWriting: it wants to write a file, which the filter denies before Linux 6.2.
    """
    # Printed after the tests have passed; code cannot know it unless it searches for it.
    word = secrets.token_hex(16)
    job = {"code": code, "tests": tests, "word": word, "seconds": seconds, "memory": memory}
    job["unconfined"] = unconfined
    folder = Path(tempfile.mkdtemp(prefix="slmlab-code-"))
    try:
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                # -I ignores the user's environment and packages, -S all of site-packages.
                [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=folder,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
            try:
                assert process.stdin  # noqa: S101  a pipe
                with contextlib.suppress(OSError), process.stdin as pipe:
                    pipe.write(json.dumps(job).encode())
                why = _wait(process, folder, seconds)
            finally:
                _kill(process)
            out.seek(max(0, out.seek(0, os.SEEK_END) - 4000))
            output = out.read().decode(errors="replace").splitlines()
    finally:
        _remove(folder)
    verdict = next(
        (line.removeprefix(word).strip() for line in reversed(output) if line.startswith(word)), ""
    )
    if verdict.startswith("unconfined "):
        raise Unconfined(
            "This system cannot confine code that a model wrote: "
            f"{verdict.removeprefix('unconfined ')}, and this is {platform.system()} on "
            f"{platform.machine()}. It could use the network, change your files and start programs."
        )
    if "[Errno 30]" in verdict or "No usable temporary directory" in verdict:
        raise NoWriting("The code writes a file, which needs Linux 6.2 or newer with Landlock.")
    if not why and verdict == "passed":
        return CodeResult(True, "")
    return CodeResult(False, why or _reason(verdict, process.returncode, seconds))


def _wait(process: subprocess.Popen[bytes], folder: Path, seconds: float) -> str:
    """Wait until the process ends; returns why it may not go on, if it has to be ended."""
    deadline = time.monotonic() + seconds + 1
    ended = False
    while not ended:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            ended = True
        if _too_much(folder):
            return f"wrote more than {TOTAL_SIZE // 2**20} MiB or {FILES} files"
        if not ended and time.monotonic() > deadline:
            return f"took longer than {seconds} s"
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process, and where the platform could not keep it from starting others, its group."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _too_much(folder: Path) -> bool:
    """Whether more was written into a folder than may be."""
    total = files = 0
    folders = [str(folder)]
    try:
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if files > FILES or total > TOTAL_SIZE:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        with contextlib.suppress(FileNotFoundError):
                            total += entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # removed meanwhile
        return False
    except OSError:  # folders in folders, too deep for a path
        return True
    return total > TOTAL_SIZE


def _remove(folder: Path) -> None:
    """Remove a folder, however deep; ``shutil.rmtree`` fails on a thousand folders in a folder."""
    with contextlib.suppress(OSError):
        while entries := list(os.scandir(folder)):
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                for inner in list(os.scandir(entry.path)):
                    if inner.is_dir(follow_symlinks=False):
                        os.rename(inner.path, folder / secrets.token_hex(8))
                    else:
                        os.unlink(inner.path)
                os.rmdir(entry.path)
        folder.rmdir()


def _reason(verdict: str, status: int, seconds: float) -> str:
    if verdict.startswith("failed "):
        return verdict.removeprefix("failed ")
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


def _main() -> None:
    job = json.loads(sys.stdin.readline())
    confine = runpy.run_path(str(Path(__file__).with_name("confine.py")))
    _limit(job["seconds"], job["memory"])
    verdict = ""
    try:
        confine["confine"](os.getcwd())
    except confine["Unconfined"] as error:
        verdict = "" if job["unconfined"] else f"unconfined {error}"
    namespace: dict[str, object] = {"__name__": "answer"}
    try:
        if not verdict:
            exec(compile(job["code"], "<answer>", "exec"), namespace)  # noqa: S102  its purpose
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

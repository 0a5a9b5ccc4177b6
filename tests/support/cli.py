"""The command line as a process and, where that is not what is tested, in this one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys

from slmlab import cli


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """``python -m slmlab`` with these arguments, as a person or a program runs it."""
    return subprocess.run(
        [sys.executable, "-m", "slmlab", *arguments],
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
    )


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, without the seconds that a process takes to start."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: object = cli.main(list(arguments))
        except SystemExit as exit_:
            status = exit_.code or 0
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

"""Python environments beside the one of the tests, above all Colab's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.support.processes import run


def frozen(python: Path) -> dict[str, str]:
    """The packages of an environment, by their normalized names."""
    listing = run(python, "-m", "pip", "freeze", "--all").stdout.splitlines()
    pairs = (line.split("==") for line in listing if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def pip_install(python: Path, *what: str | Path) -> None:
    """Install by uv, which takes a tenth of pip's time; by pip where uv does not get it."""
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    if subprocess.run(list(map(str, (*uv, *what))), capture_output=True).returncode:
        run(python, "-m", "pip", "install", "--quiet", *what)


def colab_interpreter() -> str:
    """Colab's own Python, 3.13, where this machine has one; else the Python of these tests."""
    asked = ["python3.13", "-c", "import ensurepip, sys, venv; print(sys.executable)"]
    # pyenv hides a version that it has installed until it is told to use it.
    env = {**os.environ, "PYENV_VERSION": "3.13"}
    with contextlib.suppress(OSError):
        found = subprocess.run(asked, env=env, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return sys.executable

"""Python environments beside the one of the tests, above all Colab's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from tests.support.paths import CACHE, ROOT
from tests.support.processes import run

PINS = ROOT / "tests/colab-pins.txt"


def frozen(python: Path) -> dict[str, str]:
    """The packages of an environment, by their normalized names."""
    # -I: the folder that this runs in holds slmlab's own record, and pip would list that too.
    listing = run(python, "-I", "-m", "pip", "freeze", "--all").stdout.splitlines()
    pairs = (line.split("==") for line in listing if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def pip_install(python: Path, *what: str | Path) -> None:
    """Install by uv, which takes a tenth of pip's time; by pip where uv does not get it."""
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet")
    command = [*map(str, uv), "--python", str(python), *map(str, what)]
    if subprocess.run(command, capture_output=True).returncode:
        run(python, "-m", "pip", "install", "--quiet", *what)


def colab_interpreter() -> str:
    """Colab's own Python, 3.13, where this machine has one; else the Python of these tests."""
    command = ["python3.13", "-c", "import ensurepip, sys, venv; print(sys.executable)"]
    # pyenv hides a version that it has installed until it is told to use it.
    env = {**os.environ, "PYENV_VERSION": "3.13"}
    with contextlib.suppress(OSError):
        found = subprocess.run(command, env=env, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return sys.executable


def colab_environment() -> Path:
    """The Python of an environment with Colab's packages and what slmlab adds, kept in the cache.

    slmlab itself is not in it, and no test changes it: give processes ``PYTHONPATH``, or install
    into a ``layer``.
    """
    interpreter = colab_interpreter()
    # This file too: what an older version of it wrote down must not be taken for this one's.
    files = (PINS, ROOT / "requirements.txt", Path(__file__))
    parts = (*(file.read_bytes() for file in files), interpreter.encode())
    folder = CACHE / f"colab-{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"
    python = folder / "bin/python"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            run(interpreter, "-m", "venv", folder)
            pip_install(python, "-r", PINS)
            (folder / "before").write_text(repr(frozen(python)))
            pip_install(python, "-r", ROOT / "requirements.txt")
            (folder / "after").write_text(repr(frozen(python)))
            (folder / "ready").touch()
    return python


def layer(python: Path, folder: Path) -> Path:
    """The Python of an environment that has all of another one's packages, and room for more."""
    run(python, "-m", "venv", "--without-pip", folder)
    places = "import sysconfig; print(sysconfig.get_path('purelib'))"
    below = run(python, "-c", places).stdout.strip()
    here = run(folder / "bin/python", "-c", places).stdout.strip()
    (Path(here) / "below.pth").write_text(below + "\n")
    return folder / "bin/python"

"""Real file systems that are small or read-only."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import slmlab
from tests.support.processes import run


@contextlib.contextmanager
def small_disk(folder: Path, size: str, mode: str = "rw") -> Iterator[Path]:
    """A real file system of so many bytes, mounted at the folder; skips where nobody may mount."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"{mode},size={size},mode=700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield folder
    finally:
        slmlab.stop()
        run("umount", folder)

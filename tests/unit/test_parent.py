"""A child that ends with its parent; the processes here are real."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="a feature of Linux")
def test_a_child_ends_with_its_parent():
    child = (
        "from slmlab.parent import end_with_parent; end_with_parent(); "
        "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    )
    command = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) as parent:
        try:
            one = psutil.Process(int(parent.stdout.readline()))
        finally:
            parent.kill()
    started = time.monotonic()
    one.wait(10)
    assert time.monotonic() - started < 10

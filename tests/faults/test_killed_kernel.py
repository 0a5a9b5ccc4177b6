"""Kernels that are interrupted or killed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import slmlab
from slmlab import models, paths
from tests.support.engines import SMOL, engine_process, engines_of
from tests.support.faults import note, times
from tests.support.processes import run, wait_for


class TestKilledKernel:
    """Setup and pull in a process that is interrupted or killed after each of its steps."""

    # How far setup has come, told from its output and, at the second, from the server that it has.
    MOMENTS: tuple[Callable[[Path, str], object], ...] = (
        lambda home, output: output,
        lambda home, output: output and engines_of(home),
        lambda home, output: "http://127.0.0.1:" in output,
        lambda home, output: "Models: " in output,
    )

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name)
    def test_setup(self, how, lab_with_models, tmp_path):
        command = [sys.executable, "-u", "-m", "slmlab", "setup", "--engine", "embedded"]
        log, n = tmp_path / "log", times(4, 20)
        for moment in itertools.islice(itertools.cycle(self.MOMENTS), n):
            with log.open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
            wait_for(lambda m=moment: m(lab_with_models, log.read_text()), 60, "setup to get there")
            assert process.poll() is None, "it goes on with its demonstration"
            process.send_signal(how)
            process.wait(120)
            assert "Traceback" not in log.read_text()
            assert len(engines_of(lab_with_models)) <= 1
        done = run(*command, "--no-demo")
        assert "Models: smollm2:135m" in done.stdout
        assert len(engines_of(lab_with_models)) == 1
        note(setup_ended_by=how.name, times=n)

    def test_a_pull_that_was_killed_leaves_no_bytes_behind(self, lab):
        """The server is killed in the middle of a download."""
        host = slmlab.start("embedded", quiet=True).host
        blobs = paths.embedded_models() / "blobs"

        def kill() -> None:
            wait_for(lambda: any(blobs.glob("pull-*/*/tmp/*")), 60, "the download")
            engine_process(host).kill()

        killer = threading.Thread(target=kill)
        killer.start()
        slmlab.pull(SMOL)  # asks again when the server is back
        killer.join()
        assert any(blobs.glob("pull-*"))
        for path in blobs.rglob("*"):
            os.utime(path, (time.time() - 7200,) * 2)
        slmlab.stop()
        slmlab.start("embedded", quiet=True)
        assert [one.name for one in models.installed()] == [SMOL]
        assert [path.name[:7] for path in blobs.iterdir()] == ["sha256-"]

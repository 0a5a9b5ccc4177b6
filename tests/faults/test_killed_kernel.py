"""Kernels that are interrupted or killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import slmlab
from slmlab import models, paths
from tests.support.engines import SMOL, engine_process, engines_of
from tests.support.faults import note, times
from tests.support.processes import run, wait_for


class TestKilledKernel:
    """Setup and pull in a process that is interrupted or killed at a random moment."""

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda one: one.name)
    def test_setup(self, how, lab_with_models):
        command = [sys.executable, "-m", "slmlab", "setup", "--engine", "embedded", "--no-demo"]
        dice, said = random.Random(7), []
        for _ in range(times(3, 20)):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            time.sleep(dice.uniform(0.1, 3))
            process.send_signal(how)
            said.append(process.communicate(timeout=120)[0].decode())
            assert len(engines_of(lab_with_models)) <= 1
        done = run(*command)
        assert "Models: smollm2:135m" in done.stdout
        assert len(engines_of(lab_with_models)) == 1
        assert not [text for text in said if "Traceback" in text], said
        note(setup_ended_by=how.name, times=len(said))

    def test_a_pull_that_was_killed_leaves_no_bytes_behind(self, lab):
        """The server is killed in the middle of a download."""
        host = slmlab.start("embedded", quiet=True).host
        blobs = paths.embedded_models() / "blobs"

        def kill() -> None:
            wait_for(lambda: any(blobs.glob("pull-*/tmp/*")), 60, "the download")
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

"""Bad input in the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.processes import free_port


class TestTerminal:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["ask"],
            ["ask", ""],
            ["frobnicate"],
            ["compare", "--repeats", "0", "x"],
            ["compare", "--repeats", "many", "x"],
            ["serve", "--port", "99999999"],
            ["serve", "--port", "-1"],
            ["serve", "--port", "x"],
            ["pull", "../x"],
            ["pull"],
            ["ask", "--temperature", "hot", "x"],
            ["--version", "--help"],
            ["report", "missing"],
        ],
        ids=" ".join,
    )
    def test_a_sentence(self, arguments, tmp_path):
        env = os.environ | {
            "SLMLAB_HOME": str(tmp_path / "home"),
            "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        }
        done = subprocess.run(
            [sys.executable, "-m", "slmlab", *arguments],
            capture_output=True,
            text=True,
            env=env,
            cwd=tmp_path,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == 0 if "--help" in arguments else done.returncode != 0
        assert (done.stderr + done.stdout).strip()

"""Bad input in the terminal."""

from __future__ import annotations

import pytest

from tests.support.cli import call, run
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
    def test_a_sentence(self, arguments, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        done = call(*arguments)
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == 0 if "--help" in arguments else done.returncode != 0
        assert (done.stderr + done.stdout).strip()

    def test_a_process_says_it_too(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        done = run("pull", "../x")
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == 1
        assert done.stderr.strip()

"""The command line without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

COMMANDS = ("doctor", "setup", "models", "pull", "ask", "compare", "serve", "stop")


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "slmlab", *arguments],
        capture_output=True,
        text=True,
        timeout=800,
        env={**os.environ, **env},
    )


def test_help_names_every_command_and_a_first_step():
    done = run("--help")
    assert done.returncode == 0
    for word in (*COMMANDS, "first steps", "exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    assert run(command, "--help").returncode == 0


def test_wrong_usage_is_exit_code_2():
    assert run().returncode == 2
    assert run("frobnicate").returncode == 2
    assert run("ask", "--engine", "x", "a", "b").returncode == 2


def test_doctor(lab):
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "[WARN] Server" in done.stdout
    checks = json.loads(run("doctor", "--json").stdout)
    assert {check["level"] for check in checks} <= {"OK", "WARN"}


def test_stop_without_a_server(lab):
    done = run("stop")
    assert (done.returncode, done.stdout) == (0, "slmlab started no server here.\n")

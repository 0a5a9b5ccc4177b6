"""The command line without a server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from tests.support.cli import call, run

COMMANDS = ("doctor", "setup", "models", "pull", "ask", "compare", "bench", "serve", "stop")


def test_help_names_every_command_and_a_first_step():
    done = call("--help")
    assert done.returncode == 0
    for word in (*COMMANDS, "first steps", "exit codes"):
        assert word in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    assert call(command, "--help").returncode == 0


def test_wrong_usage_is_exit_code_2():
    assert run().returncode == 2
    assert call().returncode == 2
    assert call("frobnicate").returncode == 2
    assert call("ask", "--engine", "x", "a", "b").returncode == 2


def test_doctor(lab):
    done = call("doctor")
    assert done.returncode == 0, done.stdout
    assert "[WARN] Server" in done.stdout
    checks = json.loads(call("doctor", "--json").stdout)
    assert {check["level"] for check in checks} <= {"OK", "WARN"}


def test_stop_without_a_server(lab):
    done = call("stop")
    assert (done.returncode, done.stdout) == (0, "slmlab started no server here.\n")


def test_serving_at_a_taken_port_is_one_sentence(lab):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = call("serve", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"slmlab: The engine cannot listen at 127.0.0.1:{port}: Address already in use. "
        "Name another port with --port.\n"
    )


@pytest.mark.parametrize(
    ("place", "sentence"), [("nowhere/r.html", "There is no folder "), (".", "is a folder")]
)
def test_a_report_that_cannot_be_written_is_refused_before_the_answers(
    place, sentence, lab, monkeypatch
):
    monkeypatch.setattr("slmlab.start", lambda *_, **__: pytest.fail("it was not refused"))
    done = call("compare", "Hi", "--report", str(lab / place))
    assert done.returncode == 1 and sentence in done.stderr


@pytest.mark.parametrize("command", ["doctor", "doctor --json"])
def test_a_reader_who_has_had_enough_gets_no_traceback(command, lab):
    """As ``| head -1`` has."""
    process = subprocess.Popen(
        [sys.executable, "-m", "slmlab", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_a_model_without_a_name_is_a_sentence(lab):
    for blank in ("", " "):
        done = call("pull", blank)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("slmlab: Models are given by their names")

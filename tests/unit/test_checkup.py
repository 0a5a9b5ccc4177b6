"""The report of ``doctor()``."""

import sys
from dataclasses import replace

import pytest

import slmlab
from slmlab import checkup, hardware
from slmlab.checkup import Check, Report
from slmlab.devices import GPU
from tests.support.recording_server import RecordingServer


def test_a_report_prints_lines_and_shows_a_table():
    report = Report(
        [Check("OK", "CPU", "a <fast> one"), Check("WARN", "Server", "none", "start()")]
    )
    assert str(report) == "[OK  ] CPU: a <fast> one\n[WARN] Server: none\n       → start()"
    assert repr(report) == "<Report: 2 checks, WARN Server>"
    assert repr(Report(report[:1] * 2)) == "<Report: 2 checks, all OK>"
    html = report._repr_html_()
    assert "a &lt;fast&gt; one" in html
    assert "none\n→ start()" in html


def test_doctor_looks_at_this_machine_and_prints_nothing(capsys, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    report = slmlab.doctor()
    assert capsys.readouterr().out == ""
    names = [check.name for check in report]
    for name in ("Platform", "CPU", "Memory", "Disk", "GPU", "langchain-ollama", "Server"):
        assert name in names
    (server,) = [check for check in report if check.name == "Server"]
    assert (server.level, server.remedy) == ("WARN", "slmlab.start()")


def test_the_gpus_line_says_how_much_of_its_memory_is_free():
    """Another notebook may hold it; then models run on the processor."""
    for usable, level in ((True, "OK"), (False, "WARN")):
        gpu = GPU("T4", "NVIDIA", 15 * 2**30, 2**30, "550", usable, "" if usable else "do this")
        machine = replace(hardware.machine(), gpus=(gpu,))
        (found,) = [one for one in checkup._hardware(machine) if one.name == "GPU"]
        assert (found.level, found.remedy) == (level, gpu.note)
        assert found.found == "T4, 1.0 GiB free of 15.0 GiB"


@pytest.mark.parametrize(("engine", "level"), [("embedded", "WARN"), ("ollama", "OK")])
def test_a_gpu_that_the_embedded_engine_leaves_unused_is_warned_of(monkeypatch, engine, level):
    monkeypatch.setattr(sys, "platform", "linux")
    machine = replace(hardware.machine(), gpus=(GPU("T4", "NVIDIA", 15, 14),))
    with RecordingServer("a:latest", engine=engine) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        for one, expected in ((machine, level), (replace(machine, gpus=()), "OK")):
            (found,) = [check for check in checkup._server(one) if check.name == "Server"]
            assert found.level == expected
            assert ("slmlab.start('ollama')" in found.remedy) is (expected == "WARN")


@pytest.mark.parametrize(
    ("share", "level"), [(None, "OK"), (1.0, "OK"), (0.97, "WARN"), (0.0, "WARN")]
)
def test_a_model_that_does_not_run_wholly_on_the_gpu_is_warned_of(share, level):
    check = checkup._on_gpu("some:7b, 4.4 GiB", share)
    assert check.level == level
    assert ("unload all models" in check.remedy) is (level == "WARN")

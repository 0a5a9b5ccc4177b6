"""The report of ``doctor()``."""

import slmlab
from slmlab.checkup import Check, Report


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

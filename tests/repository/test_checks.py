"""Each check of ``scripts/check.py`` passes here, and fails where it should."""

from __future__ import annotations

import pytest

from scripts import check


@pytest.mark.parametrize("name", check.CHECKS)
def test_it_passes(name):
    went, text, _ = check.outcome(name)
    if went == "skipped":
        pytest.skip(text)
    assert went == "ok", text


def test_what_fails_is_told_and_ends_with_one(monkeypatch, capsys):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.argv", ["check.py", "good", "bad", "missing"])
    missing = {"missing": lambda: check.program("no-such-program")}
    commands = {"good": lambda: check.run("true"), "bad": lambda: check.run("ls", "no-such-file")}
    monkeypatch.setattr(check, "CHECKS", commands | missing)
    assert check.main() == 1
    told = capsys.readouterr().out
    lines = [line.split()[:2] for line in told.splitlines()[:3]]
    assert lines == [["good", "ok"], ["bad", "FAILED"], ["missing", "skipped"]]
    assert "no-such-file" in told
    monkeypatch.setattr("sys.argv", ["check.py", "good", "missing"])
    assert check.main() == 0


def test_in_ci_what_is_not_installed_fails_unless_it_is_optional(monkeypatch):
    checks = {
        "needed": lambda: check.program("no-such-program"),
        "optional": lambda: check.program("no-such-program", optional=True),
    }
    monkeypatch.setattr(check, "CHECKS", checks)
    monkeypatch.delenv("CI", raising=False)
    assert [check.outcome(name)[0] for name in checks] == ["skipped", "skipped"]
    monkeypatch.setenv("CI", "true")
    assert [check.outcome(name)[0] for name in checks] == ["FAILED", "skipped"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nothing is named here.", "does not say what is in"),
        ("`engines/warden`", "engines/…/warden, which is gone"),
    ],
)
def test_the_page_on_the_architecture_names_what_is_there(text, words, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    page = (check.ROOT / "docs/architecture.md").read_text()
    whole = text if "Nothing" in text else f"{page}\n{text}"
    (tmp_path / "docs/architecture.md").write_text(whole)
    (tmp_path / "slmlab/engines").mkdir(parents=True)
    files = check.tracked("slmlab/*.py")
    monkeypatch.setattr(check, "tracked", lambda *_: files)
    monkeypatch.setattr(check, "ROOT", tmp_path)
    with pytest.raises(check.Failed, match=words):
        check.architecture()


def test_a_link_that_leads_nowhere_fails(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("[here](page.md) [there](gone.md)")
    monkeypatch.setattr(check, "tracked", lambda *_: [check.Path("page.md")])
    monkeypatch.setattr(check, "ROOT", tmp_path)
    with pytest.raises(check.Failed, match=r"page\.md: gone\.md"):
        check.links()

"""Evaluations with a model: from a file to a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import slmlab
from slmlab.errors import FileError, ModelError
from slmlab.evaluation import evaluate as module
from tests.support.cli import call, run
from tests.support.engines import BASE, SHALLOW

CHECK = f"""\
models: ["{SHALLOW}"]
tasks: sentiment
items: 4
settings: {{temperature: 0, num_predict: 12}}
scorers:
  right: label
  brief: {{at_most_words: 100, weight: 3}}
thresholds:
  - {{score: brief, at_least: 0.3}}
  - {{score: right, at_least: 0.99}}
"""


@pytest.fixture
def check(tmp_path):
    path = tmp_path / "check.yaml"
    path.write_text(CHECK)
    return path


def test_scores_checks_and_files(here, check, tmp_path):
    found = slmlab.evaluate(check, quiet=True)
    frame = found.frame
    assert len(frame) == 4
    assert (frame["score"] == (frame["score_right"] + 3 * frame["score_brief"]) / 4).all()
    assert [one.passed for one in found.checks] == [True, False]
    assert (found.passed, found.finished) == (False, True)
    assert found.verdict == "1 of 2 thresholds are missed."
    assert found.scores["score"].tolist() == ["score", "right", "brief"]
    folder = found.save(tmp_path / "out" / "deep")
    assert json.loads((folder / "evaluation.json").read_text())["passed"] is False
    assert 'failures="1"' in (folder / "junit.xml").read_text()
    again = f"{CHECK}  - {{score: right, not_worse_than: out/deep/answers.json, margin: 0.01}}\n"
    check.write_text(again)
    third = slmlab.evaluate(check, quiet=True).checks[2]
    assert (third.passed, third.found) == (True, "none of 4 answers has changed")


def test_a_budget_ends_it_and_keeps_what_is_there(here, check):
    check.write_text(CHECK.replace("items: 4", "items: 6\nbudget: {tokens: 25}"))
    found = slmlab.evaluate(check, quiet=True, fresh=True)
    assert 1 <= len(found.frame) < 6
    assert not found.finished
    assert not found.passed
    assert found.verdict == "It was stopped before there were all answers."
    assert "The budget was spent after" in found.notes[-1]
    answered = 0
    for _ in range(6):  # it goes on from there
        more = slmlab.evaluate(check, quiet=True)
        assert len(more.frame) > answered
        answered = len(more.frame)
        if more.finished:
            break
    assert answered == 6


def test_a_budget_that_suffices_is_no_reason_to_fail(here, check):
    check.write_text(CHECK.replace("items: 4", "items: 1\nbudget: {tokens: 1}"))
    assert slmlab.evaluate(check, quiet=True, fresh=True).finished


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tasks: sentiment", "tasks: sentimant", "line 2: There is no task set 'sentimant'."),
        ("tasks: sentiment", "tasks: rows.csv", "line 2: Row 1: `expected` is blank."),
        ("right: label", "right: code", "line 2: Row 0: the scorer code needs a column `tests`"),
        ("right: label", "right: json_fields", "line 2: Row 0: `expected`"),
    ],
)
def test_what_cannot_be_scored_is_found_before_anything_runs(
    here, check, monkeypatch, old, new, message
):
    monkeypatch.setattr(module, "compare", None)
    rows = "prompt,expected,labels\na,x,\"['x','y']\"\nb,,\"['x','y']\"\n"
    (check.parent / "rows.csv").write_text(rows)
    check.write_text(CHECK.replace(old, new))
    with pytest.raises(FileError, match=r"check\.yaml, ") as caught:
        slmlab.evaluate(check)
    assert message in str(caught.value)


def test_rows_of_ones_own_without_a_scorer(here):
    suite = {"models": SHALLOW, "prompts": ["Say hi."]}
    with pytest.raises(FileError, match="no column `scorer`"):
        slmlab.evaluate(suite)
    with pytest.raises(ModelError, match="nope"):
        slmlab.evaluate({**suite, "models": "nope", "scorers": {"brief": {"at_most_words": 9}}})


def test_the_command_and_its_exit_codes(lab_with_models, tmp_path):
    path = tmp_path / "check.yaml"
    path.write_text(CHECK)
    missed = run("eval", str(path), "--out", str(tmp_path / "out"))
    assert missed.returncode == 1, missed.stderr
    assert "MISSED" in missed.stdout
    written = {one.name for one in (tmp_path / "out").iterdir()}
    assert written == {"answers.json", "evaluation.json", "junit.xml", "report.html"}
    path.write_text(CHECK.replace("0.99", "0"))
    passed = call("eval", str(path), "--json")
    assert passed.returncode == 0
    assert json.loads(passed.stdout)["passed"] is True
    answers = str(tmp_path / "out" / "answers.json")
    page = str(tmp_path / "changes.html")
    same = call("compare-runs", answers, answers, "--fail-on-regression", "--report", page)
    assert "Every answer is the same as before" in Path(page).read_text()
    assert (same.returncode, same.stdout.startswith(f"{SHALLOW}: 4 same.")) == (0, True)
    path.write_text(CHECK.replace("at_least", "atleast"))
    wrong = call("eval", str(path))
    assert wrong.returncode == 2
    assert "line 9: there is no key 'atleast' here. Did you mean 'at_least'?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert json.loads(call("eval", "--schema").stdout)["title"] == "Suite"
    assert call("eval").returncode == 2
    assert call("stop").returncode == 0


def test_several_models(here):
    suite = {"models": [SHALLOW, BASE], "tasks": ["sentiment"], "items": 2}
    settings = {"temperature": 0, "num_predict": 5}
    found = slmlab.evaluate({**suite, "settings": settings, "thresholds": [{"at_least": 0}]})
    assert [one.model for one in found.checks] == [SHALLOW, BASE]
    assert found.passed

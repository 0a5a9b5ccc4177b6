"""An evaluation in a file that somebody else made."""

from __future__ import annotations

import json

import pytest

import slmlab
from slmlab.errors import FileError
from slmlab.evaluation import evaluate as module
from tests.support.records import comparison


class Asked(Exception):
    """The models would have been asked."""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """An evaluation whose file names the scorer ``code`` for tests of its own."""

    def compare(*_, **__):
        raise Asked

    monkeypatch.setattr(module, "compare", compare)
    rows = {"prompt": "Write f.", "tests": "assert f() == 1"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows))
    path = tmp_path / "made.yaml"
    path.write_text("models: m\ntasks: rows.jsonl\nscorers: {right: code}\n")
    return path


def test_tests_of_a_file_run_only_with_the_readers_word(made):
    with pytest.raises(FileError, match=r"made\.yaml, line 2: 1 of 1 rows .*run_code=True"):
        slmlab.evaluate(made)
    with pytest.raises(Asked):
        slmlab.evaluate(made, run_code=True)


def test_in_a_terminal_there_is_no_frame_to_score(made):
    with pytest.raises(FileError, match=r"run_code=True \(in a terminal --run-code\)"):
        slmlab.evaluate(made)


def test_a_scorer_that_the_reader_names_needs_no_more(made):
    suite = {"models": "m", "tasks": str(made.parent / "rows.jsonl"), "scorers": {"right": "code"}}
    with pytest.raises(Asked):
        slmlab.evaluate(suite)


def test_slmlabs_own_tests_run(made):
    made.write_text("models: m\ntasks: code\nitems: 1\nscorers: {right: code}\n")
    with pytest.raises(Asked):
        slmlab.evaluate(made)


@pytest.mark.parametrize(("prompts", "notes"), [("ABC", 0), ("ABA", 1)])
def test_prompts_that_are_the_same_are_told(prompts, notes):
    frame = comparison(
        [{"prompt": one, "prompt_id": at, "repeat": 0} for at, one in enumerate(prompts)] * 2
    )
    found = module._notes(frame, len(frame), module._Spending(module.Budget()))
    assert len([one for one in found if "1 of 3 prompts are the same as others" in one]) == notes

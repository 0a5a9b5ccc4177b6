"""What a judge of single answers is asked, and how its grade is read."""

from __future__ import annotations

import pandas as pd
import pytest

from slmlab.errors import PromptError, SlmlabError
from slmlab.evaluation import grading


def test_a_grade_with_its_reason():
    assert grading.read_grade('{"reason": "Right.", "score": 5}', 5) == (5, "Right.")
    assert grading.read_grade('<think>Hm.</think>{"reason": "", "score": 1}', 5) == (1, "")


@pytest.mark.parametrize(
    "text",
    [
        "I would give it a 5.",
        '{"reason": "It goes on and',
        '{"reason": "Right.", "score": 6}',
        '{"reason": "Right.", "score": 0}',
        '{"reason": "Right.", "score": "5"}',
        '{"reason": "Right.", "score": true}',
        '{"score": 5}',
        "[1]",
        "5",
        "",
        "[" * 100_000,
    ],
)
def test_all_else_is_none(text):
    assert grading.read_grade(text, 5) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"highest": 1}, "2 to 100"),
        ({"highest": True}, "2 to 100"),
        ({"rubric": " "}, "says what the scores mean"),
        ({"quite": True}, "Did you mean 'quiet'"),
    ],
)
def test_mistakes_are_told_before_anything_runs(more, said):
    frame = pd.DataFrame({"prompt": ["?"], "text": ["!"], "error": [None]})
    with pytest.raises(PromptError, match=said):
        grading.grade(frame, "m", **more)


def test_failed_answers_are_not_graded():
    with pytest.raises(SlmlabError, match="no answer to grade"):
        grading.grade(pd.DataFrame({"prompt": ["?"], "text": [""], "error": ["lost"]}), "m")

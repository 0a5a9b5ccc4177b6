"""Which choice of a question is the right one."""

from __future__ import annotations

import pytest

from slmlab.errors import PromptError
from slmlab.evaluation.likelihood import _question, multiple_choice

BLOOD = {"prompt": "Which?", "choices": ["O", "A", "B", "AB"], "labels": ["A", "B", "C", "D"]}


@pytest.mark.parametrize(
    ("expected", "column", "place"),
    [("A", "choices", 0), ("AB", "choices", 3), ("A", "labels", 0), ("D", "labels", 3)],
)
def test_a_label_is_no_text_of_another_choice(expected, column, place):
    texts, right = _question(BLOOD | {"expected": expected}, 0, column)
    assert (texts, right) == (BLOOD[column], place)


def test_questions_that_all_have_equal_choices_are_refused():
    question = {"prompt": "Which?", "labels": ["A", "A"], "expected": "A"}
    with pytest.raises(
        PromptError, match=r"Every question has equal choices, such as \['A', 'A'\]"
    ):
        multiple_choice("m", [question])


def test_what_is_neither_is_refused():
    with pytest.raises(PromptError, match="Question 0: the right choice, 'E', is not one of"):
        _question(BLOOD | {"expected": "E"}, 0, "choices")

"""Checks of the notebook on choosing a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slmlab.course.exercises.checking import exercise, near

if TYPE_CHECKING:
    from slmlab.evaluation.evaluate import Evaluation

# Above any sensible number of items; a check must not count to a billion.
MOST_ITEMS = 10_000


@exercise("12.1")
def check_12_1(dollars: Any, price: Mapping[str, float]) -> str | None:
    """A sum of dollars, and the prices."""
    right = 60_000 * (600 * price["input"] + 2 * price["output"]) / 1e6
    if near(dollars, right, 0.01):
        return None
    if near(dollars, right / 60_000, 0.01):
        return "That is one prompt with its answer; there are 60,000."
    return (
        "60,000 × (tokens that are read × price of input + tokens that are written × price of "
        "output), and the prices are for a million tokens."
    )


@exercise("12.2")
def check_12_2(mine: Evaluation, worse: Any, before: Evaluation) -> str | None:
    """An evaluation, a list of names, and the evaluation before it."""
    from slmlab.evaluation.runs import compare_runs

    if not mine.finished:
        return "The evaluation was stopped; run it again, and it goes on from there."
    same_models = before.frame["model"].isin(mine.frame["model"])
    if not same_models.any():
        return "Evaluate one of the models that were evaluated before."
    changes = compare_runs(before.frame[same_models], mine.frame)
    if len(changes.cases) < same_models.sum():
        return "Evaluate the same items as before, all of them."
    if not changes.notes and (changes.cases["change"] == "same").all():
        return "Nothing differs between the two evaluations: change one thing."
    if isinstance(worse, str) or set(worse) != set(changes.regressions):
        return (
            "worse is a list, perhaps an empty one: "
            "slmlab.compare_runs(found.frame, mine.frame).regressions."
        )
    return None


@exercise("12.3")
def check_12_3(share: Any, needed: Any) -> str | None:
    """A share from 0 to 1, and a number of items."""
    from slmlab.evaluation.intervals import interval

    if not near(share, 1 - 0.40 / 20, 0.001):
        return (
            "At a share p of right answers a review costs (1 - p) × 20 dollars with the model. "
            "From which p (0 to 1) on is that less than 0.40?"
        )
    count = int(needed)
    if count != needed or not 1 < count < MOST_ITEMS:
        return "needed is a whole number of items."
    wanted = 1 - 0.40 / 20
    if interval([1] * count).low < wanted:
        return f"With {count} of {count} right, the lower end is still below the share."
    if interval([1] * (count - 1)).low >= wanted:
        return "Fewer items can show it too: look for the smallest number."
    return None

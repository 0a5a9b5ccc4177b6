"""Checks of the course's exercises, which say whether an answer is right, or give a hint.

A check looks at the results of the student's code, not at how it was written, and recomputes them:
guessed numbers do not pass. What it needs for that (the model, the texts) is passed beside the
answer. A check never raises an exception because of an answer.
"""

from slmlab.course.exercises import (
    notebook_11,
    notebook_12,
    notebooks_00_to_03,
    notebooks_04_to_06,
    notebooks_07_to_10,
)
from slmlab.course.exercises.checking import CHECKS, check

__all__ = [
    "CHECKS",
    "check",
    "notebook_11",
    "notebook_12",
    "notebooks_00_to_03",
    "notebooks_04_to_06",
    "notebooks_07_to_10",
]

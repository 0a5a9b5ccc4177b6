"""Checks for the course's exercises: they say whether an answer is right, and hint where it is not.

A check looks at what the reader's code gave, not at how it was written, and computes again what it
judges: a number that was only typed in does not pass. What it needs for that (the model, the texts)
is handed over beside the answer. A check never raises.
"""

from slmlab.course.exercises import notebooks_00_to_03, notebooks_04_to_06, notebooks_07_to_10
from slmlab.course.exercises.checking import CHECKS, check

__all__ = ["CHECKS", "check", "notebooks_00_to_03", "notebooks_04_to_06", "notebooks_07_to_10"]

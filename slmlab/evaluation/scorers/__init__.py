"""Score answers: a scorer is a function of an answer's text and its row that returns 0 to 1.

>>> def polite(text, row):
...     return "please" in text.lower()
>>> polite("Yes, please.", {})
True

``score`` accepts any such function, including your own. The scorers here read what they need
(``expected``, ``labels``, ``tests``, …) from the row: these are columns of the table of prompts.
A model's thoughts (``<think>…</think>``) are not part of its answer.
"""

from slmlab.errors import Unscorable
from slmlab.evaluation.scorers.assertions import asserts
from slmlab.evaluation.scorers.calls import call, call_name
from slmlab.evaluation.scorers.extraction import exact_match
from slmlab.evaluation.scorers.instructions import instructions
from slmlab.evaluation.scorers.meaning import similar
from slmlab.evaluation.scorers.numbers import number
from slmlab.evaluation.scorers.python_code import code
from slmlab.evaluation.scorers.reading import MissingColumn, Row, Scorer
from slmlab.evaluation.scorers.registry import SCORERS, all_of, any_of
from slmlab.evaluation.scorers.structure import json_fields, json_valid
from slmlab.evaluation.scorers.table import score
from slmlab.evaluation.scorers.text import contains, exact, facts, label, regex, words

__all__ = [
    "SCORERS",
    "MissingColumn",
    "Row",
    "Scorer",
    "Unscorable",
    "all_of",
    "any_of",
    "asserts",
    "call",
    "call_name",
    "code",
    "contains",
    "exact",
    "exact_match",
    "facts",
    "instructions",
    "json_fields",
    "json_valid",
    "label",
    "number",
    "regex",
    "score",
    "similar",
    "words",
]

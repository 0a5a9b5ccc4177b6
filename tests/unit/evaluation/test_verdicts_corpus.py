"""What judges say, with the verdict that it is, from tests/corpus/verdicts.jsonl.

A line is a case: ``text``, ``verdict`` (a, b, tie, or null where it is not clear) and perhaps
``about``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slmlab.evaluation.judge import read_verdict

FILE = Path(__file__).parents[2] / "corpus" / "verdicts.jsonl"
CASES = [json.loads(line) for line in FILE.read_text("utf-8").split("\n") if line]


@pytest.mark.parametrize("case", CASES, ids=[repr(case["text"])[:40] for case in CASES])
def test_each_text_is_read_as_its_verdict(case):
    assert read_verdict(case["text"]) == case["verdict"]

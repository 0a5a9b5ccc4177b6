"""Answers with the score that each has to get, from tests/corpus/scorers.jsonl.

A line is a case: ``scorer``, ``text`` (the answer), ``row``, ``score`` (null where it cannot be
scored) and perhaps ``about``. Cases that name a model were written by it and judged by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import slmlab
from slmlab.evaluation import scorers

CASES = [
    json.loads(line)
    for line in Path(__file__)
    .parents[2]
    .joinpath("corpus/scorers.jsonl")
    .read_text("utf-8")
    .split("\n")
    if line
]
IDS = [f"{case['scorer']}-line-{number}" for number, case in enumerate(CASES, 1)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_each_answer_gets_its_score(case):
    scorer = scorers.SCORERS[case["scorer"]]
    if case["score"] is None:
        with pytest.raises(scorers.Unscorable, match=r"\w+.*\.$"):
            scorer(case["text"], case["row"])
    else:
        assert scorer(case["text"], case["row"]) == pytest.approx(case["score"])


def test_the_table_scores_as_the_scorers_do(capsys):
    """Rows of all kinds together, each with blanks for what the others have."""
    cases = [case for case in CASES if case["scorer"] != "code"]
    frame = pd.DataFrame(
        [{"text": case["text"], "scorer": case["scorer"], **case["row"]} for case in cases]
    )
    scored = slmlab.score(frame)
    for case, score, note in zip(cases, scored["score"], scored["score_note"], strict=True):
        assert score == pytest.approx(case["score"], nan_ok=True) or case["score"] is None, case
        assert isinstance(note, str) == (case["score"] is None), case
    unknown = sum(case["score"] is None for case in cases)
    assert f"{unknown} of {len(cases)} answers have no score" in capsys.readouterr().err


DOCUMENT = Path(__file__).parents[3] / "docs" / "comparing.md"
EXAMPLE = re.compile(
    r"\| `(?P<scorer>\w+)` \| (?P<ticks>`+) ?(?P<text>\".*\") ?(?P=ticks) "
    r"\| `(?P<row>\{.*\})` \| (?P<score>[\d.]+|none) \|"
)
EXAMPLES = [
    match for line in DOCUMENT.read_text("utf-8").splitlines() if (match := EXAMPLE.fullmatch(line))
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["scorer"])
def test_the_examples_in_the_document_hold(example):
    text, row = (json.loads(example[part].replace(r"\|", "|")) for part in ("text", "row"))
    scorer = scorers.SCORERS[example["scorer"]]
    if example["score"] == "none":
        with pytest.raises(scorers.Unscorable):
            scorer(text, row)
    else:
        assert scorer(text, row) == float(example["score"])


def test_the_document_has_each_scorer():
    assert {example["scorer"] for example in EXAMPLES} == set(scorers.SCORERS)
    text = DOCUMENT.read_text("utf-8")
    assert all(f"\n| `{name}" in text for name in (*scorers.SCORERS, "similar", "words"))

"""What holds for any text in any row: a score from 0 to 1, or none and the reason."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import slmlab
from slmlab.evaluation import code_runner, scorers

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "corpus" / "scorers.jsonl")
    .read_text("utf-8")
    .split("\n")
    if line
]
# What scorers look at, in any order.
PIECES = (
    *("```", "~~~", "```python\n", "```json\n", "\n", " ", "- ", "> ", ">>> "),
    *("<think>", "</think>", "<THINKING>", "`", "**", "_", "'", "’", '"', "\u0301", "\u200b"),
    *("1", "23", "456", ".", ",", "-", "−", "/", "^", "²", "½", "e5", "%", "$", "\u202f", "٣"),
    *(r"\boxed{", "}", r"\frac{", "{", "[", "]", "####", r"\times 10^{", "million", "twenty"),
    *("yes", "no", "not ", "non-", "不", "是", "パリ", "ーズ", "ไม่", "서울", "A", "+", "#", "\x00"),
    *('{"a": ', '"b"', ":", "null", "NaN", "def f(x):", "\n    return x", "import os", "(", ")"),
)
texts = some.one_of(
    some.text(max_size=80), some.lists(some.sampled_from(PIECES), max_size=25).map("".join)
)
scalars = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(),
    texts,
    some.sampled_from(
        [
            pd.NA,
            pd.NaT,
            np.nan,
            np.int64(3),
            np.float32("nan"),
            np.bool_(True),
            decimal.Decimal("1.5"),
            datetime.date(2024, 5, 1),
            b"bytes",
            10**400,
        ]
    ),
)
lists = some.lists(scalars, max_size=4)
cells = some.one_of(
    scalars,
    lists,
    lists.map(tuple),
    lists.map(lambda one: np.array(one, dtype=object)),
    some.dictionaries(some.text(max_size=5), some.one_of(scalars, lists), max_size=3),
    lists.map(repr),
    some.dictionaries(some.sampled_from(["type", "items", "required", "$ref", "a"]), scalars),
)
COLUMNS = (
    "expected",
    "labels",
    "tests",
    "schema",
    "tolerance",
    "max_words",
    "decimal",
    "asserts",
    "extract",
    "instructions",
    "threshold",
)
rows = some.fixed_dictionaries(
    {"text": some.one_of(texts, scalars)} | dict.fromkeys(COLUMNS, cells)
)


@pytest.fixture(autouse=True)
def _quiet(capsys):
    """Thousands of tables with bad rows say so."""
    yield
    capsys.readouterr()


def check(scored: pd.DataFrame) -> None:
    for score, note in zip(scored["score"], scored["score_note"], strict=True):
        if math.isnan(score):
            assert isinstance(note, str) and note
        else:
            assert 0 <= score <= 1
            assert note is None


@pytest.mark.parametrize("name", sorted(scorers.SCORERS))
@given(table=some.lists(rows, min_size=1, max_size=2))
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_row_gets_a_score_or_a_reason(name, table):
    with pytest.MonkeyPatch.context() as patch:
        # A process for each would take minutes; which code it gets is what is tested here.
        passed = code_runner.CodeResult(True, "")
        patch.setattr(code_runner, "run_tests", lambda code, tests, **_: passed)
        check(slmlab.score(pd.DataFrame(table, dtype=object), name))


@given(text=texts, row=rows, seed=some.integers(0, 1000))
@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_row_leaves_the_others_their_scores(text, row, seed):
    cases = [case for case in CASES if case["scorer"] != "code"][seed::37]
    table = [{"text": one["text"], "scorer": one["scorer"], **one["row"]} for one in cases]
    bad = {**row, "text": text, "scorer": "number"}
    scored = slmlab.score(pd.DataFrame([*table, bad], dtype=object)).iloc[:-1]
    for case, score in zip(cases, scored["score"], strict=True):
        assert score == pytest.approx(
            math.nan if case["score"] is None else case["score"], nan_ok=True
        )


def test_the_order_of_rows_changes_no_score():
    cases = [case for case in CASES if case["scorer"] != "code"]
    frame = pd.DataFrame(
        [{"text": one["text"], "scorer": one["scorer"], **one["row"]} for one in cases]
    )
    scores = slmlab.score(frame)["score"]
    shuffled = slmlab.score(frame.sample(frac=1, random_state=1))
    assert shuffled["score"].sort_index().equals(scores)
    # A table's index need be no numbering.
    again = slmlab.score(frame.set_axis(["same"] * len(frame), axis=0))
    assert again["score"].tolist() == pytest.approx(scores.tolist(), nan_ok=True)


FORMS = {
    "JSON": json.dumps,
    "JSON with its letters": lambda value: json.dumps(value, ensure_ascii=False),
    "Python": repr,
    "array": lambda value: np.array(value, dtype=object) if isinstance(value, list) else value,
    "tuple": lambda value: tuple(value) if isinstance(value, list) else value,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_cell_changes_no_score(form):
    """Files keep lists and dicts as text, Arrow keeps lists as arrays."""
    tried = 0
    for case in CASES:
        held = {
            name: value for name, value in case["row"].items() if isinstance(value, (list, dict))
        }
        if not held or not all(held.values()) or case["scorer"] in ("code", "regex"):
            continue
        row = case["row"] | {name: FORMS[form](value) for name, value in held.items()}
        tried += 1
        try:
            score = scorers.SCORERS[case["scorer"]](case["text"], row)
        except scorers.Unscorable:
            score = None
        assert score == case["score"], case
    assert tried > 50


@given(text=texts, thought=texts)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_thought_changes_no_score(text, thought):
    if "think" in (text + thought).lower() or "`" in text[:1]:
        return
    for case in (
        {"scorer": "number", "row": {"expected": 23}},
        {"scorer": "contains", "row": {"expected": "yes"}},
        {"scorer": "label", "row": {"expected": "yes", "labels": ["yes", "no"]}},
        {"scorer": "json_valid", "row": {}},
    ):
        scorer = scorers.SCORERS[case["scorer"]]
        results = []
        for one in (text.strip(), f"<think>{thought}</think>{text.strip()}"):
            try:
                results.append(scorer(one, case["row"]))
            except scorers.Unscorable:
                results.append(None)
        assert results[0] == results[1]

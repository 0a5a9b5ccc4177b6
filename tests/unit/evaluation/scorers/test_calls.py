"""Scorers of calls of tools, and the tasks for them."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

import slmlab
from slmlab.evaluation import tasks
from slmlab.evaluation.scorers import Unscorable, call, call_name
from slmlab.run import grid

WANTED = {"name": "f", "arguments": {"city": "Oslo", "count": 2}}


def made(name: str = "f", **arguments: object) -> dict:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("calls", "score", "named"),
    [
        ([made(city="Oslo", count=2)], 1, True),
        ([made(city="oslo.", count="2")], 1, True),
        ([made(city="Rome", count=2)], 0.5, True),
        ([made(city="Oslo")], 0.5, True),
        ([made(city="Oslo", count=2, unit="K", day="today")], 0.5, True),
        ([made()], 0, True),
        ([made("g", city="Oslo", count=2)], 0, False),
        ([made(city="Oslo", count=2)] * 2, 0, False),
        ([], 0, False),
    ],
)
def test_name_and_arguments(calls, score, named):
    row = {"expected": WANTED, "tool_calls": calls}
    assert call("", row) == score
    assert call_name("", row) is named


def test_none_is_wanted():
    for calls, right in (([], True), ([made()], False)):
        row = {"expected": "none", "tool_calls": calls}
        assert (call("", row), call_name("", row)) == (right, right)


def test_a_call_without_arguments():
    assert call("", {"expected": {"name": "f"}, "tool_calls": [made()]}) == 1


def test_rows_as_files_have_them():
    row = {"expected": str(WANTED), "tool_calls": str([made(city="Oslo", count=2)])}
    assert call("", row) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"expected": "f", "tool_calls": []}, "not a dict with `name`"),
        ({"expected": {"city": "Oslo"}, "tool_calls": []}, "not a dict with `name`"),
        ({"expected": WANTED, "tool_calls": None}, "asked for without tools"),
        ({"expected": None, "tool_calls": []}, "blank"),
    ],
)
def test_what_cannot_be_scored(row, words):
    with pytest.raises(Unscorable, match=words):
        call("", row)


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "get_weather")]


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```',
        'I call it: {"name": "get_weather", "arguments": {}} now.',
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
        '[{"type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]',
        'get_weather(city="Oslo")',
        "```python\nprint(get_weather('Oslo'))\n```",
    ],
)
def test_a_call_that_is_only_written_gets_a_note(text, capsys):
    rows = [
        {"text": one, "error": None, "tool_calls": calls, "tools": json.dumps(TOOLS)}
        for one, calls in ((text, []), (text, [made(city="Oslo", count=2)]), ("No.", []))
    ]
    for scorer in ("call", "call_name"):
        scored = slmlab.score(pd.DataFrame(rows).assign(expected=[WANTED] * 3), scorer)
        assert scored["score"].tolist() == [0, 1, 0]
        note = "The call of get_weather is only written in the text, where no program runs it."
        assert scored["score_note"].tolist() == [note, None, None]
        assert f"1 of 3 answers have a note on their score; in row 0: {note}" in (
            capsys.readouterr().err
        )


@pytest.mark.parametrize(
    "text",
    [
        "You could use get_weather() or get_weather(city).",
        '{"name": "Oslo", "arguments": {}}',
        '{"name": ["get_weather"]}',
        '<think>{"name": "get_weather"}</think>It is sunny.',
        '{"name": "get_weather", "arg',
        "",
    ],
)
def test_what_is_no_call_gets_none(text):
    row = {"expected": WANTED, "tool_calls": [], "tools": TOOLS}
    assert not hasattr(call(text, row), "note")
    assert not hasattr(call('{"name": "get_weather"}', {**row, "tools": None}), "note")


def test_in_a_table_a_row_without_tools_has_no_score(capsys):
    rows = [
        {"text": "", "error": None, "expected": "none", "tool_calls": one} for one in ([], None)
    ]
    scored = slmlab.score(pd.DataFrame(rows), "call")
    assert scored["score"][0] == 1
    assert math.isnan(scored["score"][1])


def test_the_tasks_can_be_asked_and_answered():
    table = tasks.load("calls")
    assert len(table) == 20
    assert table["id"].is_unique and table["prompt"].is_unique
    assert (table["expected"] == "none").sum() == 4
    assert "calls" not in tasks.names()
    for cell, row in zip(grid.plan("m", table), table.to_dict("records"), strict=True):
        functions = {one["function"]["name"]: one["function"] for one in row["tools"]}
        assert "tools" in cell.options
        wanted = row["expected"]
        right = [] if wanted == "none" else [wanted]
        assert call("", {**row, "tool_calls": right}) == 1
        assert call("", {**row, "tool_calls": [made("x")]}) == 0
        if right:
            described = functions[wanted["name"]]["parameters"]
            assert {*described["required"]} <= {*wanted["arguments"]} <= {*described["properties"]}

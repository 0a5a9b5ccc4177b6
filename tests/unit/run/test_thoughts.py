"""Thoughts that a model writes into its text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.run import thoughts
from slmlab.run.thoughts import Part

PIECES = ("<think>", "</think>", "<Thinking>", "</thinking>", "<reasoning>", "`", "a ", "\n", "<b>")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>3 + 4</think>7", [Part("3 + 4", thought=True), Part("7")]),
        ("\n<think>3 + 4", [Part("3 + 4", thought=True, ended=False)]),
        ("3 + 4</think>7", [Part("3 + 4", thought=True), Part("7")]),
        ("Seven.", [Part("Seven.")]),
        ("Write <think> first.", [Part("Write <think> first.")]),
        ("`<think>` and `</think>`", [Part("`<think>` and `</think>`")]),
        ("<think>Use `sum`</think>7", [Part("Use `sum`", thought=True), Part("7")]),
        ("<think>Use `sum`</think>`7`", [Part("Use `sum`", thought=True), Part("`7`")]),
        ("<think>`a\n`b`</think>`7`", [Part("`a\n`b`", thought=True), Part("`7`")]),
        (
            "<think>`a` or `</think>`?</think>7",
            [Part("`a` or `</think>`?", thought=True), Part("7")],
        ),
        ("", []),
    ],
)
def test_thoughts_are_told_from_the_answer(text, parts):
    assert thoughts.parts(text) == parts


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_nothing_is_lost_but_tags(text):
    rest = iter(text)
    for part in thoughts.parts(text):
        assert all(letter in rest for letter in part.text)


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<think></think>", "`</think>`", "<think></thought>"]
)
def test_very_many_tags_take_no_longer_than_a_text(piece):
    started = time.process_time()
    thoughts.parts(piece * 50_000)
    assert time.process_time() - started < 5

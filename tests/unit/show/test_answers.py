"""The answers of a comparison beside each other."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import slmlab
from slmlab.errors import SlmlabError
from slmlab.run import results
from slmlab.show.figure import BLUE
from tests.support.hostile import HOSTILE
from tests.support.records import record


def table(*records) -> pd.DataFrame:
    return results.to_frame(records, [{"prompt_id": 0, "repeat": 0}] * len(records))


def test_each_row_is_a_column_with_its_name_and_its_text_as_markdown():
    frame = table(
        record(model="a:1b", text="It *is*.", stop_reason="stop"),
        record(model="b:1b", text="It is", stop_reason="length"),
        record(model="d:1b", text="", stop_reason="length", truncated=True),
        record(model="c:1b", text="", error="The server has gone."),
    )
    shown = slmlab.show_answers(frame)
    html = shown._repr_html_()
    assert html.count(f"border-left:3px solid {BLUE}") == 4
    assert re.search(r"<strong>a:1b</strong><div [^>]*><p [^>]*>It <em>is</em>.</p>", html)
    assert html.count("cut by the length limit)") == 1
    assert html.count("(cut by the length limit, prompt truncated)") == 1
    assert "<p>The server has gone.</p>" in html
    assert (
        repr(shown) == "a:1b:\nIt *is*.\n\nb:1b:\nIt is\n\nd:1b:\n\n\nc:1b:\nThe server has gone."
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_what_models_wrote_does_no_harm(text):
    frame = table(record(model=text, text=text), record(model="m", text="", error=text))
    shown = slmlab.show_answers(frame)
    html = shown._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in html + repr(shown)


@pytest.mark.parametrize("wrong", [pd.DataFrame({"model": ["m"]}), "frame", 5, None])
def test_anything_else_is_refused(wrong):
    with pytest.raises(SlmlabError, match="compare"):
        slmlab.show_answers(wrong)

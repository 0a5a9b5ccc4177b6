"""One column of a side-by-side comparison."""

from __future__ import annotations

import re

from slmlab.run.streaming import Answer
from slmlab.widgets.column import Column, strips_html
from slmlab.widgets.column_settings import SettingsFields
from slmlab.widgets.conversation import Setup
from tests.support.records import record


def shares(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"width:(\d+)%", html)]


def test_bars_are_shares_of_the_longest_and_the_best_has_a_star():
    quick = record(ttft_s=0.5, tokens=100, generation_s=2.0, wall_s=3.0)  # 50 tokens/s
    slow = record(ttft_s=2.0, tokens=40, generation_s=4.0, wall_s=6.0)  # 10 tokens/s
    one, other, none = strips_html([quick, slow, None])
    assert shares(one) == [25, 100, 50, 100]
    assert shares(other) == [100, 20, 100, 40]
    assert none == ""
    assert one.count("★") == 3, "the length is no merit"
    assert "★" not in other
    assert "50.0 tokens/s ★" in one
    assert "40 tokens" in other


def test_an_empty_answer_gets_no_star_and_takes_none_from_others():
    empty = record(ttft_s=None, tokens=1, generation_s=1e-6, wall_s=0.1)
    slow = record(text="a", ttft_s=2.0, tokens=40, generation_s=4.0, wall_s=6.0)
    quick = record(text="b", ttft_s=1.0, tokens=40, generation_s=2.0, wall_s=3.0)
    none, *others = strips_html([empty, slow, quick])
    assert "★" not in none
    assert "tokens/s" not in none
    assert [one.count("★") for one in others] == [0, 3]
    assert "★" not in "".join(strips_html([empty, slow])), "one alone is no best"


def test_what_is_not_known_is_left_out():
    (alone,) = strips_html([record(ttft_s=None, tokens=0, generation_s=0.0, wall_s=1.0)])
    assert "first token" not in alone
    assert "tokens/s" not in alone
    assert "★" not in alone, "one alone is no best"


def test_a_column_is_drawn_again_only_where_something_came():
    column = Column("A", print, print, SettingsFields(Setup()))
    sent = []
    column.answer.observe(sent.append, "value")
    answer = Answer("<m>", "p", "h", state="writing", pieces=["Hello"])
    for reference in (None, None, "Hello", "Hello"):
        column.draw(answer, reference)
    answer.state = "done"
    column.draw(answer, "Hello you")
    column.draw(answer, "Hello you")
    answer.pieces.append(" all")
    column.draw(answer, "Hello you")
    assert len(sent) == 3
    assert "<mark>all</mark>" in column.answer.value
    column.hide(True)
    assert (column.model.layout.display, "Model A" in column.hidden.value) == ("none", True)
    column.hide(False)
    assert (column.model.layout.display, column.hidden.value) == ("", "")

"""One column of a side-by-side comparison."""

from __future__ import annotations

from slmlab.run.streaming import Answer
from slmlab.widgets.column import Column
from slmlab.widgets.column_settings import SettingsFields
from slmlab.widgets.conversation import Setup


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


def test_it_looks_like_its_state_and_like_the_best_after_the_vote():
    column = Column("B", print, print, SettingsFields(Setup()))
    answer = Answer("m", "p", "h")
    for state in ("waiting", "loading", "reading", "writing", "done"):
        answer.state = state
        column.draw(answer, None)
        classes = [name for name in column._dom_classes if name.startswith("slmlab-is-")]
        assert classes == [f"slmlab-is-{state}"]
    assert "slmlab-hue-b" in column._dom_classes
    column.choose(True)
    assert "slmlab-chosen" in column._dom_classes
    assert column.best.description == "★ B is best", "not by its colour alone"
    column.choose(False)
    assert "slmlab-chosen" not in column._dom_classes


def test_seconds_pass_while_nothing_else_moves():
    column = Column("A", print, print, SettingsFields(Setup()))
    answer = Answer("m", "p", "h", state="loading")
    column.draw(answer, None)
    assert "loading the model …<" in column.answer.value
    answer.since -= 3
    column.draw(answer, None)
    assert "loading the model … 3 s" in column.answer.value
    answer.state, answer.pieces = "writing", ["a", "b"]
    column.draw(answer, None)
    assert "writing … about 2 tokens" in column.answer.value

"""The columns of a side-by-side comparison, drawn together."""

from __future__ import annotations

from slmlab.run.streaming import Answer
from slmlab.widgets import columns as module
from slmlab.widgets.column_settings import SettingsFields
from slmlab.widgets.columns import Columns
from slmlab.widgets.conversation import Setup


def test_where_drawing_is_slow_writing_columns_take_turns_and_finished_ones_do_not(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_FRAME", 0.0)
    columns = Columns(print, print, SettingsFields(Setup()))
    columns.begin(["a", "b", "c", "d"], ["a", "b", "c", "d"], [])
    answers = [Answer(name, "p", "h", state="writing", pieces=[name]) for name in "abcd"]
    answers[3].state = "done"
    drawn = []
    for _ in range(4):
        for answer in answers:
            answer.pieces.append("!")
        columns.draw(answers, hidden=False)
        texts = [column.answer.value.count("!") for column in columns]
        drawn.append(texts)
    assert [one[3] for one in drawn] == [1, 2, 3, 4], "what is finished is drawn at once"
    assert [one[:3] for one in drawn] == [[1, 0, 0], [1, 2, 0], [1, 2, 3], [4, 2, 3]]
    for answer in answers:
        answer.state = "done"
    columns.draw(answers, hidden=False)
    assert [column.answer.value.count("!") for column in columns] == [4, 4, 4, 4]

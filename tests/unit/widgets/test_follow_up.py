"""The field for the next turn, and the turns above it."""

from __future__ import annotations

from slmlab.widgets.conversation import Point
from slmlab.widgets.follow_up import FollowUp
from slmlab.widgets.transcript import Transcript, earlier_html
from tests.unit.widgets.test_conversation import turn


def test_it_appears_with_the_first_answer():
    box = FollowUp("", print, print)
    assert box.layout.display == "none"
    first = turn("Why?", ["A1", "B1"])
    box.offer([first], running=True)
    assert box.layout.display == "none"
    box.offer([first], running=False)
    assert (box.layout.display, box.send_button.disabled) == ("", False)
    assert box.point == Point(1)
    box.offer([first, turn("And?", ["A2", "B2"], (first,))], running=True)
    assert (box.layout.display, box.send_button.disabled) == ("", True)


def test_an_earlier_question_can_be_edited_and_what_was_typed_is_kept():
    first = turn("Why?", ["A1", "B1"])
    second = turn("And?", ["A2", "B2"], (first,))
    box = FollowUp("", print, print)
    box.offer([first, second], running=False)
    box.place.value = Point(1, again=True)
    assert box.text.value == "And?"
    box.place.value = Point(0, again=True)
    assert box.text.value == "Why?"
    box.place.value = Point(1)
    assert box.text.value == ""
    box.text.value = "My own."
    box.place.value = Point(0, again=True)
    assert box.text.value == "My own."
    box.offer([first, second], running=False)
    assert box.point == Point(0, again=True), "drawing changes no choice"


class TestTranscript:
    def test_it_has_the_turns_before_the_last_one(self):
        first = turn("<b>Why?</b>", ["It *is*.", "B1"])
        second = turn("And?", ["A2", "B2"], (first,))
        box = Transcript()
        box.draw([first])
        assert box.value == ""
        box.draw([first, second])
        assert "&lt;b&gt;Why?" in box.value
        assert "It <em>is</em>." in box.value
        assert "A2" not in box.value
        assert "<strong>Turn 2</strong> · And?" in box.value
        first.voted, first.best = True, 1
        box.draw([first, second])
        assert "b ★ best" in box.value

    def test_hidden_names_stay_hidden(self):
        found = earlier_html([turn("Why?", ["A1", "B1"])], hidden=True)
        assert "Model A" in found
        assert "<p class='slmlab-title'>a</p>" not in found

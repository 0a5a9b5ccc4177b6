"""What models write, made harmless."""

from __future__ import annotations

from slmlab.show import sanitize


def test_what_cannot_be_shown_is_replaced():
    assert sanitize.harmless("a\ud800b\x00\x1b[2Jc\u202ed") == "a?bc�d"
    assert sanitize.harmless("one\r\n\ttwo") == "one\n\ttwo"


def test_differences_are_marked():
    assert sanitize.marked("the <b> cat", "the dog") == "the <mark>&lt;b&gt; cat</mark>"
    assert sanitize.marked("same words", "same words") == "same words"
    assert sanitize.marked("a " * 5000, "b") == "a " * 5000

"""What models write, made harmless."""

from __future__ import annotations

from slmlab.show import sanitize


def test_what_cannot_be_shown_is_replaced():
    assert sanitize.harmless("a\ud800b\x00\x1b[2Jc\u202ed") == "a?bc�d"
    assert sanitize.harmless("one\r\n\ttwo") == "one\n\ttwo"

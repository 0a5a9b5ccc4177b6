"""Answers as HTML."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from slmlab.run import streaming
from slmlab.show import markdown
from slmlab.widgets import markup
from tests.support.hostile import HOSTILE


class TestHostileAnswers:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_an_answer_on_its_way_is_harmless_too(self, text):
        answer = streaming.Answer("m", "p", "http://127.0.0.1:1", state="writing", pieces=[text])
        found = markup.answer_html(answer)
        assert "<script" not in found
        assert "<img" not in found
        assert "onerror=" not in found or "&" in found
        assert "\x1b" not in found
        assert markup.answer_html(answer, reference="other")

    def test_long_answers_are_drawn_in_part(self):
        answer = streaming.Answer("m", "p", "h", state="writing", pieces=["word " * 200_000])
        assert len(markup.answer_html(answer)) < 3 * markdown.LONGEST_LIVE
        answer.state = "done"
        found = markup.answer_html(answer)
        assert len(found) < 1.5 * (markdown.LONGEST + markdown.LONGEST_PLAIN)
        assert "the record has them all" in found


class TestEscaping:
    """All that is not ``Markup`` is text."""

    def test_tables_bars_flags_and_buttons(self):
        bad = "<b onclick='x'>&\""
        for html in (
            markup.table_html([(bad, 1, None)], [bad], bad),
            markup.bar_html(bad, bad, 0.5),
            markup.number_html(bad, bad, bad, 0.5, True),
            markup.flags_html([bad]),
            markup.copy_button(bad + "\0"),
            markup.region_html(bad, bad),
        ):
            assert "<b " not in html
            assert "&lt;b onclick=" in html
            assert "\0" not in html
            assert isinstance(html, Markup)
        assert "<td><b>x</b></td>" in markup.table_html([(Markup("<b>x</b>"),)], ["a"])
        assert "<td class='slmlab-number'>1</td><td></td>" in markup.table_html([(1, None)], "ab")

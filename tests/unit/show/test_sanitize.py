"""What models write, made harmless."""

from __future__ import annotations

import pytest

from slmlab.show import sanitize


class TestDisplay:
    def test_markdown_is_rendered(self):
        html = sanitize.safe_html("**bold** and `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |")
        assert "<strong>bold</strong>" in html
        assert "<td>1</td>" in html

    @pytest.mark.parametrize(
        "attack",
        [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "![x](https://evil.example/pixel.png)",
            "[x](javascript:alert(1))",
            "<a href='javascript:alert(1)'>x</a>",
            "<iframe src='https://evil.example'></iframe>",
            "`</code><script>alert(1)</script>`",
            "<style>*{display:none}</style>",
        ],
    )
    def test_what_a_model_writes_is_harmless(self, attack):
        html = sanitize.safe_html(attack)
        assert "<script" not in html
        assert "<img" not in html
        assert "<iframe" not in html
        assert "<style" not in html
        assert 'href="javascript' not in html


def test_what_cannot_be_shown_is_replaced():
    assert sanitize.harmless("a\ud800b\x00\x1b[2Jc\u202ed") == "a?bc�d"
    assert sanitize.harmless("one\r\n\ttwo") == "one\n\ttwo"


def test_differences_are_marked():
    assert sanitize.marked("the <b> cat", "the dog") == "the <mark>&lt;b&gt; cat</mark>"
    assert sanitize.marked("same words", "same words") == "same words"
    assert sanitize.marked("a " * 5000, "b") == "a " * 5000

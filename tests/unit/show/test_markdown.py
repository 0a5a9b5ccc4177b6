"""Answers as HTML."""

from __future__ import annotations

import html
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.show import markdown, sanitize
from slmlab.show.markdown import to_html
from tests.support.hostile import HOSTILE, HOSTILE_MARKDOWN, LONG_MARKDOWN, MEGABYTES
from tests.support.paths import ROOT

PIECES = (
    *(
        "# ",
        "- ",
        "1. ",
        "> ",
        "    ",
        "\n",
        "\n\n",
        "**",
        "*",
        "_",
        "`",
        "```",
        "```python\n",
        "~~",
    ),
    *(
        "| a | b |\n|---|---|\n",
        "| c |\n",
        "[x](http://a.example)",
        "![y](http://b.example)",
        "<br>",
    ),
    *(
        "[ ] ",
        "[x] ",
        "[^1]",
        "<b>",
        "&amp;",
        "$",
        "$$",
        "\\[",
        "\\]",
        "\\(",
        "\\)",
        "\\",
        "<think>",
    ),
    *(
        "</think>",
        "\\begin{align}",
        "\\end{align}",
        "---\n",
        "$x^2$",
        "<sub>i</sub>",
        "\t",
        "é ",
        "م ",
    ),
)
# Between syntax, so that none of it is taken for a part of a link's address or the like.
texts = st.lists(st.sampled_from((*PIECES, " word ", " other "))).map("".join)


def shown(text: str, **more) -> str:
    """The text that a reader sees, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", to_html(text, **more))).split())


class TestMarkdown:
    """As GitHub shows it."""

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("**bold** and `code`", "<strong>bold</strong> and <code>code</code>"),
            ("## Title", '<h2 dir="ltr">Title</h2>'),
            ("x_1 * y_2 * z", "x_1 * y_2 * z</p>"),
            ("snake_case_name", "snake_case_name"),
            ("~~gone~~", "<s>gone</s>"),
            ("3. three", '<ol start="3"'),
            ("one\ntwo", "one<br>"),
            ("| a |\n|--:|\n| 1 |", '<td style="text-align:right">1</td>'),
            ("- [ ] to do\n- [x] done", '<li class="slmlab-task">☑ done</li>'),
            ("H<sub>2</sub>O<br/>ice", "H<sub>2</sub>O<br>"),
            ("> word", "<blockquote"),
            (
                "1. ماء\n\n   *so*\n\n2. b",
                '<ol dir="rtl">\n<li>\n<p dir="rtl">ماء</p>\n<p dir="ltr">',
            ),
            ("![a cat](http://a.example/cat.png)", '<a href="http://a.example/cat.png"'),
            ("[away](http://a.example)", 'target="_blank" rel="noopener noreferrer">away</a>'),
            ("```python\nif 1:\n```", '<span class="k">if</span>'),
            ("```python\nif 1:\n```", "<span>Python</span><button"),
            ("```python x.py\nif 1:\n```", "<span>python x.py</span>"),
            ("```nonsense\nif <b>:\n```", "<span>nonsense</span>"),
            ("```math\nx^2\n```", "<msup><mi>x</mi><mn>2</mn></msup>"),
            ("```python\nif 1:", '<span class="k">if</span>'),
        ],
    )
    def test_what_becomes_of_it(self, text, part):
        assert part in to_html(text)

    def test_footnotes_point_within_their_own_answer(self):
        text = "Far.[^1]\n\n[^1]: {}."
        one, other = to_html(text.format("km")), to_html(text.format("miles"))
        names = [re.search(r'href="#(fn-\w+-1)"', each)[1] for each in (one, other)]
        assert names[0] != names[1]
        assert f'id="{names[0]}"' in one

    def test_formulas_are_drawn_outside_of_code_only(self):
        found = to_html("\\[ x_1 * y_1 \\] and `$a$`\n```tex\n$b$\n```\n[c](http://x.example/$d$)")
        assert found.count("<math") == 1
        assert "<code>$a$</code>" in found
        assert "$b$" in html.unescape(re.sub("<[^>]*>", "", found))
        assert "x.example/$d$" in found

    def test_a_formula_that_is_none_stays_as_code(self):
        assert '<code class="slmlab-latex">\\(\\nonsense\\)</code>' in to_html(r"\(\nonsense\)")

    @given(text=texts, live=st.booleans())
    def test_no_word_is_lost(self, text, live):
        for word in ("word", "other"):
            assert shown(text, live=live).count(word) == text.count(word)


class TestThoughts:
    def test_they_are_folded_away_and_say_what_they_took(self):
        found = to_html("<think>abc</think>d", tokens=100, seconds=8.0)
        assert "<summary>Thoughts (about 75 tokens in 6.0 s)</summary>" in found
        assert '</details><p dir="ltr">d</p>' in found

    def test_those_that_came_apart_are_too(self):
        assert "<summary>Thoughts</summary>" in to_html("So.", thinking="Hm.")

    def test_while_they_come_and_where_they_were_cut(self):
        assert "<summary>Thinking …</summary>" in to_html("<think>abc", live=True)
        assert "Thoughts, cut before their end" in to_html("<think>abc")


class TestLive:
    def test_the_end_of_a_long_text_is_shown_as_what_it_is(self):
        prose = to_html("Some *words*.\n\n" * 2000 + "end", live=True)
        assert len(prose) < 4 * markdown.LONGEST_LIVE
        assert "end" in prose
        code = to_html("```python\n" + "x = 1  # *a*\n" * 2000, live=True)
        assert "<em>" not in code
        assert '<span class="n">x</span>' in code

    def test_half_a_formula_of_a_real_answer_is_never_taken_for_markdown(self):
        drawn = r"<math.*?</math>|<span class=.slmlab-waiting.>.*?</span>|<(pre|code).*?</\1>"
        for line in (ROOT / "tests/corpus/answers.jsonl").read_text(encoding="utf-8").splitlines():
            text = json.loads(line)["text"]
            for end in range(1, len(text) + 1, 13):
                found = re.sub(drawn, "", to_html(text[:end], live=True), flags=re.DOTALL)
                assert not re.search(r"\\[a-z(\[]|(?<!\[)\^|\{", re.sub("<[^>]*>", "", found)), (
                    text[:end]
                )

    @given(texts)
    def test_what_is_drawn_at_the_end_does_not_depend_on_what_was_drawn_before(self, text):
        for end in range(0, len(text), 7):
            to_html(text[:end], live=True)
        assert to_html(text) == to_html(text)


class TestHostile:
    @pytest.mark.parametrize("text", [*HOSTILE, *HOSTILE_MARKDOWN])
    @pytest.mark.parametrize("live", [True, False])
    def test_nothing_is_live(self, text, live):
        found = to_html(text, live=live)
        for tag in re.findall(r"<(\w+)", found):
            assert tag in sanitize.TAGS | {"button"}
        for attributes in re.findall(r"<(?!button)[^>]*>", found):
            assert not re.search(r"\s(on\w+|src|xlink:href)\s*=", attributes)
        for address in re.findall(r'href="([^"]*)"', found):
            assert re.match(r"https?://|mailto:|#fn", address)

    @pytest.mark.parametrize("piece", LONG_MARKDOWN)
    def test_drawing_while_it_comes_takes_a_tenth_of_a_second_at_most(self, piece):
        text = piece * (markdown.LONGEST_LIVE // len(piece))
        # The least of three, for other programs take their share of the machine.
        assert min(seconds(text + "x" * more, live=True) for more in range(3)) < 0.1

    @pytest.mark.parametrize("text", MEGABYTES.values(), ids=MEGABYTES)
    def test_a_megabyte_takes_no_longer_while_it_comes(self, text):
        assert min(seconds(text + "x" * more, live=True) for more in range(3)) < 0.1

    @pytest.mark.parametrize("piece", LONG_MARKDOWN)
    def test_twice_as_much_takes_about_twice_as_long(self, piece):
        short, long = (piece * (size // len(piece)) for size in (1_000, 8_000))
        assert min(seconds(long), seconds(long + "x")) < 40 * max(0.005, seconds(short))


def seconds(text: str, live: bool = False) -> float:
    """What it takes to draw a text, in seconds of the processor."""
    started = time.process_time()
    to_html(text, live=live)
    return time.process_time() - started


class TestLongAnswers:
    """Markdown of a page or two is drawn; what comes after it costs next to nothing."""

    def test_what_comes_after_the_beginning_is_folded_away_as_it_was_written(self):
        found = to_html("**word**\n" * 3000)
        assert found.count("<strong>") == markdown.MOST_LINES
        assert found.count("**word**") == 3000 - markdown.MOST_LINES
        assert "18,000 more characters, as they were written</summary>" in found
        assert "the first 80,000 of them; the record has them all" in to_html("a " * 10**6)

    def test_a_thought_that_ends_later_is_not_said_to_be_cut(self):
        long = "so " * markdown.LONGEST
        assert "<summary>Thoughts</summary>" in to_html(f"<think>{long}</think>Yes.")
        assert "cut before their end" in to_html("<think>so")

    @pytest.mark.parametrize(
        "piece", ["$", "<think>a</think>b", "- a\n", "|a|\n", "*a ", "> a\n\n"]
    )
    def test_the_length_does_not_matter(self, piece):
        def seconds(times: int) -> float:
            started = time.process_time()
            to_html(piece * times)
            return time.process_time() - started

        once = min(seconds(20_000) for _ in range(3))
        assert min(seconds(200_000) for _ in range(3)) < 3 * once + 0.05

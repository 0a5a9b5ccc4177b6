"""Where two answers differ."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.show.differences import LONGEST, marked
from slmlab.show.markdown import to_html

words = st.lists(st.sampled_from(["a", "b", "**c**", "$x$", "$y$", "`d`", "<e>", "- f\n"]))


@pytest.mark.parametrize(
    ("text", "reference", "found"),
    [
        ("the <b> cat", "the dog", ["&lt;b&gt; cat"]),
        ("same *words*", "same words", []),
        ("so $x^2$ is", "so $x^3$ is", [to_html("$x^2$")[len("x") :]]),
        ("a " * (LONGEST + 1), "b", []),
    ],
)
def test_what_the_other_lacks_is_marked(text, reference, found):
    html = marked(to_html(text), to_html(reference))
    marks = re.findall(r"<mark>(.*?)</mark>", html)
    assert len(marks) == len(found)
    assert all(mark in expected for mark, expected in zip(marks, found, strict=True))


@given(words, words)
def test_marks_change_nothing_else(one, other):
    html = to_html(" ".join(one))
    found = marked(html, to_html(" ".join(other)))
    assert re.sub("</?mark>", "", found) == html
    assert marked(html, html) == html

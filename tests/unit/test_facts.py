"""The HTML table of facts."""

from __future__ import annotations

from markupsafe import Markup

from slmlab.facts import facts_html


def test_everything_is_escaped():
    page = facts_html("<b>&", [("<script>", "</td>'\"")])
    assert "&lt;b&gt;&amp;" in page
    assert "&lt;script&gt;" in page
    assert "&lt;/td&gt;&#39;&#34;" in page
    assert "<script>" not in page and "<b>" not in page


def test_what_is_html_already_stays():
    page = facts_html("Links", [("Source", Markup("<a href='x'>x</a>"))])
    assert "<a href='x'>x</a>" in page


def test_braces_and_line_breaks_stay_as_they_are():
    page = facts_html("{}", [("{0}", "one\ntwo {name}")])
    assert "{}" in page and "{0}" in page and "one\ntwo {name}" in page


def test_a_row_for_each_fact():
    page = facts_html("Numbers", ((str(n), str(n * n)) for n in range(4)))
    assert page.count("<tr>") == 4
    assert facts_html("None", []).count("<tr>") == 0

"""Answers of real models, as a browser draws them.

``tests/corpus/answers.jsonl`` has what models wrote, with the model, the prompt and the options,
and under ``seen`` what a person saw who looked at the page: formulas that were drawn, those that
stayed source, blocks of code by language, and so on.
"""

from __future__ import annotations

import json

import pytest
from markupsafe import Markup

from slmlab.show.markdown import STYLE, to_html
from tests.support.browser import wcag_violations
from tests.support.hostile import MEGABYTES
from tests.support.paths import ROOT
from tests.support.widgets import SHOTS, shoot, shown

CORPUS = ROOT / "tests/corpus/answers.jsonl"
ANSWERS = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
PAGE = Markup(
    "<!doctype html><html lang='en' data-theme='{}'><meta charset='utf-8'><title>Answers</title>"
    "<style>body {{ margin: 0 auto; padding: 16px; max-width: 48em; color: {}; background: {};"
    " font: 14px/1.5 system-ui, sans-serif; }}</style>{}<main>{}</main></html>"
)
# What is drawn of each answer. Code is what may have backslashes.
SEEN = """() => [...document.querySelectorAll('.slmlab-text')].map(one => {
    const count = what => one.querySelectorAll(what).length;
    const texts = [...one.querySelectorAll('.slmlab-code-head span')].map(each => each.innerText);
    const prose = one.cloneNode(true);
    prose.querySelectorAll('code, pre, math').forEach(each => each.remove());
    const blocks = [...one.querySelectorAll('p, li')];
    return {
        math: count('math'), source: count('.slmlab-latex'), code: texts, table: count('table'),
        list: count('li'), task: count('.slmlab-task'), quote: count('blockquote'),
        heading: count('h1, h2, h3, h4, h5, h6'), note: count('section li'),
        thought: count('details'),
        right_to_left: blocks.filter(each => getComputedStyle(each).direction == 'rtl').length,
        backslash: prose.textContent.includes('\\\\'),
        flat: [...one.querySelectorAll('math')].filter(each =>
            each.checkVisibility() && each.getBoundingClientRect().height < 5).length,
    };
})"""
TOO_WIDE = """() => [...document.querySelectorAll('.slmlab-text *')].filter(one =>
    one.getBoundingClientRect().right > innerWidth
    && !one.closest('pre, .slmlab-table, .slmlab-formula')).map(one => one.outerHTML)"""


def show(page, dark: bool = False, width: int = 1280) -> None:
    """Draw all answers on one page."""
    colours = ("dark", "#eee", "#111") if dark else ("light", "#111", "#fff")
    answers = Markup().join(to_html(answer["text"]) for answer in ANSWERS)
    page.set_viewport_size({"width": width, "height": 900})
    page.set_content(PAGE.format(*colours, STYLE, answers))
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/answers-{colours[0]}-{width}.png", full_page=True)


def test_there_are_fifty():
    assert len(ANSWERS) >= 50
    assert len({answer["name"] for answer in ANSWERS}) == len(ANSWERS)


def test_they_are_drawn_as_they_were_meant(page):
    show(page)
    for answer, seen in zip(ANSWERS, page.evaluate(SEEN), strict=True):
        assert {name: value for name, value in seen.items() if value} == answer["seen"], answer


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_its_page(page, width):
    show(page, width=width)
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_wcag_aa(page, dark):
    show(page, dark)
    assert not wcag_violations(page, "main")


def test_code_is_selected_where_a_page_may_not_copy(page):
    show(page)
    page.locator(".slmlab-code button").first.click()
    code = page.locator(".slmlab-code code").first.inner_text()
    assert page.evaluate("getSelection().toString()").strip() == code.strip()


@pytest.mark.parametrize("text", MEGABYTES.values(), ids=MEGABYTES)
def test_no_frame_takes_long_whatever_comes(page, text):
    """A megabyte, while it comes: nothing in it is live, and the page draws it at once."""
    page.set_content(PAGE.format("light", "#111", "#fff", STYLE, ""))
    page.evaluate("() => { window.alarms = []; window.alert = text => alarms.push(String(text)); }")
    took = page.evaluate(
        """html => Math.min(...[1, 2, 3].map(() => {
            const began = performance.now();
            document.querySelector('main').innerHTML = html;
            document.body.offsetHeight;
            return performance.now() - began;
        }))""",
        str(to_html(text, live=True)),
    )
    assert took < 100
    assert page.locator("main :is(script, svg, img, iframe, maction, annotation-xml)").count() == 0
    assert page.evaluate("alarms") == []


def test_they_are_drawn_so_in_notebooks(front):
    """Whose pages have styles of their own, and run MathJax over what cells show."""
    cell = (
        "import json, IPython.display\n"
        "from slmlab.show.markdown import STYLE, to_html\n"
        f"lines = open({str(CORPUS)!r}, encoding='utf-8').read().splitlines()\n"
        "html = [to_html(json.loads(line)['text']) for line in lines]\n"
        "IPython.display.HTML(str(STYLE) + '<div class=slmlab>' + ''.join(html) + '</div>')"
    )
    with shown(front, cell) as page:
        page.wait_for_function(
            f"document.querySelectorAll('.slmlab-text').length == {len(ANSWERS)}"
        )
        drawn = page.evaluate(SEEN)
        if front.kind == "classic":
            # Its MathJax draws the formulas, and leaves elements of MathML for screen readers.
            count = "all => all.map(one => one.querySelectorAll('.MathJax').length)"
            formulas = [answer["seen"].get("math", 0) for answer in ANSWERS]
            page.wait_for_function(
                f"() => ({count})([...document.querySelectorAll('.slmlab-text')]).join()"
                f" == '{','.join(map(str, formulas))}'"
            )
            drawn = [
                {**seen, "math": formula, "flat": 0}
                for seen, formula in zip(drawn, formulas, strict=True)
            ]
        shoot(front, page, "answers", "#notebook-container, .jp-Notebook")
        for answer, seen in zip(ANSWERS, drawn, strict=True):
            assert {name: value for name, value in seen.items() if value} == answer["seen"], answer

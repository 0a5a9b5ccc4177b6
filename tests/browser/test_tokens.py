"""Answers of real models with their tokens shaded, in a browser."""

from __future__ import annotations

import json

import pytest

import slmlab
from tests.support.browser import wcag_violations
from tests.support.paths import ROOT
from tests.support.widgets import SHOTS

REAL = [
    json.loads(line)
    for line in (ROOT / "tests/corpus/tokens.jsonl").read_text(encoding="utf-8").splitlines()
]
PAGE = (
    "<!doctype html><html lang='en' data-theme='{}'><meta charset='utf-8'><title>Tokens</title>"
    "<body style='margin:16px;font:14px/1.5 system-ui,sans-serif;color:{};background:{}'>"
    "<main>{}</main></body></html>"
)


def show(page, dark: bool = False, width: int = 1280) -> None:
    colours = ("dark", "#eee", "#111") if dark else ("light", "#111", "#fff")
    view = slmlab.show_tokens(REAL[0], REAL[1])
    page.set_viewport_size({"width": width, "height": 700})
    page.set_content(PAGE.format(*colours, view._repr_html_()))
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/tokens-{colours[0]}-{width}.png")


@pytest.mark.parametrize("dark", [False, True])
def test_wcag_aa(page, dark):
    show(page, dark)
    page.locator("summary").first.click()
    page.locator(".slmlab-tokens-text button").nth(5).focus()
    assert not wcag_violations(page, "main")


def test_the_keys_go_from_token_to_token(page):
    show(page)
    told = "document.activeElement.querySelector('span').innerText"
    page.keyboard.press("Tab")
    assert page.evaluate(told).startswith("“The” 79.1%")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(told).startswith("“ of” 98.8%")
    assert page.locator(".slmlab-token:focus > span").is_visible()
    page.keyboard.press("End")
    assert page.evaluate(told).startswith("the end of the answer")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(told).startswith("“.”")
    page.keyboard.press("Home")
    assert page.evaluate(told).startswith("“The”")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY", "one stop for all tokens"


def test_the_pointer_shows_what_else_was_likely(page):
    show(page)
    token = page.locator(".slmlab-tokens-text button").nth(5)
    assert not token.locator("span").is_visible()
    token.hover()
    assert token.locator("span").is_visible()
    assert "instead" in token.locator("span").inner_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_its_page(page, width):
    show(page, width=width)
    for token in page.locator(".slmlab-tokens-text button").all():
        token.focus()
        assert page.evaluate("document.documentElement.scrollWidth") <= width

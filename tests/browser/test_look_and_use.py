"""How widgets look, and that keys alone use them."""

from __future__ import annotations

import pytest

from tests.support.browser import wcag_violations
from tests.support.engines import BASE, SMOL
from tests.support.widgets import STORY, button, pressable, shown, side_by_side


class TestLookAndUse:
    CELLS = (
        side_by_side([SMOL, BASE], prompt="Hi", num_predict=8),
        "slmlab.playground(prompt='Hi', num_predict=8)",
        "slmlab.arena(prompt='Hi')",
        "slmlab.catalog_explorer()",
    )

    @pytest.mark.parametrize("dark", [False, True])
    def test_wcag_aa(self, front, dark):
        if dark and front.kind == "classic":
            pytest.skip("the classic notebook has no dark theme")
        with shown(front, *self.CELLS, dark=dark, height=1000) as page:
            page.wait_for_selector(".slmlab-tall td", timeout=60_000)
            button(page, "Run").click()
            pressable(page, "All equally good")
            for one in page.locator(".slmlab :text('settings')").all():
                one.click()
            assert not wcag_violations(page, ".slmlab")

    def test_a_narrow_pane_needs_no_sideways_scrolling(self, front):
        with shown(front, *self.CELLS[:3], width=390, height=900) as page:
            page.wait_for_selector(".slmlab-arena")
            for box in page.locator(".slmlab").all():
                inside = box.evaluate("one => one.scrollWidth - one.clientWidth")
                assert inside <= 1

    def test_states_move_but_not_for_those_who_asked_for_rest(self, front):
        moving = (
            "state => { const card = document.querySelector('.slmlab-card'); "
            "card.classList.add(`slmlab-is-${state}`); "
            "const name = getComputedStyle(card, '::before').animationName; "
            "card.classList.remove(`slmlab-is-${state}`); return name; }"
        )
        with shown(front, self.CELLS[0]) as page:
            page.wait_for_selector(".slmlab-card")
            states = ("waiting", "loading", "reading", "writing")
            page.emulate_media(reduced_motion="no-preference")
            seen = {page.evaluate(moving, state) for state in states}
            assert len(seen - {"none"}) == 4
            page.emulate_media(reduced_motion="reduce")
            assert {page.evaluate(moving, state) for state in states} == {"none"}

    def test_the_keyboard_alone_runs_and_stops(self, front):
        cell = side_by_side([SMOL, BASE], prompt=STORY, num_predict=600)
        with shown(front, cell) as page:
            page.locator(".slmlab textarea").first.focus()
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Run"
            page.keyboard.press("Enter")
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            button(page, "Stop").focus()
            page.keyboard.press("Space")
            pressable(page, "Run")

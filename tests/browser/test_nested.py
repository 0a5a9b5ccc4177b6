"""Widgets inside other widgets, which Jupyter's own boxes and tabs are."""

from __future__ import annotations

from tests.support.engines import BASE, SMOL
from tests.support.widgets import button, pressable, shoot, shown

BOX = f"""
import ipywidgets, slmlab
left = slmlab.playground({SMOL!r}, "Name a colour.", num_predict=8)
right = slmlab.side_by_side([{SMOL!r}, {BASE!r}], "Name a fruit.", num_predict=8)
box = ipywidgets.HBox([left, right])
box.add_class("outer")
box
"""
TABS = f"""
import ipywidgets, slmlab
arena = slmlab.arena([{SMOL!r}, {BASE!r}], "Name a colour.", num_predict=8)
tab = ipywidgets.Tab([slmlab.catalog_explorer(), arena])
tab.set_title(0, "Which")
tab.set_title(1, "Vote")
tab
"""


class TestNested:
    def test_two_in_a_row_are_live_and_share_the_width(self, front):
        with shown(front, BOX, width=1400, height=900) as page:
            pressable(page, "Run", 1)  # all of both is there
            boxes = page.locator(".outer > .slmlab")
            assert boxes.count() == 2
            left, right = (boxes.nth(place).bounding_box() for place in (0, 1))
            assert left["y"] == right["y"]
            assert right["x"] >= left["x"] + left["width"]
            assert min(left["width"], right["width"]) > 400
            for place in (0, 1):
                wide = boxes.nth(place).evaluate("one => one.scrollWidth - one.clientWidth")
                assert wide <= 1
            button(page, "Run", 0).click()
            page.wait_for_selector(".slmlab :text('tokens/s')")
            button(page, "Run", 1).click()
            pressable(page, "All equally good")
            assert page.locator(".slmlab-strip").count() == 3, "one beside the two"
            shoot(front, page, "nested", ".outer")

    def test_tabs(self, front):
        with shown(front, TABS, height=900) as page:
            page.wait_for_selector(".slmlab-tall td")
            assert not page.locator(".slmlab-arena").is_visible()
            page.locator("li:has-text('Vote')").click()
            page.wait_for_selector(".slmlab-arena[data-keys]", state="visible")
            assert not page.locator(".slmlab-catalog").is_visible()
            page.locator(".slmlab-arena button:has-text('Run')").click()
            pressable(page, "Equally good")
            page.locator(".slmlab-arena .slmlab-answer").first.click()
            page.keyboard.press("ArrowLeft")
            page.wait_for_selector(f".slmlab-title:has-text('{BASE}')")

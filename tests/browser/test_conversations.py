"""Conversations with several models, in a real browser."""

from __future__ import annotations

import json

from slmlab.run.grid import plan
from tests.support.browser import wcag_violations
from tests.support.engines import SHALLOW, SMOL
from tests.support.widgets import button, pressable, shoot, shown, side_by_side, texts

ASKED = (
    "Name one animal that lives in the sea. Answer in one sentence.",
    "What does it eat?",
    "Is it bigger than a dog?",
)


class TestConversations:
    def test_three_models_hold_three_turns(self, front):
        options = {"columns": [{"temperature": 0}, {"temperature": 1.5}], "num_predict": 40}
        cell = side_by_side([SHALLOW, SHALLOW, SMOL], prompt=ASKED[0], **options)
        with shown(front, cell, height=2600) as page:
            follow_up = page.get_by_label("Follow-up")
            assert not follow_up.is_visible(), "who asks one question sees no field for more"
            page.wait_for_selector(".slmlab :text('temperature 1.5')")
            assert page.locator(".slmlab :text('temperature 1.5')").count() == 1
            assert page.get_by_label("Own settings for B").is_checked()
            button(page, "Run").click()
            for number, question in enumerate(ASKED[1:], 2):
                pressable(page, "Send")
                follow_up.fill(question)
                page.keyboard.press("Tab")
                button(page, "Send").click()
                page.wait_for_selector(f".slmlab p.slmlab-turn:has-text('Turn {number}')")
            pressable(page, "A is best")
            assert follow_up.input_value() == ""
            assert page.locator(".slmlab details.slmlab-turn").count() == 2
            assert len(texts(page)) == 9
            button(page, "A is best").click()
            page.wait_for_selector(".slmlab td:has-text('temperature 1.5')")
            shoot(front, page, "conversation")
            assert not wcag_violations(page, ".slmlab")
            page.set_viewport_size({"width": 390, "height": 3600})
            shoot(front, page, "conversation-narrow")
            for box in page.locator(".slmlab").all():
                assert box.evaluate("one => one.scrollWidth - one.clientWidth") <= 1
            page.get_by_label("Goes on from").select_option("turn 2 again, edited")
            page.wait_for_function(
                "text => [...document.querySelectorAll('.slmlab textarea')]"
                ".some(one => one.value === text)",
                arg=ASKED[1],
            )
            page.get_by_label("Goes on from").select_option("turn 1: answer B, for all")
            page.wait_for_function(
                "text => ![...document.querySelectorAll('.slmlab textarea')]"
                ".some(one => one.value === text)",
                arg=ASKED[1],
            )
            follow_up.fill("Where does it sleep?")
            page.keyboard.press("Tab")
            button(page, "Send").click()
            page.wait_for_selector(".slmlab p.slmlab-turn:has-text('Where does it sleep?')")
            pressable(page, "Conversation as JSON")
            button(page, "Conversation as JSON").click()
            page.wait_for_selector(".slmlab-message:has-text('.json')")
        (file,) = front.folder.glob("conversation-*.json")
        rows = json.loads(file.read_text())
        prompts = [cell.prompt for cell in plan(SMOL, file)]
        file.unlink()
        assert len(prompts) == 3
        assert all(one == prompts[0] for one in prompts), "all went on from one answer"
        assert [one["content"] for one in prompts[0]][::2] == [ASKED[0], "Where does it sleep?"]
        assert rows[0]["model"] == f"{SHALLOW} · temperature 0.0"

    def test_one_model_goes_on_and_asks_again(self, front):
        cell = f"import slmlab\nslmlab.playground({SMOL!r}, {ASKED[0]!r}, num_predict=30)"
        with shown(front, cell, height=1300) as page:
            button(page, "Run").click()
            pressable(page, "Send")
            page.get_by_label("Follow-up").fill(ASKED[1])
            page.keyboard.press("Tab")
            button(page, "Send").click()
            page.wait_for_selector(".slmlab :text('2 of 2')")
            pressable(page, "Send")
            assert len(texts(page)) == 2
            shoot(front, page, "playground-conversation")
            button(page, "Earlier").click()
            page.wait_for_selector(".slmlab :text('1 of 2')")
            assert len(texts(page)) == 1

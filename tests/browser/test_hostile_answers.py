"""What models write, in widgets."""

from __future__ import annotations

from slmlab.run import results
from tests.support.hostile import HOSTILE
from tests.support.records import record
from tests.support.widgets import button, pressable, shown


class TestHostileAnswers:
    def test_they_stay_text(self, front):
        """As answers of stored comparisons, which anybody may have written."""
        written = [*HOSTILE, "y" * 1_000_000, "a\n" * 20_000]
        rows = [
            record(model=("one", "two")[number % 2], prompt=f"prompt {number // 2}", text=text)
            for number, text in enumerate(written)
        ]
        columns = [{"prompt_id": number // 2, "repeat": 0} for number in range(len(rows))]
        frame = results.to_frame(rows, columns)
        results.to_json(frame, front.folder / "hostile.json")
        requested = []
        cell = (
            "import pandas, slmlab\n"
            "slmlab.arena(answers=pandas.read_json('hostile.json', orient='records'))"
        )
        with shown(front, cell) as page:
            page.on("request", lambda request: requested.append(request.url))
            page.evaluate(
                "() => { window.alarms = []; window.alert = text => alarms.push(String(text)); }"
            )
            for _ in range(len(rows) // 2):
                pressable(page, "Equally good")
                assert page.locator(".slmlab-answer").first.inner_text().strip()
                assert page.locator(".slmlab-answer :is(img, script, iframe)").count() == 0
                assert page.locator(".slmlab-answer a[href*=script]").count() == 0
                button(page, "Equally good").click()
                pressable(page, "Next pair")
                button(page, "Next pair").click()
            page.wait_for_selector("text=That was the last pair")
            assert "hacked" not in page.title()
            assert page.evaluate("window.alarms") == []
            assert not [url for url in requested if "pixel" in url]

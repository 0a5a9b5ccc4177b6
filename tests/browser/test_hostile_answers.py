"""What models write, in widgets."""

from __future__ import annotations

from slmlab.run import results
from tests.support.hostile import HOSTILE
from tests.support.records import record
from tests.support.widgets import button, pressable, shoot, shown


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


class TestFormulas:
    def test_they_are_drawn_and_money_stays_money(self, front):
        """Both front ends run MathJax over what cells show; the classic one's draws MathML too."""
        text = r"It costs $5 and $6: \[ c^2 = \frac{a}{b} \] and $x_1$, `$y$`, \(\nonsense\)."
        rows = [record(model=model, prompt="Why?", text=text) for model in ("one", "two")]
        frame = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
        results.to_json(frame, front.folder / "formulas.json")
        cells = (
            "import IPython.display, pandas, slmlab\n"
            "answers = pandas.read_json('formulas.json', orient='records')\n"
            "slmlab.arena(answers=answers)",
            "slmlab.show_answers(answers)",
            "IPython.display.Latex('$z$')",
        )
        with shown(front, *cells) as page:
            page.wait_for_selector(
                ":is(mjx-container, .MathJax):not(.slmlab-text *)", state="attached"
            )
            page.wait_for_function("document.querySelectorAll('.slmlab-text').length == 4")
            for answer in page.locator(".slmlab-text").all():
                assert answer.locator("math").count() == 2
                assert "It costs $5 and $6:" in answer.inner_text()
                assert answer.locator("code").all_inner_texts() == ["$y$", r"\(\nonsense\)"]
                formula = answer.locator(".slmlab-formula").bounding_box()
                assert formula["height"] > 30, "a fraction is drawn as one"
                if front.kind == "lab":
                    assert answer.locator("mjx-container").count() == 0
            shoot(front, page, "formulas", "#notebook-container, .jp-Notebook")

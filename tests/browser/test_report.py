"""The report's page in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import slmlab
from slmlab.run import results
from tests.support.browser import wcag_violations
from tests.support.hostile import HOSTILE
from tests.support.paths import ROOT
from tests.support.records import comparison, record
from tests.support.widgets import SHOTS

MODELS = ("qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b", "smollm2:135m", "gemma3:270m", "llama3.2:1b")


@pytest.fixture
def page(chromium):
    """A page of its own, in the browser of all tests of this folder."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


class TestReport:
    def test_a_browser_shows_and_sorts_it(self, frame, tmp_path, page):
        logged: list[str] = []
        page.on("console", lambda message: logged.append(message.text))
        page.goto(slmlab.report(frame, tmp_path / "r.html").as_uri())
        button = page.get_by_role("button", name="tokens/s").first
        table = page.locator("table.sortable", has=button).first
        column = [*table.locator("th").all_inner_texts()].index("tokens/s")
        for order in (1, -1):
            button.click()
            cells = table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts()
            shown = [float(cell) for cell in cells]
            assert shown == sorted(shown)[::order]
        assert not logged

    def test_code_is_copied_and_formulas_are_drawn(self, tmp_path, page):
        logged: list[str] = []
        page.on("console", lambda message: logged.append(message.text))
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        text = "So \\[ c^2 = a^2 \\]\n```python\nprint(1)\n```\n<think>Hm.</think>"
        rows = [record(model="m", text=text), record(model="n", text=text.replace("2", "3"))]
        found = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
        page.goto(slmlab.report(found, tmp_path / "r.html").as_uri())
        assert page.locator(".answer math").count() == 2
        assert page.locator(".answer mark math").count() == 1, "the formula that differs"
        assert not page.locator(".answer details p").first.is_visible(), "thoughts are folded away"
        page.locator(".answer button").first.click()
        page.wait_for_selector(".answer button:has-text('Copied')")
        assert page.evaluate("navigator.clipboard.readText()") == "print(1)\n"
        assert not logged

    def test_what_changed_between_two_runs_is_filtered(self, tmp_path, page):
        before, after = (
            comparison(
                [
                    {"model": "m", "prompt": f"P{number}", "prompt_id": number, "repeat": 0}
                    | {"text": f"It is {score}", "score": score}
                    for number, score in enumerate(scores)
                ]
            )
            for scores in ([0, 1, 1], [1, 0, 0])
        )
        changes = slmlab.compare_runs(before, after)
        page.goto(slmlab.report(changes, tmp_path / "c.html").as_uri())
        page.get_by_label("Change").select_option("better")
        page.wait_for_selector("output:has-text('1 of 3 prompts, 2 answers')")
        assert page.locator("details.prompt:visible summary").inner_text() == "P0\n▲ better"

    def test_what_models_write_stays_text(self, tmp_path, page):
        rows = [record(model=f"<b>{index}</b>", text=text) for index, text in enumerate(HOSTILE)]
        rows.append(record(model="bad", error="<script>document.title='hacked'</script>"))
        columns = [{"prompt_id": 0, "repeat": 0}] * len(rows)
        found = results.to_frame(rows, columns).assign(prompt="<script>1</script>")
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(slmlab.report(found, tmp_path / "r.html", title="<i>T</i>").as_uri())
        assert page.title() == "<i>T</i>"
        assert page.locator("script").count() == 1, "the page's own"
        assert page.locator("h1").count() == 1
        assert page.locator(".answer img, .answer a[href*=script], .answer b").count() == 0
        assert [url for url in loaded if url.startswith("http")] == []
        shown = page.locator(".answers").inner_text()
        assert "<script>document.title" in shown
        assert "red" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, "a long word must not make the page wide"


def of_real_answers(count: int, path: Path) -> Path:
    """A report of so many answers, which real models wrote, five to each prompt."""
    lines = (ROOT / "tests/corpus/answers.jsonl").read_text(encoding="utf-8").splitlines()
    written = [json.loads(line) for line in lines]
    rows = []
    for number in range(count):
        prompt, model = divmod(number, 5)
        answer = written[number * 7 % len(written)]
        rows.append(
            {
                "model": MODELS[model],
                "prompt": f"{prompt}: {written[prompt % len(written)]['prompt']}",
                "prompt_id": prompt,
                "repeat": 0,
                "task": ("maths", "code", "text")[prompt % 3],
                "text": answer["text"],
                "stop_reason": "length" if number % 20 == 0 else "stop",
                "tokens": len(answer["text"]) // 4,
                "generation_s": len(answer["text"]) / 4 / (10 + 9 * model),
                "ttft_s": 0.2,
                "score": float(prompt % 9 > 2 * model),
            }
        )
    return slmlab.report(comparison(rows), path)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return of_real_answers(500, tmp_path_factory.mktemp("large") / "r.html")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return of_real_answers(10, tmp_path_factory.mktemp("small") / "r.html")


class TestAnswers:
    """Finding one among 500."""

    def test_the_file_is_small(self, large):
        assert large.stat().st_size < 2_000_000

    def test_they_are_searched_and_filtered(self, large, page):
        page.goto(large.as_uri())
        shown, answers = page.locator(".prompt:visible"), page.locator(".answer:not([hidden])")
        count = page.locator("output")
        assert count.inner_text() == "100 of 100 prompts, 500 answers"
        page.locator(".filters").get_by_label("Task").select_option("code")
        assert count.inner_text() == "33 of 100 prompts, 165 answers"
        page.locator(".filters").get_by_label("Result").select_option("wrong")
        page.locator(".filters").get_by_label("Answers of").select_option(MODELS[1])
        for one in shown.all():
            own = one.locator(".answer:not([hidden])")
            assert own.locator("> strong").text_content() == MODELS[1]
            assert own.get_attribute("data-result") == "wrong"
        page.get_by_role("button", name="Reset").click()
        page.get_by_label("Search").fill("PYTHAGOREAN")
        page.wait_for_function("!document.querySelector('output').innerText.startsWith('100 of')")
        for one in shown.all():
            assert "pythagorean" in one.text_content().lower()
        assert page.evaluate("CSS.highlights.get('found').size") > 0
        page.get_by_label("Search").fill("no model wrote this")
        assert page.get_by_text("No answer is like that.").is_visible()
        page.get_by_label("Search").fill("")
        page.locator(".filters").get_by_label("Flag").select_option("answer cut")
        assert 0 < shown.count() < 100
        for one in shown.all():
            assert one.locator(".answer[data-flags*='answer cut']").count()
        assert answers.count() > shown.count(), "those beside it are shown too"

    def test_what_models_disagree_on_comes_first(self, large, page):
        page.goto(large.as_uri())
        page.locator(".filters").get_by_label("Order").select_option("most disagreement first")
        apart = page.evaluate(
            "[...document.querySelectorAll('.prompt')].map(one => Number(one.dataset.apart))"
        )
        assert apart == sorted(apart, reverse=True)
        page.locator(".filters").get_by_label("Result").select_option("models differ")
        differ = page.locator(".prompt:visible").count()
        assert 0 < differ < 100
        alike = page.evaluate(
            "[...document.querySelectorAll('.prompt:not([hidden])')].filter(one => new Set("
            "[...one.querySelectorAll('.answer')].map(a => a.dataset.result)).size < 2).length"
        )
        assert alike == 0
        page.get_by_role("button", name="Reset").click()
        page.wait_for_selector(".prompt:first-of-type:has-text('prompt 0')")

    def test_no_key_press_waits_long(self, large, page):
        page.goto(large.as_uri())
        page.get_by_label("Search").fill("import")
        took = """Math.min(...[1, 2, 3].map(() => {
            const began = performance.now();
            show();
            return performance.now() - began;
        }))"""
        assert page.evaluate(took) < 100

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_wcag_aa(self, small, page, scheme):
        page.emulate_media(color_scheme=scheme)
        page.goto(small.as_uri())
        assert not wcag_violations(page, "body")

    @pytest.mark.parametrize("width", [1280, 390])
    def test_it_is_no_wider_than_its_page(self, large, page, width):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(large.as_uri())
        page.get_by_role("button", name="Open all").click()
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/report-{width}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_by_keyboard(self, large, page):
        page.goto(large.as_uri())
        page.get_by_label("Search").focus()
        page.keyboard.type("hypotenuse")
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.getAttribute('role')") == "region"
        page.locator(".prompt:visible > summary").nth(2).focus()
        page.keyboard.press("Enter")
        assert page.locator(".prompt:visible").nth(2).get_attribute("open") is not None

    def test_paper_has_what_is_shown_and_all_of_it(self, large, page):
        page.goto(large.as_uri())
        page.get_by_label("Search").fill("pythagorean")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".prompt:visible:not([open])").count() == 0
        assert not page.locator(".filters").is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator(".prompt:not([open])").count() == 98

    def test_without_its_script_everything_is_there(self, large, chromium):
        context = chromium.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(large.as_uri())
        assert page.locator(".prompt:visible").count() == 100
        assert not page.locator(".filters").is_visible()
        context.close()

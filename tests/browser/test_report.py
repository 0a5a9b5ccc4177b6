"""The report's page in a browser."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.run import results
from tests.support.hostile import HOSTILE
from tests.support.records import record


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

"""The widgets, in a real browser, on both generations of ipywidgets, with real models.

``lab`` is JupyterLab with the newest packages (ipywidgets 8), ``classic`` the Notebook of Colab's
package versions (ipywidgets 7). Where there is no Chromium these tests are skipped, except in CI.
"""

from __future__ import annotations

import shutil
import time

import pandas as pd

import slmlab
from slmlab.evaluation import votes
from slmlab.run import results
from slmlab.widgets.voting import Ballot
from tests.support.engines import BASE, MINILM, MODELS, SMOL
from tests.support.widgets import STORY, button, pressable, shoot, shown, side_by_side, texts

# Notes how long the second answer is each time when the page changes.
WATCH = """() => {
    window.lengths = new Set();
    window.watching = new MutationObserver(() => {
        const second = document.querySelectorAll('.slmlab-answer')[1];
        if (second) lengths.add(second.textContent.length);
    });
    watching.observe(document.body, {childList: true, characterData: true, subtree: true});
}"""
WATCHED = "() => { watching.disconnect(); return [...lengths]; }"


class TestSideBySide:
    def test_from_a_prompt_to_a_voted_comparison_of_three(self, front):
        before = {one.name for one in front.folder.iterdir()}
        cell = side_by_side([BASE, SMOL, BASE], num_predict=150, voter="Ada")
        with shown(front, cell, height=1150) as page:
            page.locator(".slmlab textarea").first.fill(STORY)
            page.keyboard.press("Tab")
            page.evaluate(WATCH)
            button(page, "Run").click()
            # Turn by turn: one writes while another waits.
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            assert page.locator(".slmlab-answer em:has-text('waiting for its turn')").count() >= 1
            pressable(page, "C is best")
            # At eight frames a second, 150 tokens of SmolLM2 are several on any machine of today.
            lengths = page.evaluate(WATCHED)
            assert len(lengths) > 3, f"it came in pieces: {lengths}"
            strips = [one.inner_text() for one in page.locator(".slmlab-strip").all()]
            assert len(strips) == 3
            assert all("tokens/s" in one and "first token" in one for one in strips)
            assert page.locator(".slmlab-flag:has-text('answer cut')").count() >= 1
            button(page, "Reference").click()
            page.wait_for_selector(".slmlab-answer mark")
            button(page, "A is best").click()
            page.wait_for_selector(".slmlab td:has-text('too few votes')")
            page.wait_for_selector(".slmlab-message:has-text('1 vote saved')")
            shoot(front, page, "side-by-side")
            button(page, "To a table").click()
            page.wait_for_selector(".slmlab-message:has-text('.csv')")
            button(page, "To a report").click()
            page.wait_for_selector(".slmlab-message:has-text('.html')")
            cast = votes.read_votes(front.folder / "votes.jsonl")
        new = [one for one in front.folder.iterdir() if one.name not in before]
        table = pd.read_csv(next(one for one in new if one.suffix == ".csv"))
        assert list(table["model"]) == [BASE, SMOL, BASE]
        assert (table["in_flight"] == 1).all()
        assert not table["cold"].any(), "each was loaded before its clock started"
        assert STORY in next(one for one in new if one.suffix == ".html").read_text()
        assert list(cast["voter"]) == ["Ada"], "a model is no rival of itself"
        assert (cast["model_a"][0], cast["model_b"][0], cast["winner"][0]) == (BASE, SMOL, "a")

    def test_all_at_once_stops_at_once_and_goes_on(self, front):
        cell = side_by_side([SMOL, SMOL], prompt=STORY, num_predict=2000)
        with shown(front, cell) as page:
            page.locator("label:has-text('All at once') input, input[type=checkbox]").first.check()
            button(page, "Run").click()
            page.wait_for_function(
                "[...document.querySelectorAll('.slmlab-answer')]"
                ".every(one => one.textContent.length > 40)",
                timeout=60_000,
            )
            started = time.monotonic()
            button(page, "Stop").click()
            pressable(page, "Run")
            assert time.monotonic() - started < 30, "2,000 tokens of two models take longer"
            assert all("stopped" in text and len(text) > 20 for text in texts(page)), texts(page)
            page.locator(".slmlab textarea").first.fill(f"{STORY} Begin at the shore.")
            page.keyboard.press("Tab")
            button(page, "Another seed").click()
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            front.interrupt(page)
            pressable(page, "Run")
            assert any("stopped" in text for text in texts(page)), "an interrupt stops it too"

    def test_names_stay_hidden_until_the_vote(self, front):
        cell = side_by_side([SMOL, BASE], prompt="Name three colours.", num_predict=12)
        with shown(front, cell) as page:
            page.locator(".slmlab input[type=checkbox]").nth(1).check()
            button(page, "Run").click()
            pressable(page, "All equally good")
            seen = page.locator(".slmlab").inner_text()
            assert SMOL not in seen
            assert BASE not in seen
            assert "tokens/s" not in seen, "speed would tell the small one"
            button(page, "All equally good").click()
            page.wait_for_selector(".slmlab-strip")
            page.wait_for_selector(f".slmlab:has-text('{BASE}')")


class TestPlayground:
    def test_it_measures_remembers_and_shows_the_code(self, front, embedded):
        options = f"model={SMOL!r}, template='explain', temperature=0, num_predict=80"
        cell = f"import slmlab\nslmlab.playground({options})"
        with shown(front, cell, height=1000) as page:
            fields = page.locator(".slmlab textarea")
            fields.nth(0).fill("the set {1, 2, 3}")
            fields.nth(1).fill("child")
            page.keyboard.press("Tab")
            button(page, "Run").click()
            page.wait_for_selector(".slmlab :text('tokens/s')")
            first = page.locator(".slmlab-answer").inner_text()
            page.locator("text=Show the code").click()
            page.wait_for_selector(".slmlab-code pre")
            code = page.locator(".slmlab-code pre").inner_text()
            shoot(front, page, "playground")
            fields.nth(1).fill("king")
            page.keyboard.press("Tab")
            button(page, "Run").click()
            page.wait_for_selector(".slmlab :text('2 of 2')")
            pressable(page, "Earlier")
            button(page, "Earlier").click()
            page.wait_for_selector(".slmlab :text('1 of 2')")
            page.wait_for_function(
                "text => [...document.querySelectorAll('.slmlab textarea')][1].value === text",
                arg="child",
            )
            assert page.locator(".slmlab-answer").inner_text() == first
            button(page, "Save").click()
            page.wait_for_selector(".slmlab-message:has-text('.md')")
        *setup, call = code.splitlines()
        names: dict = {}
        exec("\n".join(setup), names)  # the lines that a reader would copy
        answer = eval(call, names)
        shown_text = " ".join(first.split())
        assert " ".join(answer.split())[:40] == shown_text[:40]
        saved = next(front.folder.glob("playground-*.md"))
        assert "the set {1, 2, 3}" in saved.read_text()
        saved.unlink()

    def test_it_waits_for_its_variables_and_says_so(self, front):
        with shown(front, "import slmlab\nslmlab.playground()") as page:
            button(page, "Run").click()
            page.wait_for_selector(".slmlab-wrong:has-text('The prompt is empty')")


class TestArena:
    def test_keys_vote_and_names_come_after(self, front, embedded, tmp_path):
        frame = slmlab.compare(
            [SMOL, BASE],
            ["Name a colour.", "Name a fruit."],
            num_predict=10,
            quiet=True,
            hosts=embedded.url,
            timing=False,
        )
        results.to_json(frame, front.folder / "answers.json")
        cell = (
            "import pandas, slmlab\n"
            "slmlab.arena(answers=pandas.read_json('answers.json', orient='records'), voter='Bo')"
        )
        with shown(front, cell) as page:
            assert SMOL not in page.locator(".slmlab").inner_text()
            page.wait_for_selector(".slmlab-arena[data-keys]")
            page.locator(".slmlab-answer").first.click()
            page.keyboard.press("ArrowLeft")
            page.wait_for_selector(f".slmlab-title:has-text('{BASE}')")
            pressable(page, "Next pair")
            page.keyboard.press("ArrowRight")  # a second vote on the same pair counts for nothing
            page.keyboard.press("Enter")
            page.wait_for_selector(".slmlab :text('2 of 2')")
            pressable(page, "Both are bad")
            assert SMOL not in page.locator(".slmlab-duel").inner_text()
            page.get_by_label("Comment").fill("Not a fruit.")
            page.get_by_label("Tags").fill("fruit")
            page.keyboard.press("Tab")
            page.locator(".slmlab-answer").first.click()
            page.keyboard.press("n")
            page.wait_for_selector(".slmlab td:has-text('too few votes')")
            shoot(front, page, "arena")
            pressable(page, "Next pair")
            button(page, "Next pair").click()
            page.wait_for_selector("text=That was the last pair")
            cast = votes.read_votes(front.folder / "votes.jsonl")
        assert list(cast["winner"]) == ["a", "both bad"]
        assert list(cast["comment"]) == ["", "Not a fruit."]
        assert list(cast["tags"]) == [[], ["fruit"]]
        assert set(cast["voter"]) == {"Bo"}


class TestLeaderboard:
    def test_votes_of_others_come_in_by_themselves(self, front):
        folder = front.folder / "class"
        with shown(front, "import slmlab\nboard = slmlab.leaderboard('class')\nboard") as page:
            page.wait_for_selector(".slmlab :text('No vote in')")
            for number, name in enumerate(("Ada", "Bo"), 1):
                Ballot(name, folder).cast("Why?", "x", "y", "a")
                page.wait_for_selector(f".slmlab caption:has-text('Votes in class: {number}')")
            button(page, "Pause").click()
            pressable(page, "Follow")
            Ballot("Cy", folder).cast("Why?", "x", "y", "a")
            button(page, "Follow").click()
            page.wait_for_selector(".slmlab caption:has-text('3, of 3 voters')")
        shutil.rmtree(folder)


class TestCatalogue:
    def test_sort_filter_and_sources(self, front):
        with shown(front, "import slmlab\nslmlab.catalog_explorer()", height=1000) as page:
            page.wait_for_selector(".slmlab-tall tbody tr")
            total = page.locator(".slmlab-tall tbody tr").count()
            assert total >= 20
            shoot(front, page, "catalogue")
            page.locator("th button:has-text('Released')").click()
            page.wait_for_selector("th[aria-sort=descending] button:has-text('Released')")
            page.wait_for_function("document.activeElement.textContent.startsWith('Released')")
            page.keyboard.press("Enter")
            page.wait_for_selector("th[aria-sort=ascending] button:has-text('Released')")
            dates = [one.inner_text() for one in page.locator(".slmlab-tall td:nth-child(4)").all()]
            known = [one for one in dates if one != "unknown"]
            assert known == sorted(known)
            page.locator(".slmlab input[type=text]").first.fill("gemma")
            page.keyboard.press("Tab")
            page.wait_for_function(
                f"document.querySelectorAll('.slmlab-tall tbody tr').length < {total}"
            )
            names = [one.inner_text() for one in page.locator(".slmlab-tall td:first-child").all()]
            assert all("Gemma" in name for name in names)
            page.locator(".slmlab input[type=text]").first.fill("")
            page.keyboard.press("Tab")
            page.locator(".slmlab input[type=checkbox]").nth(1).check()
            here = len([*MODELS, MINILM])
            page.wait_for_function(
                f"document.querySelectorAll('.slmlab-tall tbody tr').length == {here}"
            )
            page.locator(".slmlab select").last.select_option("Llama 3.2 1B")
            page.wait_for_selector("a[href*='llama-models']")
            button(page, "Pull").click()
            page.wait_for_selector(".slmlab-wrong:has-text('llama3.2')")

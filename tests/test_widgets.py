"""The widgets, in a real browser, on both generations of ipywidgets, with real models.

``lab`` is JupyterLab with the newest packages (ipywidgets 8), ``classic`` the Notebook of Colab's
package versions (ipywidgets 7). Where there is no Chromium these tests are skipped, except in CI.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import (
    GEMMA,
    SMOL,
    answers,
    free_port,
    give_models,
    run,
    serving,
    wait_for,
)
from test_compare import record
from test_report import HOSTILE

import slmlab
from slmlab.errors import PromptError, SlmlabError
from slmlab.evaluation import votes
from slmlab.models import catalog
from slmlab.run import results, streaming
from slmlab.widgets import markup

SHOTS = os.environ.get("TEST_SHOTS")
# Both models write on and on here.
STORY = "Write a long story about the sea, with many chapters."


@pytest.fixture(scope="session")
def chromium():
    import browser

    try:
        with browser.chromium() as one:
            yield one
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def start(kind, python, chromium, server, tmp_path_factory, **env):
    import browser

    folder = tmp_path_factory.mktemp(kind)
    return browser.front(
        kind,
        Path(python),
        folder,
        free_port(),
        chromium,
        OLLAMA_HOST=server.url,
        SLMLAB_HOME=str(folder / "home"),
        **env,
    )


@pytest.fixture(scope="module")
def lab(chromium, embedded, tmp_path_factory):
    with start("lab", sys.executable, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="module")
def classic(chromium, embedded, colab_python, tmp_path_factory):
    with start("classic", colab_python, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(params=["lab", "classic"])
def front(request):
    return request.getfixturevalue(request.param)


@contextlib.contextmanager
def shown(front, *cells: str, **more):
    """A page with a widget on it; what the browser complains of is a failure."""
    page = front.open(*cells, **more)
    wrong = []
    listen = lambda error: wrong.append(str(error))  # noqa: E731
    page.on("pageerror", listen)
    try:
        page.wait_for_selector(".slmlab", timeout=60_000)
        yield page
        assert not [text for text in wrong if "slmlab" in text]
    except BaseException:
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/failed-{front.kind}.png")
        raise
    finally:
        page.remove_listener("pageerror", listen)
        (front.folder / "votes.jsonl").unlink(missing_ok=True)


def shoot(front, page, name: str) -> None:
    """Keep pictures of a widget, light and dark, where somebody asked for pictures."""
    if not SHOTS:
        return
    page.mouse.move(0, 0)
    for theme in ("Dark", "Light") if front.kind == "lab" else ("Light",):
        if front.kind == "lab":
            page.evaluate(
                "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
                f"JupyterLab {theme}",
            )
            page.wait_for_timeout(1000)
        picture = f"{SHOTS}/{name}-{front.kind}-{theme.lower()}.png"
        page.locator(".slmlab").first.screenshot(path=picture)


def button(page, text: str, nth: int = 0):
    return page.locator(f".slmlab button:has-text('{text}')").nth(nth)


def pressable(page, text: str, nth: int = 0, timeout: float = 90_000) -> None:
    page.wait_for_function(
        "([text, nth]) => { const found = [...document.querySelectorAll('.slmlab button')]"
        ".filter(one => one.textContent.includes(text)); "
        "return found[nth] && !found[nth].disabled; }",
        arg=[text, nth],
        timeout=timeout,
    )


def texts(page) -> list[str]:
    return [one.inner_text() for one in page.locator(".slmlab-answer").all()]


def side_by_side(names, **options) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"import slmlab\nlab = slmlab.side_by_side(names={names!r}, {given})\nlab"


class TestSideBySide:
    def test_from_a_prompt_to_a_voted_comparison_of_three(self, front):
        before = {one.name for one in front.folder.iterdir()}
        cell = side_by_side([SMOL, GEMMA, SMOL], num_predict=150, voter="Ada")
        with shown(front, cell, height=1150) as page:
            page.locator(".slmlab textarea").first.fill("Why is the sky blue?")
            page.keyboard.press("Tab")
            button(page, "Run").click()
            # Turn by turn: the first writes while the others wait.
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            assert page.locator(".slmlab-answer em:has-text('waiting for its turn')").count() >= 1
            lengths = []
            while button(page, "Run").is_disabled():
                lengths.append(len(texts(page)[1]))
                time.sleep(0.05)
            # At eight frames a second, 150 tokens are several on any machine that tests run on.
            assert len(set(lengths)) > 3, f"it came in pieces: {lengths}"
            pressable(page, "C is best")
            strips = [one.inner_text() for one in page.locator(".slmlab-strip").all()]
            assert len(strips) == 3
            assert all("tokens/s" in one and "first token" in one for one in strips)
            assert sum("★" in one for one in strips) >= 1
            assert page.locator(".slmlab-flag:has-text('answer cut')").count() >= 1
            button(page, "Reference").click()
            page.wait_for_selector(".slmlab-answer mark")
            button(page, "A is best").click()
            page.wait_for_selector(".slmlab td:has-text('too few votes')")
            assert "1 vote kept" in page.locator(".slmlab-said").inner_text()
            shoot(front, page, "side-by-side")
            button(page, "To a table").click()
            page.wait_for_selector(".slmlab-said:has-text('.csv')")
            button(page, "To a report").click()
            page.wait_for_selector(".slmlab-said:has-text('.html')")
            cast = votes.read_votes(front.folder / "votes.jsonl")
        new = [one for one in front.folder.iterdir() if one.name not in before]
        table = pd.read_csv(next(one for one in new if one.suffix == ".csv"))
        assert list(table["model"]) == [SMOL, GEMMA, SMOL]
        assert (table["in_flight"] == 1).all()
        assert not table["cold"].any(), "each was loaded before its clock started"
        assert (
            "Why is the sky blue?" in next(one for one in new if one.suffix == ".html").read_text()
        )
        assert list(cast["voter"]) == ["Ada"], "a model is no rival of itself"
        assert (cast["model_a"][0], cast["model_b"][0], cast["winner"][0]) == (SMOL, GEMMA, "a")

    def test_all_at_once_stops_at_once_and_goes_on(self, front):
        cell = side_by_side([SMOL, GEMMA], question=STORY, num_predict=2000)
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
            assert time.monotonic() - started < 4
            assert all("stopped" in text and len(text) > 40 for text in texts(page)), texts(page)
            page.locator(".slmlab textarea").first.fill(f"{STORY} Begin at the shore.")
            page.keyboard.press("Tab")
            button(page, "Another seed").click()
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            front.interrupt(page)
            pressable(page, "Run")
            assert any("stopped" in text for text in texts(page)), "an interrupt stops it too"

    def test_an_answer_that_ends_while_it_draws_has_its_strip_before_its_button(
        self, embedded, monkeypatch
    ):
        panel = slmlab.side_by_side("Hi", [SMOL, GEMMA], host=embedded.url, num_predict=20)
        draw, enable, seen = panel._draw_strips, panel._set_buttons, []

        def draw_slowly(*given) -> None:
            draw(*given)
            assert panel.answers.wait(60)

        def look(*given) -> None:
            enable(*given)
            if not panel.columns[1].best.disabled:
                seen.append(panel.columns[1].strip.value)

        monkeypatch.setattr(panel, "_draw_strips", draw_slowly)
        monkeypatch.setattr(panel, "_set_buttons", look)
        panel.run()
        assert seen
        assert all(seen)

    def test_names_stay_hidden_until_the_vote(self, front):
        cell = side_by_side([SMOL, GEMMA], question="Name three colours.", num_predict=12)
        with shown(front, cell) as page:
            page.locator(".slmlab input[type=checkbox]").nth(1).check()
            button(page, "Run").click()
            pressable(page, "All equally good")
            seen = page.locator(".slmlab").inner_text()
            assert SMOL not in seen
            assert GEMMA not in seen
            assert "tokens/s" not in seen, "speed would tell the small one"
            button(page, "All equally good").click()
            page.wait_for_selector(".slmlab-strip")
            assert GEMMA in page.locator(".slmlab").inner_text()


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
            assert fields.nth(1).input_value() == "child"
            assert page.locator(".slmlab-answer").inner_text() == first
            button(page, "Save").click()
            page.wait_for_selector(".slmlab-said:has-text('.md')")
        *setup, call = code.splitlines()
        names: dict = {}
        exec("\n".join(setup), names)  # the lines that a reader would copy
        said = eval(call, names)
        shown_text = " ".join(first.split())
        assert " ".join(said.split())[:40] == shown_text[:40]
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
            [SMOL, GEMMA],
            ["Name a colour.", "Name a fruit."],
            num_predict=10,
            quiet=True,
            hosts=embedded.url,
            timing=False,
        )
        results.to_json(frame, front.folder / "answers.json")
        cell = (
            "import pandas, slmlab\n"
            "slmlab.arena(pandas.read_json('answers.json', orient='records'), voter='Bo')"
        )
        with shown(front, cell) as page:
            assert SMOL not in page.locator(".slmlab").inner_text()
            page.wait_for_selector(".slmlab-arena[data-keys]")
            page.locator(".slmlab-answer").first.click()
            page.keyboard.press("ArrowLeft")
            page.wait_for_selector(f".slmlab-title:has-text('{GEMMA}')")
            pressable(page, "Next pair")
            page.keyboard.press("ArrowRight")  # a second vote on the same pair counts for nothing
            page.keyboard.press("Enter")
            page.wait_for_selector(".slmlab :text('2 of 2')")
            pressable(page, "Equally good")
            assert SMOL not in page.locator(".slmlab-columns").inner_text()
            page.keyboard.press("t")
            page.wait_for_selector(".slmlab td:has-text('too few votes')")
            shoot(front, page, "arena")
            pressable(page, "Next pair")
            button(page, "Next pair").click()
            page.wait_for_selector("text=That was the last pair")
            cast = votes.read_votes(front.folder / "votes.jsonl")
        assert list(cast["winner"]) == ["a", "tie"]
        assert set(cast["voter"]) == {"Bo"}


class TestCatalogue:
    def test_sort_filter_and_sources(self, front):
        with shown(front, "import slmlab\nslmlab.catalog_explorer()", height=1000) as page:
            rows = page.locator(".slmlab-tall tbody tr")
            total = rows.count()
            assert total >= 20
            shoot(front, page, "catalogue")
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
            page.wait_for_function("document.querySelectorAll('.slmlab-tall tbody tr').length == 2")
            page.locator(".slmlab select").last.select_option("Llama 3.2 1B")
            page.wait_for_selector("a[href*='llama-models']")
            button(page, "Pull").click()
            page.wait_for_selector(".slmlab-wrong:has-text('llama3.2')")


class TestLookAndUse:
    CELLS = (
        side_by_side([SMOL, GEMMA], question="Hi", num_predict=8),
        "slmlab.playground('Hi', num_predict=8)",
        "slmlab.arena(question='Hi')",
        "slmlab.catalog_explorer()",
    )

    @pytest.mark.parametrize("dark", [False, True])
    def test_wcag_aa(self, front, dark):
        from axe_playwright_python.sync_playwright import Axe

        if dark and front.kind == "classic":
            pytest.skip("the classic notebook has no dark theme")
        with shown(front, *self.CELLS, dark=dark, height=1000) as page:
            page.wait_for_selector(".slmlab-tall td", timeout=60_000)
            button(page, "Run").click()
            pressable(page, "All equally good")
            for one in page.locator(".slmlab :text('settings')").all():
                one.click()
            rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
            found = Axe().run(page, context=".slmlab", options={"runOnly": rules})
            wrong = [
                (one["id"], node["html"][:200])
                for one in found.response["violations"]
                for node in one["nodes"]
            ]
            assert not wrong

    def test_a_narrow_pane_needs_no_sideways_scrolling(self, front):
        with shown(front, *self.CELLS[:3], width=480, height=900) as page:
            page.wait_for_selector(".slmlab-arena")
            for box in page.locator(".slmlab").all():
                inside = box.evaluate("one => one.scrollWidth - one.clientWidth")
                assert inside <= 1

    def test_the_keyboard_alone_runs_and_stops(self, front):
        cell = side_by_side([SMOL, GEMMA], question=STORY, num_predict=600)
        with shown(front, cell) as page:
            page.locator(".slmlab textarea").first.focus()
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Run"
            page.keyboard.press("Enter")
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            button(page, "Stop").focus()
            page.keyboard.press("Space")
            pressable(page, "Run")


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
        asked = []
        cell = (
            "import pandas, slmlab\n"
            "slmlab.arena(pandas.read_json('hostile.json', orient='records'))"
        )
        with shown(front, cell) as page:
            page.on("request", lambda request: asked.append(request.url))
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
            assert not [url for url in asked if "pixel" in url]

    @pytest.mark.parametrize("text", HOSTILE)
    def test_an_answer_on_its_way_is_harmless_too(self, text):
        answer = streaming.Answer("m", "p", "http://127.0.0.1:1", state="writing", pieces=[text])
        found = markup.answer_html(answer)
        assert "<script" not in found
        assert "<img" not in found
        assert "onerror=" not in found or "&" in found
        assert "\x1b" not in found
        assert markup.answer_html(answer, reference="other")

    def test_long_answers_are_drawn_in_part(self):
        answer = streaming.Answer("m", "p", "h", state="writing", pieces=["word " * 200_000])
        assert len(markup.answer_html(answer)) < 3 * markup.LONGEST_LIVE
        answer.state = "done"
        found = markup.answer_html(answer)
        assert len(found) < 1.5 * markup.LONGEST_SHOWN
        assert "Save keeps them all" in found


class TestServersThatGo:
    def test_a_killed_server_keeps_the_text_and_comes_back(self, front, shelf_home, tmp_path):
        home = tmp_path / "own"
        give_models(shelf_home, home)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
        cell = (
            f"import slmlab\nslmlab.playground({STORY!r}, {SMOL!r}, host={url!r}, num_predict=1500)"
        )
        with (
            serving(command, url, tmp_path / "log", SLMLAB_HOME=str(home)) as server,
            shown(front, cell) as page,
        ):
            button(page, "Run").click()
            page.wait_for_function(
                "document.querySelector('.slmlab-answer')?.textContent.length > 60",
                timeout=60_000,
            )
            os.kill(server.pid, signal.SIGKILL)
            page.wait_for_selector(".slmlab-wrong")
            assert len(page.locator(".slmlab-answer").inner_text()) > 60
            pressable(page, "Run")
            button(page, "Run").click()
            page.wait_for_selector(".slmlab-said:has-text('No server answers')")
            asked = page.locator(".slmlab textarea").first.input_value()
            assert asked == STORY
            wait_for(lambda: not answers(url), what="the server to be gone")
            with serving(command, url, tmp_path / "log2", SLMLAB_HOME=str(home)):
                button(page, "Run").click()
                page.wait_for_selector(".slmlab-answer em:has-text('writing')", timeout=60_000)
                button(page, "Stop").click()
                pressable(page, "Run")

    def test_without_server_or_models_it_says_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        for show in (slmlab.playground, slmlab.side_by_side):
            assert "slmlab.start()" in show().said.value
        assert "two models" in str(slmlab.arena())
        assert "Llama 3.2" in str(slmlab.catalog_explorer())

    def test_a_vanished_model_is_named(self, embedded):
        panel = slmlab.side_by_side("Hi", host=embedded.url)
        panel.columns[0].model.options = ["gone:1b"]
        panel.run()
        assert "gone:1b" in panel.said.value
        assert not panel.runs
        assert panel.question.value == "Hi"


class TestColab:
    def test_the_callback_draws_and_an_interrupt_stops(
        self, chromium, colab_python, embedded, tmp_path_factory
    ):
        """On Colab nothing is drawn after a callback, so it stays until the answers are there."""
        more = {"COLAB_RELEASE_TAG": "release-colab-test"}
        with (
            start("classic", colab_python, chromium, embedded, tmp_path_factory, **more) as front,
            shown(front, side_by_side([SMOL, GEMMA], question=STORY, num_predict=1500)) as page,
        ):
            button(page, "Run").click()
            page.wait_for_function(
                "document.querySelector('.slmlab-answer')?.textContent.length > 60", timeout=60_000
            )
            front.interrupt(page)
            pressable(page, "Run")
            assert all("stopped" in text for text in texts(page))
            page.locator(".slmlab textarea").first.fill(f"{STORY} Begin at the shore.")
            page.keyboard.press("Tab")
            button(page, "Run").click()
            page.wait_for_selector(".slmlab-answer em:has-text('writing')")
            front.interrupt(page)
            pressable(page, "Run")


class TestOtherFrontEnds:
    @pytest.mark.parametrize("kind", ["voila", "notebook"])
    def test_it_runs_there(self, kind, chromium, embedded, tmp_path_factory):
        cell = side_by_side([SMOL, GEMMA], question="Name a colour.", num_predict=10)
        with (
            start(kind, sys.executable, chromium, embedded, tmp_path_factory) as front,
            shown(front, cell) as page,
        ):
            button(page, "Run").click()
            pressable(page, "All equally good")
            assert page.locator(".slmlab-strip").count() == 2


class TestWithoutAFrontEnd:
    @pytest.mark.parametrize("world", ["newest", "colab"])
    def test_a_rendered_notebook_shows_answers(self, world, request, embedded, tmp_path):
        python = sys.executable if world == "newest" else request.getfixturevalue("colab_python")
        cells = [
            side_by_side([SMOL, GEMMA], question="Name a colour.", num_predict=10),
            "slmlab.playground('Name a fruit.', num_predict=10)",
            "slmlab.arena()",
            "slmlab.catalog_explorer()",
        ]
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=code), tmp_path / "book.ipynb")
        env = os.environ | {"OLLAMA_HOST": embedded.url}
        run(
            python,
            "-m",
            "nbconvert",
            "--to",
            "html",
            "--execute",
            "book.ipynb",
            cwd=tmp_path,
            env=env,
        )
        page = (tmp_path / "book.html").read_text()
        assert page.count("slmlab-strip") > 2
        assert "Name a fruit." in page
        assert "two models of" in page
        assert "Llama 3.2 1B" in page
        view = '<script type="application/vnd.jupyter.widget-view+json"'
        assert view not in page, "the widget itself, which nobody can use"

    def test_a_terminal_gets_text(self, embedded):
        said = str(slmlab.playground("Why?", host=embedded.url))
        assert "chain.invoke({'question': 'Why?'})" in said
        assert SMOL in str(slmlab.side_by_side(host=embedded.url))


class TestAnswers:
    """``slmlab.run.streaming``, without a widget."""

    def test_turn_by_turn_or_at_once_is_in_the_record(self, embedded):
        for at_once, width in ((False, 1), (True, 2)):
            two = [
                streaming.Answer(name, "Name a colour.", embedded.url, {"num_predict": 8})
                for name in (SMOL, GEMMA)
            ]
            done = streaming.finish(streaming.Answers(two, at_once))
            assert [one.state for one in done] == ["done", "done"]
            assert [one.record.in_flight for one in done] == [width, width]
            assert [one.text for one in done] == [one.record.text for one in done]
            assert not any(one.record.cold for one in done)

    def test_stop_ends_a_long_prompt_too(self, embedded):
        """Before the first token nothing is called back, so the connection has to be cut."""
        asked = "word " * 20_000
        one = streaming.Answer(GEMMA, asked, embedded.url, {"num_ctx": 32768, "num_predict": 5})
        both = streaming.Answers([one, streaming.Answer(SMOL, "Hi", embedded.url)])
        both.start()
        wait_for(lambda: one.state == "reading", 60, "the prompt to be read")
        time.sleep(0.3)
        started = time.monotonic()
        both.stop()
        assert not both.running
        assert both.wait(5)
        assert time.monotonic() - started < 5
        assert one.record.stop_reason == "stopped"
        assert results.flags(one.record) == ["stopped"]
        assert both.answers[1].record is None, "what never started leaves no record"

    def test_a_failure_is_that_answers_own(self, embedded):
        two = [
            streaming.Answer("nosuch:1b", "Hi", embedded.url),
            streaming.Answer(SMOL, "Hi", embedded.url, {"num_predict": 3}),
        ]
        streaming.finish(streaming.Answers(two))
        assert [one.state for one in two] == ["failed", "done"]
        assert "nosuch:1b" in two[0].error

    def test_bad_input_is_told_before_anything_starts(self, embedded):
        with pytest.raises(PromptError, match="empty"):
            streaming.Answers([streaming.Answer(SMOL, " ", embedded.url)])
        with pytest.raises(PromptError, match="Did you mean 'temperature'"):
            streaming.Answers([streaming.Answer(SMOL, "a", embedded.url, {"temprature": 1})])
        with pytest.raises(PromptError, match="Two to six"):
            slmlab.side_by_side(names=[SMOL])
        with pytest.raises(SlmlabError, match="two models to vote on"):
            slmlab.arena(results.to_frame([record()], [{"prompt_id": 0, "repeat": 0}]))


class TestCatalogData:
    def test_every_fact_has_a_source(self):
        frame = catalog.table()
        assert frame["name"].is_unique
        for row in frame.to_dict("records"):
            sources = catalog.sources(row["name"])
            known = {fact for fact in catalog.FACTS if row[fact] is not None}
            assert known == set(sources)
            assert all(address.startswith("https://") for address in sources.values())
            assert {"developer", "parameters", "modality"} <= known

    def test_the_tutorials_models_are_there_as_they_really_are(self):
        frame = catalog.table().set_index("name")
        assert frame.loc["Mistral 7B v0.3", "context"] == 32768
        assert frame.loc["Phi-3.5 mini", "modality"] == "text"
        assert frame.loc["Phi-3.5 MoE", "parameters"] > 40e9
        assert frame.loc["Llama 3.2 1B", "parameters"] == 1_235_814_400
        assert catalog.memory(frame.loc["Llama 3.2 1B"].to_dict()) < 2 * 2**30

    def test_what_is_here_and_fits(self, embedded):
        frame = catalog.on_this_machine(host=embedded.url).set_index("name")
        assert frame.loc["SmolLM2 135M", "here"] == SMOL
        assert frame.loc["Llama 3.2 1B", "here"] is None
        assert frame.loc["SmolLM2 135M", "fits"] is True
        nowhere = catalog.on_this_machine(host=f"http://127.0.0.1:{free_port()}")
        assert not nowhere["here"].notna().any()

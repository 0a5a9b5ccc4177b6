"""Other front ends than Jupyter's, servers that go, and none."""

from __future__ import annotations

import os
import signal
import sys

import nbformat
import pytest

from tests.support.engines import BASE, SMOL, give_models
from tests.support.paths import ROOT
from tests.support.processes import answers, free_port, run, serving, wait_for
from tests.support.widgets import STORY, button, pressable, shown, side_by_side, start, texts


class TestServersThatGo:
    def test_a_killed_server_keeps_the_text_and_comes_back(self, front, models_home, tmp_path):
        home = tmp_path / "own"
        give_models(models_home, home)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
        cell = (
            f"import slmlab\nslmlab.playground({SMOL!r}, {STORY!r}, host={url!r}, num_predict=1500)"
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
            page.wait_for_selector(".slmlab-message:has-text('No server answers')")
            typed = page.locator(".slmlab textarea").first.input_value()
            assert typed == STORY
            wait_for(lambda: not answers(url), what="the server to be gone")
            with serving(command, url, tmp_path / "log2", SLMLAB_HOME=str(home)):
                button(page, "Run").click()
                page.wait_for_selector(".slmlab-answer em:has-text('writing')", timeout=60_000)
                button(page, "Stop").click()
                pressable(page, "Run")


class TestColab:
    def test_the_callback_draws_and_an_interrupt_stops(
        self, chromium, colab_python, embedded, tmp_path_factory
    ):
        """On Colab nothing is drawn after a callback, so it stays until the answers are there."""
        more = {"COLAB_RELEASE_TAG": "release-colab-test"}
        with (
            start("classic", colab_python, chromium, embedded, tmp_path_factory, **more) as front,
            shown(front, side_by_side([SMOL, BASE], prompt=STORY, num_predict=1500)) as page,
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
        cell = side_by_side([SMOL, BASE], prompt="Name a colour.", num_predict=10)
        with (
            start(kind, sys.executable, chromium, embedded, tmp_path_factory) as front,
            shown(front, cell) as page,
        ):
            button(page, "Run").click()
            pressable(page, "All equally good")
            assert page.locator(".slmlab-strip").count() == 2
            page.get_by_label("Follow-up").fill("And another one?")
            page.keyboard.press("Tab")
            button(page, "Send").click()
            page.wait_for_selector(".slmlab p.slmlab-turn:has-text('Turn 2')")
            pressable(page, "B is best")
            button(page, "B is best").click()
            page.wait_for_selector(".slmlab-message:has-text('1 vote saved')")


class TestWithoutAFrontEnd:
    @pytest.mark.parametrize("world", ["newest", "colab"])
    def test_a_rendered_notebook_shows_answers(self, world, request, embedded, tmp_path):
        python = sys.executable if world == "newest" else request.getfixturevalue("colab_python")
        cells = [
            side_by_side([SMOL, BASE], prompt="Name a colour.", num_predict=10),
            "slmlab.playground(prompt='Name a fruit.', num_predict=10)",
            "slmlab.arena()",
            "slmlab.catalog_explorer()",
        ]
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=code), tmp_path / "book.ipynb")
        env = os.environ | {"OLLAMA_HOST": embedded.url, "PYTHONPATH": str(ROOT)}
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

"""Notebooks in a real browser: a Jupyter server, Chromium, and pages that run their cells."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from slmlab.processes import end_tree

CELLS = 4
RUN_IN_LAB = """async ([cells, theme]) => {
    const app = window.jupyterapp;
    app.shell.collapseLeft?.();
    const book = app.shell.currentWidget;
    await book.context.ready;
    await book.sessionContext.ready;
    await app.commands.execute('apputils:change-theme', {theme});
    await app.commands.execute('notebook:clear-all-cell-outputs');
    book.content.widgets.forEach((cell, n) => cell.model.sharedModel.setSource(cells[n] || ''));
    book.content.activeCellIndex = 0;
    app.commands.execute('notebook:run-all-cells');
}"""
RUN_IN_CLASSIC = """cells => {
    const book = Jupyter.notebook;
    book.clear_all_output();
    book.get_cells().forEach((cell, n) => cell.set_text(cells[n] || ''));
    book.execute_all_cells();
}"""
# Nobody is told news; and a page does not find that another one has saved its notebook.
LAB_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}


@dataclass
class Front:
    """A front end with a kernel behind it.

    ``lab`` is JupyterLab, ``notebook`` Notebook 7, ``classic`` the one before it; and ``voila``.
    """

    kind: str
    url: str
    folder: Path
    browser: Browser
    page: Page | None = None

    def open(self, *cells: str, dark: bool = False, width: int = 1280, height: int = 720) -> Page:
        """A page with a notebook of these cells, all of them started.

        The same page and kernel for each call, for starting both takes longer than most tests.
        """
        if self.page is None:
            self.page = self._first_page(cells)
        page = self.page
        page.set_viewport_size({"width": width, "height": height})
        if self.kind in ("lab", "notebook"):
            page.evaluate(RUN_IN_LAB, [list(cells), "JupyterLab " + ("Dark" if dark else "Light")])
        elif self.kind == "classic":
            page.evaluate(RUN_IN_CLASSIC, list(cells))
        return page

    def _first_page(self, cells: Sequence[str]) -> Page:
        code = [nbformat.v4.new_code_cell(cell) for cell in (*cells, *[""] * CELLS)[:CELLS]]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(
            nbformat.v4.new_notebook(cells=code, metadata=metadata), self.folder / "book.ipynb"
        )
        # What moves while models answer is drawn sixty times a second, here by the processor.
        page = self.browser.new_context(reduced_motion="reduce").new_page()
        page.set_default_timeout(30_000)
        address = {"lab": "lab/tree", "voila": "voila/render"}.get(self.kind, "notebooks")
        page.goto(f"{self.url}/{address}/book.ipynb", timeout=60_000)
        if self.kind in ("lab", "notebook"):
            page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        elif self.kind == "classic":
            page.wait_for_function(
                "window.Jupyter?.notebook?.kernel?.widget_manager "
                "&& Jupyter.notebook.kernel.is_connected()",
                timeout=60_000,
            )
            # It asks a new kernel for its widgets; one that is made meanwhile would lose its parts.
            page.evaluate("Jupyter.notebook.kernel.widget_manager._loadFromKernel()")
        return page

    def interrupt(self, page: Page) -> None:
        """Interrupt the page's kernel, as the button in its toolbar does."""
        if self.kind == "lab":
            page.evaluate("jupyterapp.commands.execute('kernelmenu:interrupt')")
        else:
            page.evaluate("Jupyter.notebook.kernel.interrupt()")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless; it reaches no other machine.

    Raises:
        FileNotFoundError: there is none here.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise FileNotFoundError("no Chromium here: apt-get install chromium")
    with sync_playwright() as play:
        # Without the last one it looks up names that a page mentions, for up to five seconds each
        # where there is no network.
        flags = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = play.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@contextlib.contextmanager
def front(
    kind: str, python: Path, folder: Path, port: int, browser: Browser, **env: str
) -> Iterator[Front]:
    """A Jupyter server of an environment, with this folder as its root."""
    for name, settings in LAB_SETTINGS.items():
        file = folder / f"settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    books = folder / "books"
    books.mkdir()
    common = [
        "--no-browser",
        f"--port={port}",
        "--ServerApp.token=",
        "--ServerApp.password=",
        f"--ServerApp.root_dir={books}",
        "--allow-root",
    ]
    commands = {
        "lab": ["jupyterlab", *common, "--LabApp.expose_app_in_browser=True"],
        "notebook": ["notebook", *common, "--JupyterNotebookApp.expose_app_in_browser=True"],
        "classic": [
            "notebook",
            *common[:2],
            "--NotebookApp.token=",
            "--NotebookApp.password=",
            "--allow-root",
            f"--NotebookApp.notebook_dir={books}",
        ],
        "voila": ["voila", f"--port={port}", "--no-browser", str(books)],
    }
    command = [str(python), "-m", *commands[kind]]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            cwd=books,
            env={
                **os.environ,
                **env,
                "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "IPYTHONDIR": str(folder / "ipython"),
                "JUPYTER_RUNTIME_DIR": str(folder / "run"),
            },
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(url, timeout=2, trust_env=False, verify=False)
                break
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Front(kind, url, books, browser)
    finally:
        end_tree(psutil.Process(process.pid))
        process.wait()


def wcag_violations(page, context: str) -> list[tuple[str, str]]:
    """What axe finds against WCAG 2.1 AA in a part of a page: the rule, and the element."""
    from axe_playwright_python.sync_playwright import Axe

    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    found = Axe().run(page, context=context, options={"runOnly": rules})
    return [
        (one["id"], node["html"][:200])
        for one in found.response["violations"]
        for node in one["nodes"]
    ]

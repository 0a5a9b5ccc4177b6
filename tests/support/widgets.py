"""Widgets on a page of a front end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.support import browser
from tests.support.paths import ROOT
from tests.support.processes import free_port

SHOTS = os.environ.get("TEST_SHOTS")


# Both models write on and on here.
STORY = "Write a long story about the sea, with many chapters."


def start(kind, python, chromium, server, tmp_path_factory, **env):
    folder = tmp_path_factory.mktemp(kind)
    return browser.front(
        kind,
        Path(python),
        folder,
        free_port(),
        chromium,
        OLLAMA_HOST=server.url,
        SLMLAB_HOME=str(folder / "home"),
        PYTHONPATH=str(ROOT),  # slmlab is not in Colab's environment
        **env,
    )


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


def shoot(front, page, name: str, what: str = ".slmlab") -> None:
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
        page.locator(what).first.screenshot(path=picture)


def button(page, text: str, nth: int = 0):
    return page.locator(f".slmlab button:has-text('{text}')").nth(nth)


def pressable(page, text: str, nth: int = 0, timeout: float = 90_000) -> None:
    page.wait_for_function(
        "([text, nth]) => { const found = [...document.querySelectorAll('.slmlab button')]"
        ".filter(one => one.textContent.includes(text)); "
        "return found[nth] && !found[nth].disabled; }",
        arg=[text, nth],
        timeout=timeout,
        polling=100,  # by default once a frame, for which Chromium draws sixty in a second
    )


def texts(page) -> list[str]:
    return [one.inner_text() for one in page.locator(".slmlab-answer").all()]


def side_by_side(models, **options) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"import slmlab\nlab = slmlab.side_by_side({models!r}, {given})\nlab"

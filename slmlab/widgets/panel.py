"""How a widget shows itself: live where somebody can click, as text or a still elsewhere."""

from __future__ import annotations

import contextlib
import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from slmlab.errors import SlmlabError
from slmlab.show import display

STYLE = f"<style>{(Path(__file__).parent / 'style.css').read_text(encoding='utf-8')}</style>"


# How a widget shows itself.


class Panel:
    """A widget with its state; the last line of a cell shows it.

    Where nobody can click (nbconvert, papermill, nbmake) it shows ``static_html()``, and in a
    terminal ``str()``.
    """

    def __init__(self, name: str) -> None:
        self.said = widgets.HTML()
        self.box = widgets.VBox([widgets.HTML(STYLE), self.said])
        self.box.add_class("slmlab")
        self.box.add_class(f"slmlab-{name}")

    def show(self, *children: widgets.Widget) -> None:
        """Put the parts on the screen; what is said to the reader stands below them."""
        self.box.children = (self.box.children[0], *children, self.said)

    def say(self, text: str, wrong: bool = False) -> None:
        """Tell the reader something; nothing takes it away."""
        kind = "slmlab-said slmlab-wrong" if wrong else "slmlab-said"
        role = "alert" if wrong else "status"
        lines = html.escape(text).replace("\n", "<br>")
        self.said.value = f"<div class='{kind}' role='{role}'>{lines}</div>" if text else ""

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """Say what goes wrong instead of raising it: in a callback nobody else would show it."""
        try:
            yield
        except SlmlabError as error:
            self.say(str(error), wrong=True)

    def static_html(self) -> str:
        """The widget for those who can only read."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _ipython_display_(self) -> None:
        from IPython.display import display as show

        bundle: dict[str, Any] = {"text/plain": str(self)}
        if unattended():
            bundle["text/html"] = f"{STYLE}<div class='slmlab'>{self.static_html()}</div>"
        elif display.in_notebook():
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.box.model_id,
            }
        show(bundle, raw=True)

    def __repr__(self) -> str:
        return str(self)


def unattended() -> bool:
    """Whether a notebook runs with nobody to click: nbconvert, papermill, nbmake.

    Such a runner says that it cannot answer ``input()``. So does Voilà, which has readers.
    """
    if not display.in_notebook():
        return False
    from IPython import get_ipython

    voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return not (getattr(get_ipython().kernel, "_allow_stdin", True) or voila)

"""The base of all widgets: live where somebody can click, HTML or text elsewhere."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.show import display
from slmlab.show.figure import CSS_COLOURS

STYLE = Markup("<style>.slmlab {{ {}}}\n{}</style>").format(
    CSS_COLOURS,
    # Our own file, in which `>` selects children.
    Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8")),  # noqa: S704
)


class Panel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """An ipywidget with its state: the last line of a cell shows it, and it goes into other boxes.

    Shown by itself where nobody can click (nbconvert, papermill, nbmake) it is ``static_html()``,
    and in a terminal ``str()``. Inside another widget it is live.

    ``message`` is the line below the parts in which the widget tells how things went, and ``said``
    what stands in it.
    """

    def __init__(self, name: str) -> None:
        style, message = widgets.HTML(STYLE), widgets.HTML()
        super().__init__([style, message])
        self._style, self.message = style, message
        self.said = ""
        self._drawing = threading.RLock()
        self.add_class("slmlab")
        self.add_class(f"slmlab-{name}")

    def arrange(self, *parts: widgets.Widget) -> None:
        """Put the parts on the screen; what is said to the reader stands below them."""
        self.children = (self._style, *parts, self.message)

    def draw(self) -> None:
        """Bring everything that is shown up to date.

        Kernels may handle changes of two parts at once, in threads (ipykernel 7 does). So they draw
        one after the other, and who draws last knows of all changes.
        """
        with self._drawing:
            self._draw()

    def _draw(self) -> None:
        raise NotImplementedError

    def say(self, text: str, wrong: bool = False) -> None:
        """Tell the reader something, until the next thing is said; nothing takes it away."""
        self.said = text
        kind = "slmlab-message slmlab-wrong" if wrong else "slmlab-message"
        role = "alert" if wrong else "status"
        lines = Markup("<br>").join(text.split("\n"))
        html = Markup("<div class='{}' role='{}'>{}</div>").format(kind, role, lines)
        self.message.value = html if text else ""

    @contextlib.contextmanager
    def errors_shown(self) -> Iterator[None]:
        """Say what goes wrong instead of raising it: in a callback nobody else would show it."""
        try:
            yield
        except SlmlabError as error:
            self.say(str(error), wrong=True)

    def static_html(self) -> str:
        """The widget for those who can only read."""
        return Markup("<pre>{}</pre>").format(str(self))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": str(self)}
        if unattended():
            bundle["text/html"] = f"{STYLE}<div class='slmlab'>{self.static_html()}</div>"
        elif display.in_notebook():
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            }
        return bundle

    def _ipython_display_(self, **_: Any) -> None:
        # What ipywidgets 7 is shown by; it would show the live widget always.
        from IPython.display import display as show

        show(self._repr_mimebundle_(), raw=True)

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

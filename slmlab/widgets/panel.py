"""The base class of all widgets: live if somebody can click, else HTML or text."""

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
from slmlab.show import display, markdown
from slmlab.show.figure import CSS_COLOURS

STYLE = markdown.STYLE + Markup("<style>.slmlab {{ {}}}\n{}</style>").format(
    CSS_COLOURS,
    # Our own file, in which `>` selects children.
    Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8")),  # noqa: S704
)


class Panel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """An ipywidget: the last line of a cell shows it, and it can be put into other boxes.

    Where nobody can click (nbconvert, papermill, nbmake) it is shown as ``static_html()``, and in a
    terminal as ``str()``. Inside another widget it is always live.

    ``message`` is the line below the parts for messages to the user, and ``message_text`` its text.
    """

    def __init__(self, name: str) -> None:
        style, message = widgets.HTML(STYLE), widgets.HTML()
        super().__init__([style, message])
        self._style, self.message = style, message
        self.message_text = ""
        self._drawing = threading.RLock()
        self.add_class("slmlab")
        self.add_class(f"slmlab-{name}")

    def arrange(self, *parts: widgets.Widget) -> None:
        """Lay out the parts, with the messages to the user below them."""
        self.children = (self._style, *parts, self.message)

    def draw(self) -> None:
        """Update everything on the screen.

        Kernels may handle changes of two parts at the same time, in threads (ipykernel 7 does). So
        only one thread draws at a time, and the last one sees all changes.
        """
        with self._drawing:
            self._draw()

    def _draw(self) -> None:
        raise NotImplementedError

    def say(self, text: str, wrong: bool = False) -> None:
        """Show a message to the user; it stays until the next one."""
        self.message_text = text
        kind = "slmlab-message slmlab-wrong" if wrong else "slmlab-message"
        role = "alert" if wrong else "status"
        lines = Markup("<br>").join(text.split("\n"))
        html = Markup("<div class='{}' role='{}'>{}</div>").format(kind, role, lines)
        self.message.value = html if text else ""

    @contextlib.contextmanager
    def errors_shown(self) -> Iterator[None]:
        """Show errors as messages instead of raising them; nothing shows those of callbacks."""
        try:
            yield
        except SlmlabError as error:
            self.say(str(error), wrong=True)

    def static_html(self) -> str:
        """The widget as static HTML."""
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
        # ipywidgets 7 is displayed by this method, which would always show the live widget.
        from IPython.display import display as show

        show(self._repr_mimebundle_(), raw=True)

    def __repr__(self) -> str:
        return str(self)


def unattended() -> bool:
    """Whether a notebook runs without a user who could click: nbconvert, papermill, nbmake.

    Such a runner does not allow ``input()``. Nor does Voilà, which does have users.
    """
    if not display.in_notebook():
        return False
    from IPython import get_ipython

    voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return not (getattr(get_ipython().kernel, "_allow_stdin", True) or voila)

"""Buttons, fields and rows of widgets, and the validation of their arguments."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from slmlab import models
from slmlab.engines import server
from slmlab.errors import ModelError, PromptError
from slmlab.models.inventory import validate_model
from slmlab.run.options import Prompt

log = logging.getLogger(__name__)


def button(text: str, call: Callable[[], None], hint: str = "", style: str = "") -> widgets.Button:
    """A button as wide as its text."""
    one = widgets.Button(
        description=text,
        tooltip=hint or text,
        button_style=style,
        layout=widgets.Layout(width="auto"),
    )
    one.on_click(lambda _: call())
    return one


def row(*children: widgets.Widget, kind: str = "row") -> widgets.Box:
    """Parts beside each other, wrapped to further lines on narrow pages."""
    box = widgets.Box(list(children))
    box.add_class(f"slmlab-{kind}")
    return box


def folded(title: str, *children: widgets.Widget) -> widgets.Accordion:
    """Parts below each other under a title that opens and closes them; closed at first."""
    box = widgets.Accordion(children=[widgets.VBox(list(children))])
    # ipywidgets 7 knows no `titles`.
    box.set_title(0, title)
    box.selected_index = None
    return box


def show_state(box: widgets.Widget, state: str) -> None:
    """Let a box look like the state of the answer in it; the style sheet says how."""
    kept = [name for name in box._dom_classes if not name.startswith("slmlab-is-")]
    box._dom_classes = (*kept, f"slmlab-is-{state}")


def mark(box: widgets.Widget, name: str, on: bool) -> None:
    """Give a box a class of the style sheet, or take it away."""
    if on != (f"slmlab-{name}" in box._dom_classes):
        (box.add_class if on else box.remove_class)(f"slmlab-{name}")


def text_area(label: str, value: str, hint: str, rows: int = 2) -> widgets.Textarea:
    """A field for text, as wide as the widget."""
    return widgets.Textarea(
        description=label,
        value=value,
        rows=rows,
        placeholder=hint,
        layout=widgets.Layout(width="auto"),
    )


def system_area(value: str) -> widgets.Textarea:
    """A field for the system prompt."""
    return text_area("System", value, "How the model should behave; may stay empty")


def checkbox(label: str) -> widgets.Checkbox:
    """A box to tick, empty at first, as wide as its label."""
    return widgets.Checkbox(
        description=label, value=False, indent=False, layout=widgets.Layout(width="auto")
    )


def model_names(models: Any) -> list[str] | None:
    """The model names that a widget was given; None to offer all models on the server.

    Raises:
        ModelError: something else was given.
    """
    if models is None:
        return None
    given = [*models] if isinstance(models, Iterable) and not isinstance(models, str) else [models]
    # A name may come twice, to see a model beside itself.
    return [validate_model(name) for name in given] or [validate_model(models)]


def resolved(names: Iterable[str] | None, host: str) -> list[str]:
    """Full names of these models, or of all models on the server.

    Raises:
        ModelError: a model is missing, or there is none at all.
        ServerError: no server answers.
    """
    if names is not None:
        return [models.resolve(name, host=host).name for name in names]
    found = models.writers(host=host)
    if not found:
        raise ModelError(
            "There is no model here yet. Get some with slmlab.ready(), then try again."
        )
    return found


def host_here(host: str | None) -> str:
    """The server that a widget talks to."""
    return server.address_of(host)


def first_text(prompt: Any) -> str:
    """The text that a widget starts with, checked.

    Raises:
        PromptError: it is not a text.
    """
    if prompt is not None and not isinstance(prompt, str):
        raise PromptError(f"The prompt is a text; got {prompt!r}.")
    return prompt or ""


def with_system(text: str, system: str) -> Prompt:
    """A prompt with its system prompt, if there is one."""
    if not system.strip():
        return text
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def new_file(kind: str, ending: str) -> Path:
    """A new path in the current folder, with the time in its name."""
    return Path(f"{kind}-{datetime.now():%Y-%m-%d-%H%M%S}.{ending}")


def user() -> str:
    """The name of this machine's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        log.debug("this user has no name: %r", error)
        return "anonymous"

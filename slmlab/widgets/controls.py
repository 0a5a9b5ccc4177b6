"""Buttons, rows, and what a widget starts with."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import ipywidgets as widgets

from slmlab import models
from slmlab.engines import server
from slmlab.errors import PromptError

# Small things.


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
    """Parts beside each other, in further lines where the page is narrow."""
    box = widgets.Box(list(children))
    box.add_class(f"slmlab-{kind}")
    return box


def chosen(models_wanted: Iterable[str] | str | None, host: str) -> list[str]:
    """Full names of the models to offer: those asked for, else all that the server has.

    Raises:
        ModelError: a model is not there, or there is none at all.
        ServerError: no server answers.
    """
    from slmlab.errors import ModelError

    if isinstance(models_wanted, str):
        models_wanted = [models_wanted]
    if models_wanted is not None:
        return [models.resolve(name, host).name for name in models_wanted]
    names = [one.name for one in models.installed(host)]
    if not names:
        raise ModelError(
            "There is no model here yet. Get some with slmlab.ready(), then press Look again."
        )
    return names


def host_here(host: str | None) -> str:
    """The server that a widget talks to."""
    return host or server.host()


def first_text(question: object) -> str:
    """The text that a widget starts with; ``PromptError`` where it is none."""
    if question is not None and not isinstance(question, str):
        raise PromptError(f"The question is a text; got {question!r}.")
    return question or ""


def new_file(kind: str, ending: str) -> Path:
    """A path in the current folder that is not taken, with the time in its name."""
    return Path(f"{kind}-{datetime.now():%Y-%m-%d-%H%M%S}.{ending}")


def user() -> str:
    """The name of who uses this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "anonymous"

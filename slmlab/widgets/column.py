"""One model's place in ``side_by_side``: its name, its answer, its numbers, its vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.run.streaming import Answer
from slmlab.widgets import controls, markup
from slmlab.widgets.column_settings import ColumnSettings, SettingsFields
from slmlab.widgets.measures import strips_html


class Column(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The parts of one column; ``vote`` and ``set_reference`` are called with its letter."""

    def __init__(
        self,
        letter: str,
        vote: Callable[[str], None],
        set_reference: Callable[[str, bool], None],
        shared: SettingsFields,
    ) -> None:
        wide = widgets.Layout(width="auto")
        model = widgets.Dropdown(description=f"Model {letter}", layout=wide)
        hidden, answer, strip = widgets.HTML(), widgets.HTML(), widgets.HTML()
        best = controls.button(
            f"{letter} is best", lambda: vote(letter), f"Vote for answer {letter}"
        )
        reference = widgets.ToggleButton(
            description="Reference",
            tooltip=f"Mark what differs from answer {letter}",
            layout=widgets.Layout(width="auto"),
        )
        reference.observe(lambda change: set_reference(letter, change["new"]), "value")
        settings = ColumnSettings(letter, shared)
        buttons = controls.row(best, reference)
        super().__init__([model, hidden, settings, answer, strip, buttons])
        self.letter, self.model, self.hidden = letter, model, hidden
        self.answer, self.strip, self.best, self.reference = answer, strip, best, reference
        self.settings = settings
        self._drawn: tuple[object, ...] | None = None
        self.add_class("slmlab-card")
        self.add_class(f"slmlab-hue-{letter.lower()}")

    def offer(self, names: Sequence[str], model: str | None) -> None:
        """Offer these models, and select one of them if it is among them."""
        self.model.options = names
        if model in names:
            self.model.value = model

    @property
    def choice(self) -> tuple[Any, ...]:
        """The model with the column's settings, which blind columns exchange."""
        return self.model.value, self.settings.state

    @choice.setter
    def choice(self, choice: tuple[Any, ...]) -> None:
        self.model.value, self.settings.state = choice

    def hide(self, hidden: bool) -> None:
        """Hide or show the model's name."""
        # Settings of its own would tell two columns of one model apart.
        for part in (self.model, self.settings):
            part.layout.display = "none" if hidden else ""
        title = Markup("<span class='slmlab-title'>Model {}</span>").format(self.letter)
        self.hidden.value = title if hidden else ""

    def set_buttons(self, running: bool, ended: bool, to_vote: bool) -> None:
        """Enable or disable the buttons: for running answers, a finished one, and a due vote."""
        self.model.disabled = running
        self.best.disabled = not (to_vote and ended)
        self.reference.disabled = running or not ended

    def choose(self, best: bool) -> None:
        """Show that this answer was voted the best, or that it was not."""
        controls.mark(self, "chosen", best)
        self.best.description = f"★ {self.letter} is best" if best else f"{self.letter} is best"

    def static_html(self) -> Markup:
        """The column as static HTML."""
        title = markup.TITLE.format(str(self.model.value))
        return title + markup.shown(self.answer) + markup.shown(self.strip)

    def draw(self, answer: Answer | None, reference: str | None) -> None:
        """Draw an answer if it has changed since it was last drawn."""
        controls.show_state(self, answer.state if answer else "idle")
        if answer is None:
            self.answer.value = Markup("<div class='slmlab-answer'></div>")
            return
        seconds = markup.seconds_in_state(answer)
        now = (id(answer), answer.state, len(answer.pieces), reference, answer.error, seconds)
        if self._drawn != now:
            self._drawn = now
            self.answer.value = markup.answer_html(answer, reference, f"model {self.letter}")


def draw_strips(columns: Sequence[Column], answers: Sequence[Answer]) -> None:
    """Draw the numbers below each finished answer."""
    records = [
        one.record if one.state == "done" and one.record and not one.record.error else None
        for one in answers
    ]
    # There may be more columns than answers, or fewer.
    strips = [*strips_html(records), *[Markup()] * len(columns)]
    for column, strip in zip(columns, strips, strict=False):
        column.strip.value = strip

"""The earlier turns of a conversation, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.run import results
from slmlab.show import sanitize
from slmlab.widgets import markup
from slmlab.widgets.conversation import LETTERS, Turn

SECTION = Markup(
    "<details class='slmlab-turn' open><summary><strong>Turn {}</strong> · {}</summary>"
    "<div class='slmlab-columns'>{}</div></details>"
)
QUESTION = Markup("<p class='slmlab-turn'><strong>Turn {}</strong> · {}</p>")


class Transcript(widgets.HTML):  # type: ignore[misc]  # ipywidgets has no types
    """The turns before the last one, and the question of the last; nothing for a single turn."""

    def __init__(self) -> None:
        super().__init__(layout=widgets.Layout(width="auto"))
        self._drawn: list[tuple[int, int | None, bool]] = []

    def draw(self, turns: Sequence[Turn], hidden: bool = False) -> None:
        """Draw the turns, if they are others than before or were voted on."""
        now = [(id(turn), turn.best, hidden) for turn in turns]
        if self._drawn != now:
            self._drawn = now
            self.value = (
                earlier_html(turns[:-1], hidden)
                + QUESTION.format(len(turns), sanitize.harmless(turns[-1].text))
                if len(turns) > 1
                else ""
            )


def earlier_html(turns: Sequence[Turn], hidden: bool = False) -> Markup:
    """These turns, each with its question and its answers beside each other.

    With ``hidden`` the columns are called by their letters.
    """
    return Markup().join(
        SECTION.format(number, sanitize.harmless(turn.text), _answers_html(turn, number, hidden))
        for number, turn in enumerate(turns, 1)
    )


def _answers_html(turn: Turn, number: int, hidden: bool) -> Markup:
    parts = []
    for place, (answer, name) in enumerate(zip(turn.answers, turn.names, strict=True)):
        letter = LETTERS[place]
        title = f"Model {letter}" if hidden else name
        if turn.voted and turn.best == place:
            title += " ★ best"
        flags = results.flags(answer.record) if answer.record and not hidden else []
        body = markup.answer_html(answer, name=f"model {letter} in turn {number}")
        parts.append(
            Markup("<div class='slmlab-card slmlab-hue-{}'>{}{}{}</div>").format(
                letter.lower(), markup.TITLE.format(title), body, markup.flags_html(flags)
            )
        )
    return Markup().join(parts)

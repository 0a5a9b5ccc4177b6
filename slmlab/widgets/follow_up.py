"""The field for the next turn of a conversation, and where it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets as widgets

from slmlab.widgets import controls, markup
from slmlab.widgets.conversation import Point, Turn, points, too_long


class FollowUp(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A text field, the place where the conversation goes on, and buttons to send and to export.

    Hidden as long as there is no answer to go on from.
    """

    def __init__(self, hint: str, send: Callable[[], None], export: Callable[[], None]) -> None:
        self.text = controls.text_area("Follow-up", "", hint)
        self.place = widgets.Dropdown(
            description="Goes on from", layout=widgets.Layout(width="28em", max_width="100%")
        )
        self.send_button = controls.button("Send", send, "Ask this after the answers so far")
        self.export_button = controls.button(
            "Conversation as JSON", export, "A file that slmlab.compare() takes as its prompts"
        )
        self.note = widgets.HTML()
        super().__init__(
            [self.note, self.text, controls.row(self.send_button, self.place, self.export_button)]
        )
        self._turns: Sequence[Turn] = ()
        self._copied = ""
        self.place.observe(lambda _: self._copy(), "value")
        self.layout.display = "none"

    def offer(self, turns: Sequence[Turn], running: bool) -> None:
        """Offer the points of a conversation, and say if it was longer than the context."""
        if [id(one) for one in turns] != [id(one) for one in self._turns]:
            self._turns = tuple(turns)
            self.place.options = found = points(turns)
            # ipywidgets 8 selects nothing by itself.
            self.place.value = found[0][1] if found else None
        answers = turns[-1].answers if turns and not running else []
        self.note.value = markup.note_html(too_long(answers))
        begun = len(turns) > 1 or (bool(turns) and not running)
        self.layout.display = "" if begun else "none"
        for part in (self.send_button, self.place, self.export_button):
            part.disabled = running or not turns

    @property
    def point(self) -> Point:
        """Where the next turn goes on."""
        return self.place.value or Point()

    def clear(self) -> None:
        """Make room for the next text."""
        self.text.value = self._copied = ""

    def _copy(self) -> None:
        """Offer the text of a turn that is asked again, unless something else was typed."""
        if self.text.value in ("", self._copied):
            again = self.point.again and self.point.after < len(self._turns)
            self._copied = self._turns[self.point.after].text if again else ""
            self.text.value = self._copied

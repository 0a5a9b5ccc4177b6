"""How probable each token of an answer was, below the answer, for who asks for it."""

from __future__ import annotations

import ipywidgets as widgets

from slmlab.run.logprobs import SOME
from slmlab.run.record import Generation
from slmlab.show.tokens import show_tokens
from slmlab.widgets import controls


class TokenView(widgets.HTML):  # type: ignore[misc]  # ipywidgets has no types
    """The shaded answer; ``switch`` is the box by which a reader asks for it.

    The probabilities have to be asked for with the answer, so it takes effect with the next run.
    """

    def __init__(self) -> None:
        super().__init__(layout=widgets.Layout(width="auto"))
        self.switch = controls.checkbox("Token probabilities")

    @property
    def alternatives(self) -> int:
        """How many alternatives of each token to record; 0: no probabilities."""
        return SOME if self.switch.value else 0

    def draw(self, record: Generation | None) -> None:
        """Show an answer's tokens, if it has probabilities."""
        known = record is not None and record.logprobs
        self.value = show_tokens(record)._repr_html_() if record is not None and known else ""

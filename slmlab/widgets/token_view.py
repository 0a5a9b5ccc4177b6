"""How probable each token of the answers was, below them, for who asks for it."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets

from slmlab.run.logprobs import SOME, tokens
from slmlab.run.record import Generation
from slmlab.show.tokens import TokensView
from slmlab.widgets import controls


class TokenView(widgets.HTML):  # type: ignore[misc]  # ipywidgets has no types
    """The shaded answers beside each other; ``switch`` is the box by which a reader asks for them.

    Where one parts from the first, a frame marks the token. The probabilities have to be asked for
    with the answer, so it takes effect with the next run.
    """

    def __init__(self) -> None:
        super().__init__(layout=widgets.Layout(width="auto"))
        self.switch = controls.checkbox("Token probabilities")
        self._drawn: tuple[object, ...] = ()

    @property
    def alternatives(self) -> int:
        """How many alternatives of each token to record; 0: no probabilities."""
        return SOME if self.switch.value else 0

    def draw(self, records: Mapping[str, Generation | None]) -> None:
        """Show the tokens of those answers that have probabilities, by their titles."""
        known = {title: one for title, one in records.items() if one is not None and one.logprobs}
        now = (*known, *map(id, known.values()))
        if now != self._drawn:
            self._drawn = now
            tables = [tokens(record) for record in known.values()]
            self.value = TokensView([*known], tables)._repr_html_() if known else ""

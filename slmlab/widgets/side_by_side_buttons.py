"""The buttons of ``slmlab.side_by_side``, and when each of them can be pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from slmlab.widgets import controls, markup
from slmlab.widgets.columns import FEWEST, MOST

if TYPE_CHECKING:
    from slmlab.widgets.side_by_side import SideBySide

TURN_BY_TURN = "In turn: each model has the machine to itself, so times can be compared."
AT_ONCE = "All at once: quicker on a GPU, but models share it, so times cannot be compared."


class Buttons:
    """The buttons of a widget; each calls a method of it.

    Attributes:
        blind: whether names are hidden until the vote.
        at_once: whether all models answer at once.
        run_row: the row for running, with the switch for token probabilities.
        vote_row: the row for voting, with the ballot's fields.
        result_row: the row for results.
        timing_note: what ``at_once`` means for times.
    """

    def __init__(self, lab: SideBySide) -> None:
        button, checkbox = controls.button, controls.checkbox
        self.run = button("Run", lab.run, "Put the prompt to all models", "primary")
        self.stop = button("Stop", lab.stop, "End all answers; what has come stays")
        self.again = button("Another seed", lab.again, "The same with the next seed")
        self.add = button("+ Model", lab.add, "One more column")
        self.drop = button("− Model", lab.drop, "One column less")
        self.at_once, self.blind = checkbox("All at once"), checkbox("Hide names until I vote")
        self.tie = button("All equally good", lambda: lab.vote("tie"), "Vote for none")
        self.bad = button("All are bad", lambda: lab.vote("both bad"), "Vote for none")
        self.to_table = button("To a table", lab.to_table, "All runs, also as CSV")
        self.to_report = button("To a report", lab.to_report, "One HTML file")
        self.run_row: widgets.Box = controls.row(
            self.run,
            self.stop,
            self.again,
            self.add,
            self.drop,
            self.at_once,
            self.blind,
            lab.token_view.switch,
        )
        ballot = lab.ballot
        self.vote_row: widgets.Box = controls.row(
            self.tie, self.bad, ballot.comment, ballot.tags, ballot.voter
        )
        self.timing_note = widgets.HTML()
        self.at_once.observe(lambda _: self._note_timing(), "value")
        self._note_timing()
        self.result_row: widgets.Box = controls.row(self.to_table, self.to_report)

    def enable(self, running: bool, answered: bool, to_vote: bool, columns: int) -> None:
        """Let those be pressed that do something now."""
        self.tie.disabled = self.bad.disabled = not to_vote
        self.to_table.disabled = self.to_report.disabled = running or not answered
        self.again.disabled = running or not answered
        self.add.disabled = running or columns >= MOST
        self.drop.disabled = running or columns <= FEWEST
        self.stop.disabled = not running
        self.run.disabled = self.at_once.disabled = self.blind.disabled = running

    def _note_timing(self) -> None:
        note = AT_ONCE if self.at_once.value else TURN_BY_TURN
        self.timing_note.value = markup.QUIET.format(note)

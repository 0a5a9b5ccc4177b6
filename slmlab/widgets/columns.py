"""The columns of ``side_by_side``: they come and go, share a reference, and are drawn together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from slmlab.run.options import Prompt
from slmlab.run.streaming import Answer
from slmlab.widgets import controls
from slmlab.widgets.column import Column
from slmlab.widgets.column_settings import SettingsFields
from slmlab.widgets.conversation import LETTERS, Setup

FEWEST, MOST = 2, 6
# Seconds after which no further answer is drawn in a frame; the next one begins with it.
LONGEST_FRAME = 0.05


class Columns(widgets.Box):  # type: ignore[misc]  # ipywidgets has no types
    """Two to six columns; ``vote`` is called with the letter of the best, ``draw`` to draw all."""

    def __init__(
        self, vote: Callable[[str], None], draw: Callable[[], None], shared: SettingsFields
    ) -> None:
        self.children: tuple[Column, ...]
        super().__init__()
        self.add_class("slmlab-columns")
        self._vote, self._draw_all, self._shared = vote, draw, shared
        self.names: list[str] = []
        self._first = 0

    def __iter__(self) -> Any:
        return iter(self.children)

    def __len__(self) -> int:
        return len(self.children)

    def begin(
        self, names: list[str], models: list[str] | None, own: Sequence[Mapping[str, Any]]
    ) -> None:
        """Make the first columns, for these models or else for the first three on the server.

        Raises:
            PromptError: a setting of a column is not usable.
        """
        self.names = names
        start: list[str | None] = [*(models or names[:3])]
        fewest = max(FEWEST, len(own))
        if len(start) < fewest:
            start = [*start, *start, *[None] * fewest][:fewest]
        for name in start:
            self.add(name)
        for column, settings in zip(self.children, own, strict=False):
            if settings:
                column.settings.start(settings)

    def add(self, name: str | None) -> None:
        """Add a column for a model."""
        letter = LETTERS[len(self)]
        column = Column(letter, self._vote, self._set_reference, self._shared)
        column.offer(self.names, name)
        self.children = (*self.children, column)

    def add_next(self) -> None:
        """Add a column, with the next model that has none yet."""
        shown = {column.model.value for column in self}
        unused = [name for name in self.names if name not in shown]
        if len(self) < MOST:
            self.add(unused[0] if unused else next(iter(self.names), None))

    def drop(self) -> None:
        """Remove the last column."""
        if len(self) > FEWEST:
            self.children = self.children[:-1]

    def update(self, host: str) -> None:
        """Offer the models that are on the server now.

        Raises:
            ModelError: there is none, or a selected one is gone.
            ServerError: no server answers.
        """
        names = controls.resolved(None, host)
        for column in self:
            if column.model.value is not None:
                controls.resolved([column.model.value], host)
        if names != self.names:
            self.names = names
            for place, column in enumerate(self):
                keep = column.model.value
                column.offer(names, keep if keep in names else names[place % len(names)])

    @property
    def setups(self) -> list[Setup]:
        """The settings of each column."""
        return [column.settings.setup for column in self]

    def shuffle(self) -> None:
        """Exchange the models, with their settings, between the columns at random."""
        choices = [column.choice for column in self]
        random.shuffle(choices)
        for column, choice in zip(self, choices, strict=True):
            column.choice = choice

    def next_seed(self) -> None:
        """Add 1 to the seed, also in the columns' own settings."""
        for settings in {self._shared, *(column.settings.fields for column in self)}:
            if settings is not None:
                settings.options.fields["seed"].value += 1

    def answers(self, prompts: Sequence[Prompt], host: str, logprobs: int) -> list[Answer]:
        """An answer of each column to its prompt, yet to be generated; folds the settings."""
        for column in self:
            column.settings.name_difference()
            column.settings.fold.selected_index = None
        return [
            Answer(column.model.value, prompt, host, setup.options, setup.think, logprobs)
            for column, prompt, setup in zip(self, prompts, self.setups, strict=True)
        ]

    def _set_reference(self, letter: str, on: bool) -> None:
        for column in self:
            if on and column.letter != letter:
                column.reference.value = False
        self._draw_all()

    def draw(self, answers: Sequence[Answer], hidden: bool, best: int | None = None) -> None:
        """Draw the answers, compared with the reference if there is one; ``best`` was voted so."""
        started = time.perf_counter()
        referred = next((place for place, one in enumerate(self) if one.reference.value), None)
        reference = None
        if referred is not None and referred < len(answers):
            reference = answers[referred].text
        # Where drawing is slow, what is being written takes turns; all else is drawn at once.
        drawn, later = 0, []
        for place in sorted(range(len(self)), key=lambda place: place < self._first):
            column = self.children[place]
            answer = answers[place] if place < len(answers) else None
            if answer is not None and answer.state == "writing":
                if drawn and time.perf_counter() - started > LONGEST_FRAME:
                    later.append(place)
                    continue
                drawn += 1
            column.hide(hidden)
            column.choose(place == best)
            column.draw(answer, None if place == referred else reference)
        self._first = later[0] if later else 0

    def set_buttons(self, answers: Sequence[Answer], running: bool, to_vote: bool) -> None:
        """Enable or disable the columns' buttons."""
        for place, column in enumerate(self):
            ended = place < len(answers) and answers[place].state in ("done", "stopped")
            column.set_buttons(running, ended, to_vote)

"""The ratings from the votes of a class, as the votes come in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.errors import ResultsError
from slmlab.evaluation.vote_reader import VoteReader
from slmlab.show import display
from slmlab.widgets import controls, markup
from slmlab.widgets.panel import Panel, unattended
from slmlab.widgets.ratings_table import votes_html

if TYPE_CHECKING:
    import pandas as pd

# Seconds between two looks at the votes.
EVERY = 2.0

log = logging.getLogger(__name__)


def leaderboard(votes: str | Path = "votes.jsonl") -> Leaderboard:
    """Show the ratings of the models from a class's votes, up to date as the votes come in.

    The voters use ``slmlab.arena(votes=folder)`` with the same folder. It is looked at every two
    seconds; a file that somebody is writing, or that cannot be read, costs no other vote. On Colab,
    where nothing is redrawn while no cell runs, *Follow* looks until the kernel is interrupted.

    Args:
        votes: the folder of the votes, or one file of votes.

    Returns:
        An ipywidget: the last line of a cell shows it. Its ``votes`` are the votes so far as a
        DataFrame. ``close()`` ends it.

    Raises:
        ResultsError: there is no folder that it could be in.

    Examples:
        >>> slmlab.leaderboard("votes-of-our-class")
    """
    place = Path(votes)
    if not place.parent.is_dir():
        raise ResultsError(
            f"There is no folder {place.parent.absolute()} for the votes. Make it first, or mount "
            "the drive."
        )
    return Leaderboard(place)


class Leaderboard(Panel):
    """See ``slmlab.leaderboard``; ``votes`` are the votes so far as a DataFrame."""

    def __init__(self, place: Path) -> None:
        super().__init__("leaderboard")
        self.place = place
        self.reader = VoteReader(place)
        self._task: asyncio.Task[None] | None = None
        self.follow_button = controls.button(
            "Follow", self.follow, "Show new votes as they come in", "primary"
        )
        self.stop_button = controls.button("Pause", self.stop, "Look at the votes no more")
        self.state = widgets.HTML()
        self.table = widgets.HTML(layout=widgets.Layout(width="auto"))
        self.arrange(
            controls.row(self.follow_button, self.stop_button, self.state),
            self.table,
        )
        self.reader.update()
        self.draw()
        # On Colab it would keep the cell from ending.
        if "COLAB_RELEASE_TAG" not in os.environ:
            self._follow_from_the_loop()

    @property
    def votes(self) -> pd.DataFrame:
        """The votes so far."""
        self.reader.update()
        return self.reader.frame

    @property
    def following(self) -> bool:
        """Whether new votes are shown by themselves."""
        return self._task is not None and not self._task.done()

    def follow(self) -> None:
        """Show new votes as they come in."""
        if self.following or self._follow_from_the_loop():
            return
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                self.look()
                time.sleep(EVERY)

    def _follow_from_the_loop(self) -> bool:
        """Look from the kernel's event loop; returns whether there is one."""
        if not display.in_notebook() or unattended():
            return False
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._task = loop.create_task(self._keep_looking())
        self.draw()
        return True

    async def _keep_looking(self) -> None:
        while True:
            started = time.perf_counter()
            self.look()
            # With very many votes it looks less often, so that the kernel has time for other cells.
            await asyncio.sleep(max(EVERY, 4 * (time.perf_counter() - started)))

    def stop(self) -> None:
        """Look at the votes no more."""
        self._end()
        self.draw()

    def close(self) -> None:
        """End it: the votes are looked at no more, and it goes from the page."""
        self._end()
        super().close()

    def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            # Kernels may handle a button in another thread than that of the task's loop.
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                task.get_loop().call_soon_threadsafe(task.cancel)

    def look(self) -> None:
        """Look at the votes once, and draw what is new."""
        if self.reader.update():
            self.draw()

    def _draw(self) -> None:
        html = votes_html(self.reader, self.place.name)
        waiting = markup.QUIET.format(f"No vote in {self.place.absolute()} yet.")
        self.table.value = html or waiting
        looks = f"New votes are looked for every {EVERY:.0f} seconds." if self.following else ""
        self.state.value = Markup("<span class='slmlab-quiet'>{}</span>").format(looks)
        self.follow_button.disabled = self.following
        self.stop_button.disabled = not self.following

    # Without a front end.

    def static_html(self) -> str:
        """The ratings now."""
        return markup.shown(self.table)

    def __str__(self) -> str:
        count = len(self.votes)
        return f"Leaderboard: {count} vote{'s' if count != 1 else ''} in {self.place}."

"""The votes cast in a widget: the file, the voter's name, and the ratings so far."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
from slmlab.run.options import Prompt
from slmlab.show import sanitize
from slmlab.widgets import controls, markup

# A bootstrap over a handful of votes gives intervals that are far too narrow.
FEWEST_VOTES = 20


class Ballot:
    """A file of votes, and the text field for the voter's name."""

    def __init__(self, voter: str | None, votes_file: str | Path) -> None:
        self.file = Path(votes_file)
        self.voter = widgets.Text(
            description="Your name",
            value=voter or controls.user(),
            layout=widgets.Layout(width="22em"),
        )

    def cast(self, prompt: Prompt, model_a: str, model_b: str, winner: str) -> None:
        """Save a vote: ``a``, ``b`` or ``tie``.

        Raises:
            ResultsError: it cannot be written.
        """
        votes.add_vote(
            self.file,
            voter=self.voter.value or "anonymous",
            prompt=sanitize.prompt_text(prompt),
            model_a=model_a,
            model_b=model_b,
            winner=winner,
        )

    def choose(self, prompt: Prompt, models: Sequence[str], best: int | None) -> int:
        """Save the votes that a choice stands for (see ``pairwise``); returns how many.

        Raises:
            ResultsError: a vote cannot be written.
        """
        cast = [*pairwise(models, best)]
        for model_a, model_b, winner in cast:
            self.cast(prompt, model_a, model_b, winner)
        return len(cast)

    def ratings_html(self) -> Markup:
        """The ratings as a table, or the reason why there are none; empty without a file."""
        if not self.file.exists():
            return Markup()
        try:
            cast = votes.read_votes(self.file)
            few = len(cast) < FEWEST_VOTES
            ratings = votes.ratings(cast, resamples=2 if few else 200)
        except SlmlabError as error:
            return Markup("<p class='slmlab-quiet'>{}</p>").format(str(error))
        rows = [
            (
                one.model,
                f"{one.rating:.0f}",
                "too few votes" if few else f"{one.low:.0f} to {one.high:.0f}",
                one.wins,
                one.ties,
                one.losses,
            )
            for one in ratings.itertuples()
        ]
        caption = f"Bradley–Terry ratings. Votes in {self.file.name}: {len(cast)}. " + (
            f"They say little before there are {FEWEST_VOTES}."
            if few
            else "95 % intervals by bootstrap; models whose intervals overlap may be equal."
        )
        columns = ("model", "rating", "interval", "won", "tied", "lost")
        return markup.table_html(rows, columns, caption)


def pairwise(models: Sequence[str], best: int | None) -> Iterator[tuple[str, str, str]]:
    """The votes that a choice among several answers stands for: ``(model_a, model_b, winner)``.

    The best answer wins against each other one; without a best one all pairs are ties. Two answers
    of the same model are not compared.

    Args:
        models: the model of each answer.
        best: the position of the best answer, or None.
    """
    for one, two in itertools.combinations(range(len(models)), 2):
        if models[one] == models[two] or best not in (None, one, two):
            continue
        winner = "tie" if best is None else "a" if best == one else "b"
        yield models[one], models[two], winner

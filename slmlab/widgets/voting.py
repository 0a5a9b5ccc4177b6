"""The votes cast in a widget: where they are written, the voter's words, the ratings so far."""

from __future__ import annotations

import itertools
import platform
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from slmlab.errors import ResultsError
from slmlab.evaluation import votes
from slmlab.evaluation.vote_reader import VoteReader
from slmlab.run.options import Prompt
from slmlab.show import sanitize
from slmlab.widgets import controls
from slmlab.widgets.ratings_table import votes_html

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup


class Ballot:
    """Where votes go, and fields for the voter's name, a comment and tags.

    Args:
        voter: the name to start with (default: the user's).
        place: a file that ends in ``.jsonl``, or a folder in which this ballot writes a file of its
            own, so that a class can vote into one folder, also on a shared drive.

    Raises:
        ResultsError: there is no such place.
    """

    def __init__(self, voter: str | None, place: str | Path) -> None:
        self.place = Path(place)
        single = self.place.is_file() or self.place.suffix == ".jsonl"
        if not self.place.parent.is_dir():
            # A drive that is not mounted must not become a folder that vanishes with the machine.
            raise ResultsError(
                f"There is no folder {self.place.parent.absolute()} for the votes. Make it first, "
                "or mount the drive."
            )
        mine = re.sub(r"[^\w.-]+", "_", f"{controls.user()}-{platform.node()}")[:80]
        self.file = self.place if single else self.place / f"{mine}-{uuid.uuid4().hex[:8]}.jsonl"
        self.reader = VoteReader(self.place)
        narrow = widgets.Layout(width="22em")
        self.voter = widgets.Text(
            description="Your name", value=voter or controls.user(), layout=narrow
        )
        self.comment = widgets.Text(
            description="Comment", placeholder="why; may stay empty", layout=narrow
        )
        self.tags = widgets.Text(
            description="Tags", placeholder="such as maths, short", layout=narrow
        )

    def cast(self, prompt: Prompt, model_a: str, model_b: str, winner: str) -> None:
        """Save a vote with what is in the fields, and clear the comment.

        Raises:
            ResultsError: it cannot be written.
        """
        self.choose(prompt, [model_a, model_b], {"a": 0, "b": 1}.get(winner, winner))

    def choose(self, prompt: Prompt, models: Sequence[str], best: int | str) -> int:
        """Save the votes that a choice stands for (see ``pairwise``); returns how many.

        Raises:
            ResultsError: a vote cannot be written.
        """
        if self.file != self.place:
            try:
                self.place.mkdir(exist_ok=True)
            except OSError as error:
                raise ResultsError(f"{self.place} cannot be made: {error.strerror}.") from error
        cast = [*pairwise(models, best)]
        for model_a, model_b, winner in cast:
            votes.add_vote(
                self.file,
                voter=self.voter.value or "anonymous",
                prompt=sanitize.prompt_text(prompt),
                model_a=model_a,
                model_b=model_b,
                winner=winner,
                comment=self.comment.value.strip(),
                tags=dict.fromkeys(
                    tag for tag in map(str.strip, self.tags.value.split(",")) if tag
                ),
            )
        # The tags stay: most prompts in a row are of one kind.
        self.comment.value = ""
        return len(cast)

    @property
    def frame(self) -> pd.DataFrame:
        """The votes so far: those in the file, or those of all in the folder."""
        return votes.read_votes(self.place)

    def ratings_html(self) -> Markup:
        """The ratings so far as a table; empty without votes."""
        self.reader.update()
        return votes_html(self.reader, self.place.name)


def pairwise(models: Sequence[str], best: int | str) -> Iterator[tuple[str, str, str]]:
    """The votes that a choice among several answers stands for: ``(model_a, model_b, winner)``.

    The best answer wins against each other one; without a best one all pairs are equal. Two answers
    of the same model are not compared.

    Args:
        models: the model of each answer.
        best: the position of the best answer, or for all of them ``tie`` or ``both bad``.
    """
    for one, two in itertools.combinations(range(len(models)), 2):
        if models[one] == models[two] or (isinstance(best, int) and best not in (one, two)):
            continue
        winner = best if isinstance(best, str) else "a" if best == one else "b"
        yield models[one], models[two], winner

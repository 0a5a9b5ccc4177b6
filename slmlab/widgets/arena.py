"""Blind pairs of answers, votes, and ratings as the votes come in."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup, escape

from slmlab.errors import SlmlabError
from slmlab.evaluation.pairs import blind_pairs
from slmlab.evaluation.ratings import ratings
from slmlab.run.options import Options, full_options, parameters_of
from slmlab.run.streaming import Answer, Answers
from slmlab.show import sanitize
from slmlab.show.answers import row_html, side_by_side_html
from slmlab.widgets import controls, markup
from slmlab.widgets.live import AnswersPanel
from slmlab.widgets.voting import Ballot

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

    from slmlab.evaluation.pairs import Pair

SIDES = ("Left", "Right")
# Keys that press the buttons, in pages that run scripts. B would insert a cell in Jupyter.
KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "t": "tie", "n": "bad", "Enter": "next"}
# What stands between the answers: before a vote, and after each kind.
BETWEEN = {"": "VS", "a": "◀", "b": "▶", "tie": "=", "both bad": "✕"}


def arena(
    models: str | Sequence[str] | None = None,
    prompt: str | None = None,
    *,
    answers: pd.DataFrame | None = None,
    voter: str | None = None,
    votes: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Unpack[Options],
) -> Arena:
    """Vote on answers without knowing which models wrote them.

    Two randomly chosen models answer what you type; or, with ``answers``, the answers of a
    comparison are shown in pairs, in a random order. ← votes for the left one, → for the right one,
    T for a tie, N if both are bad. Then the names are revealed, and the ratings of all votes so far
    with their intervals. A comment and tags go with the vote. Votes are saved in a file, or in a
    folder for a whole class, where each voter writes a file of their own; ``slmlab.leaderboard``
    shows a folder's ratings as the votes come in.

    Args:
        models: the models to choose from (default: all on the server); only without ``answers``.
        prompt: the text to start with; only without ``answers``.
        answers: what ``slmlab.compare`` returned, with at least two models.
        voter: the name under which votes are saved (default: the user's).
        votes: the file for the votes, which ends in ``.jsonl``, or a folder for those of a class,
            also on a shared drive.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options, the same for both models; only without ``answers``.

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``votes`` are all votes there as a DataFrame.

    Raises:
        PromptError: the prompt or an option is not usable.
        ResultsError: there is no folder for the votes.
        SlmlabError: there are no two answers to one prompt.

    Examples:
        >>> slmlab.arena(answers=frame)  # or slmlab.arena(names)
        >>> slmlab.arena(names, votes="votes-of-our-class")
    """
    pairs = None
    if answers is not None:
        pairs = blind_pairs(answers, seed=random.randrange(2**31))  # noqa: S311
        if not pairs:
            raise SlmlabError("No prompt in this comparison has answers of two models to vote on.")
    full_options(options, parameters=parameters_of(arena))
    ballot = Ballot(voter, votes)
    return Arena(pairs, controls.model_names(models), prompt, ballot, host, options)


class Arena(AnswersPanel):
    """See ``slmlab.arena``; ``votes`` are the votes so far as a DataFrame."""

    def __init__(
        self,
        pairs: list[Pair] | None,
        models: list[str] | None,
        prompt: str | None,
        ballot: Ballot,
        host: str | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__("arena")
        self.pairs = pairs
        self.models = models
        self.options = options
        self.host = controls.host_here(host)
        self.ballot = ballot
        self.place = 0
        # How the answers on the screen were voted; empty before.
        self.verdict = ""
        self.prompt_text = controls.text_area(
            "Prompt", controls.first_text(prompt), "The prompt for two randomly chosen models"
        )
        self._make_buttons()
        wide = widgets.Layout(width="auto")
        self.question, self.ratings = widgets.HTML(layout=wide), widgets.HTML(layout=wide)
        self.sides = [widgets.HTML() for _ in SIDES]
        self.between, self.progress = widgets.HTML(), widgets.HTML()
        for side, hue in zip(self.sides, "af", strict=True):
            side.add_class("slmlab-card")
            side.add_class(f"slmlab-hue-{hue}")
        duel = controls.row(self.sides[0], self.between, self.sides[1], kind="duel")
        choice = [self.left, self.tie, self.bad, self.right]
        if pairs is None:
            above = [self.prompt_text, controls.row(self.run_button, self.stop_button)]
        else:
            above = [self.question]
            choice += [self.next_button, self.progress]
        self.arrange(
            *above,
            controls.row(duel, kind="stage"),
            controls.row(*choice, kind="verdict"),
            controls.row(ballot.voter, ballot.comment, ballot.tags),
            widgets.HTML(_keys_html()),
            self.ratings,
        )
        self.draw()

    def _make_buttons(self) -> None:
        button = controls.button
        self.run_button = button("Run", self.run, "Two models answer", "primary")
        self.stop_button = button("Stop", self.stop, "Stop both answers")
        self.left = button("← Left is better", lambda: self.vote("a"))
        self.tie = button("Equally good (T)", lambda: self.vote("tie"))
        self.bad = button("Both are bad (N)", lambda: self.vote("both bad"))
        self.right = button("Right is better →", lambda: self.vote("b"))
        self.next_button = button("Next pair ⏎", self.next, "The next pair", "primary")
        self.left.add_class("slmlab-hue-a")
        self.right.add_class("slmlab-hue-f")
        buttons = (self.left, self.right, self.tie, self.bad, self.next_button)
        for name, one in zip(KEYS.values(), buttons, strict=True):
            one.add_class(f"slmlab-key-{name}")

    @property
    def votes(self) -> pd.DataFrame:
        """All votes so far, in the file or of all voters in the folder."""
        return self.ballot.frame

    # New answers.

    def run(self) -> None:
        """Let two randomly chosen models answer the prompt."""
        if self.pairs is not None or self.running:
            return
        with self.errors_shown():
            names = list(dict.fromkeys(controls.resolved(self.models, self.host)))
            if len(names) < 2:
                raise SlmlabError(f"An arena needs two models; there is only {names[0]}.")
            two = random.sample(names, 2)
            answers = Answers(
                [Answer(name, self.prompt_text.value, self.host, self.options) for name in two]
            )
            self.verdict = ""
            self.begin(answers)

    # Voting.

    def _pair(self) -> Pair | None:
        """The two answers on the screen if they can be voted on, else None."""
        if self.pairs is not None:
            return self.pairs[self.place] if self.place < len(self.pairs) else None
        if self.answers is None or self.answers.running:
            return None
        if any(one.state == "failed" or not one.text for one in self.answers.answers):
            return None
        left, right = (
            {"model": one.model, "prompt": one.prompt, "text": one.text}
            for one in self.answers.answers
        )
        return left, right

    def vote(self, winner: str) -> None:
        """Save a vote: ``a`` for the left answer, ``b`` for the right, ``tie`` or ``both bad``."""
        pair = self._pair()
        if pair is None or self.verdict:
            return
        with self.errors_shown():
            left, right = pair
            self.ballot.cast(left["prompt"], left["model"], right["model"], winner)
            self.verdict = winner
            self.say(f"Vote saved in {self.ballot.file.resolve()}")
            self.draw()

    def next(self) -> None:
        """Go to the next pair, after a vote."""
        if self.pairs is not None and self.verdict and self.place < len(self.pairs):
            self.place += 1
            self.verdict = ""
            self.say("")
            self.draw()

    # Drawing.

    def _draw_answers(self, running: bool) -> None:
        pair = self._pair()
        if self.pairs is not None:
            self._draw_pair(self.pairs, pair)
        elif self.answers is not None:
            for side, answer, name in zip(self.sides, self.answers.answers, SIDES, strict=True):
                body = markup.answer_html(answer, name=f"{name} model")
                controls.show_state(side, answer.state)
                if not self.verdict:
                    # An error may name the model.
                    body = Markup(body.replace(escape(answer.model), "(hidden)"))  # noqa: S704
                side.value = self._title(name, answer.model) + body
        self.between.value = Markup("<span aria-hidden='true'>{}</span>").format(
            BETWEEN[self.verdict]
        )
        for side, winner in zip(self.sides, "ab", strict=True):
            controls.mark(side, "chosen", self.verdict == winner)
        if self.verdict or not self.ratings.value:
            self.ratings.value = self.ballot.ratings_html()

    def _set_buttons(self, running: bool) -> None:
        self.run_button.disabled, self.stop_button.disabled = running, not running
        to_vote = not running and not self.verdict and self._pair() is not None
        for one in (self.left, self.tie, self.bad, self.right):
            one.disabled = not to_vote
        self.next_button.disabled = not self.verdict

    def _draw_pair(self, pairs: list[Pair], pair: Pair | None) -> None:
        self.progress.value = Markup("<span>{} of {}</span>").format(
            min(self.place + 1, len(pairs)), len(pairs)
        )
        if pair is None:
            self.question.value = Markup(
                "<p class='slmlab-title' role='status'>That was the last pair. Thank you.</p>"
            )
            for side in self.sides:
                side.value = ""
            return
        prompt = sanitize.prompt_text(pair[0]["prompt"])
        self.question.value = Markup("<p class='slmlab-question slmlab-plain'>{}</p>").format(
            prompt
        )
        for side, row, name in zip(self.sides, pair, SIDES, strict=True):
            text = row_html(row)
            side.value = self._title(name, row["model"]) + markup.region_html(
                f"{name} answer", text
            )

    def _title(self, side: str, model: str) -> Markup:
        """The title of an answer: its side, and after the vote its model."""
        if not self.verdict:
            return markup.TITLE.format(side)
        won = {"a": "Left", "b": "Right"}.get(self.verdict)
        return markup.TITLE.format(f"{side}: {model}{' ★' if side == won else ''}")

    # Without a front end.

    def static_html(self) -> str:
        """A summary, one blind pair, and the ratings so far."""
        return Markup("<p>{}</p>{}{}{}").format(
            str(self).splitlines()[0],
            markup.shown(self.question),
            side_by_side_html(map(markup.shown, self.sides)),
            markup.shown(self.ratings),
        )

    def __str__(self) -> str:
        what = (
            f"{len(self.pairs)} blind pairs to vote on"
            if self.pairs is not None
            else f"two models of {self.host} answer what you type"
        )
        lines = [f"Arena: {what}; votes go to {self.ballot.place}."]
        if self.ballot.place.exists():
            with self.errors_shown():
                lines.append(ratings(self.votes).to_string(index=False))
        return "\n".join(lines)


def _keys_html() -> Markup:
    """A line that explains the keys, with a script that handles them in the surrounding widget."""
    names = "{" + ",".join(f"{key}:'{name}'" for key, name in KEYS.items()) + "}"
    # Keys in text fields are for typing. Redrawing replaces the focused element, so the focus goes
    # to the box around it.
    script = (
        "const k=" + names + "[event.key];"
        "if(!k||/TEXTAREA|INPUT|SELECT/.test(event.target.tagName))return;"
        "if(event.key==='Enter'&&event.target.tagName==='BUTTON')return;"
        "const b=this.querySelector('.slmlab-key-'+k);"
        "if(b&&!b.disabled){event.preventDefault();event.stopPropagation();b.click();this.focus();}"
    )
    focus = "if(!event.target.closest('textarea,input,select,button'))this.focus();"
    listen = (
        "const box=this.closest('.slmlab-arena');"
        "if(box&&!box.dataset.keys){box.dataset.keys='on';box.tabIndex=-1;"
        f"box.onclick=function(event){{{focus}}};"
        f"box.onkeydown=function(event){{{script}}};}}"
    )
    return Markup(
        "<p class='slmlab-quiet'>Keys, once you have clicked on an answer: ← left, → right, T "
        "equally good, N both are bad, Enter next pair."
        "<img src='{}' alt='' width='1' height='1' onload='{}'></p>"
    ).format(markup.BLANK, listen)

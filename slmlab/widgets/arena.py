"""Blind pairs of answers, votes, and ratings as the votes come in."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup, escape

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
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
# Keys that press the buttons, in pages that run scripts.
KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "t": "tie", "Enter": "next"}


def arena(
    models: str | Sequence[str] | None = None,
    prompt: str | None = None,
    *,
    answers: pd.DataFrame | None = None,
    voter: str | None = None,
    votes_file: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Unpack[Options],
) -> Arena:
    """Vote on answers without knowing which models wrote them.

    Two randomly chosen models answer what you type; or, with ``answers``, the answers of a
    comparison are shown in pairs, in a random order. ← votes for the left one, → for the right one,
    T for a tie. Then the names are revealed, and the ratings of all votes so far with their
    intervals. Votes are saved in a file; ``slmlab.votes.read_votes`` merges those of a class.

    Args:
        models: the models to choose from (default: all on the server); only without ``answers``.
        prompt: the text to start with; only without ``answers``.
        answers: what ``slmlab.compare`` returned, with at least two models.
        voter: the name under which votes are saved (default: the user's).
        votes_file: the file for the votes.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options, the same for both models; only without ``answers``.

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``votes`` are all votes in the file as a DataFrame.

    Raises:
        PromptError: the prompt or an option is not usable.
        SlmlabError: there are no two answers to one prompt.

    Examples:
        >>> slmlab.arena(answers=frame)  # or slmlab.arena(names)
    """
    pairs = None
    if answers is not None:
        pairs = votes.blind_pairs(answers, seed=random.randrange(2**31))  # noqa: S311
        if not pairs:
            raise SlmlabError("No prompt in this comparison has answers of two models to vote on.")
    full_options(options, parameters=parameters_of(arena))
    return Arena(pairs, controls.model_names(models), prompt, voter, votes_file, host, options)


class Arena(AnswersPanel):
    """See ``slmlab.arena``; ``votes`` are the votes in the file as a DataFrame."""

    def __init__(
        self,
        pairs: list[Pair] | None,
        models: list[str] | None,
        prompt: str | None,
        voter: str | None,
        votes_file: str | Path,
        host: str | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__("arena")
        self.pairs = pairs
        self.models = models
        self.options = options
        self.host = controls.host_here(host)
        self.ballot = Ballot(voter, votes_file)
        self.place = 0
        self.voted = False
        self.prompt_text = controls.text_area(
            "Prompt", controls.first_text(prompt), "The prompt for two randomly chosen models"
        )
        self._make_buttons()
        wide = widgets.Layout(width="auto")
        self.question, self.ratings = widgets.HTML(layout=wide), widgets.HTML(layout=wide)
        self.sides = [widgets.HTML() for _ in SIDES]
        self.progress = widgets.HTML()
        both = controls.row(*self.sides, kind="columns")
        choice = (self.left, self.tie, self.right)
        keys = widgets.HTML(_keys_html())
        if pairs is None:
            self.arrange(
                self.prompt_text,
                controls.row(self.run_button, self.stop_button, self.ballot.voter),
                both,
                controls.row(*choice),
                keys,
                self.ratings,
            )
        else:
            self.arrange(
                controls.row(self.ballot.voter),
                self.question,
                both,
                controls.row(*choice, self.next_button, self.progress),
                keys,
                self.ratings,
            )
        self.draw()

    def _make_buttons(self) -> None:
        button = controls.button
        self.run_button = button("Run", self.run, "Two models answer", "primary")
        self.stop_button = button("Stop", self.stop, "Stop both answers")
        self.left = button("← Left is better", lambda: self.vote("a"))
        self.tie = button("Equally good (T)", lambda: self.vote("tie"))
        self.right = button("Right is better →", lambda: self.vote("b"))
        self.next_button = button("Next pair ⏎", self.next, "The next pair", "primary")
        buttons = (self.left, self.right, self.tie, self.next_button)
        for name, one in zip(KEYS.values(), buttons, strict=True):
            one.add_class(f"slmlab-key-{name}")

    @property
    def votes(self) -> pd.DataFrame:
        """All votes in the file so far."""
        return votes.read_votes(self.ballot.file)

    # New answers.

    def run(self) -> None:
        """Let two randomly chosen models answer the prompt."""
        if self.pairs is not None or self.running:
            return
        with self.errors_shown():
            names = controls.resolved(self.models, self.host)
            if len(names) < 2:
                raise SlmlabError(f"An arena needs two models; there is only {names[0]}.")
            two = random.sample(names, 2)
            answers = Answers(
                [Answer(name, self.prompt_text.value, self.host, self.options) for name in two]
            )
            self.voted = False
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
        """Save a vote: ``a`` for the left answer, ``b`` for the right one, or ``tie``."""
        pair = self._pair()
        if pair is None or self.voted:
            return
        with self.errors_shown():
            left, right = pair
            self.ballot.cast(left["prompt"], left["model"], right["model"], winner)
            self.voted = True
            self.say(f"Vote saved in {self.ballot.file.resolve()}")
            self.draw()

    def next(self) -> None:
        """Go to the next pair, after a vote."""
        if self.pairs is not None and self.voted and self.place < len(self.pairs):
            self.place += 1
            self.voted = False
            self.say("")
            self.draw()

    # Drawing.

    def _draw(self) -> None:
        # Read first, so that an answer that ends during drawing is drawn completely next time.
        running = self.running
        pair = self._pair()
        if self.pairs is not None:
            self._draw_pair(self.pairs, pair)
        elif self.answers is not None:
            for side, answer, name in zip(self.sides, self.answers.answers, SIDES, strict=True):
                body = markup.answer_html(answer, name=f"{name} model")
                if not self.voted:
                    # An error may name the model.
                    body = Markup(body.replace(escape(answer.model), "(hidden)"))  # noqa: S704
                side.value = self._title(name, answer.model) + body
        # Last, so that buttons become enabled only when everything is drawn.
        self.run_button.disabled, self.stop_button.disabled = running, not running
        for one in (self.left, self.tie, self.right):
            one.disabled = pair is None or self.voted
        self.next_button.disabled = not self.voted
        if self.voted or not self.ratings.value:
            self.ratings.value = self.ballot.ratings_html()

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
        self.question.value = Markup("<p class='slmlab-plain'><strong>{}</strong></p>").format(
            prompt
        )
        for side, row, name in zip(self.sides, pair, SIDES, strict=True):
            text = row_html({**row, "text": row["text"][: markup.LONGEST_SHOWN]})
            side.value = self._title(name, row["model"]) + markup.region_html(
                f"{name} answer", text
            )

    def _title(self, side: str, model: str) -> Markup:
        """The title of an answer: its side, and after the vote its model."""
        return markup.TITLE.format(f"{side}: {model}" if self.voted else side)

    # Without a front end.

    def static_html(self) -> str:
        """A summary, one blind pair, and the ratings so far."""
        return Markup("<p><strong>Arena</strong> · {}</p>{}{}{}").format(
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
        lines = [f"Arena: {what}; votes go to {self.ballot.file}."]
        if self.ballot.file.exists():
            with self.errors_shown():
                lines.append(votes.ratings(self.votes).to_string(index=False))
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
    blank = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    return Markup(
        "<p class='slmlab-quiet'>Keys, once you have clicked on an answer: ← left, → right, T "
        "equally good, Enter next pair."
        "<img src='{}' alt='' width='1' height='1' onload='{}'></p>"
    ).format(blank, listen)

"""Blind pairs of answers, votes, and ratings as the votes come in."""

from __future__ import annotations

import html
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
from slmlab.run.options import full_options, parameters_of
from slmlab.run.streaming import Answer, Answers
from slmlab.show import sanitize
from slmlab.widgets import controls, markup
from slmlab.widgets.live import follow
from slmlab.widgets.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

# Buttons do all of it; in pages that run scripts, the keys press the buttons.
KEYS = {"ArrowLeft": "left", "ArrowRight": "right", "t": "tie", "Enter": "next"}


def arena(
    frame: pd.DataFrame | None = None,
    names: Sequence[str] | None = None,
    *,
    question: str | None = None,
    voter: str | None = None,
    votes_file: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Any,
) -> Arena:
    """Vote on answers without knowing whose they are.

    With a comparison, its answers come up in pairs, in a shuffled order; without, two models drawn
    by lot answer what you type. ← votes for the left one, → for the right one, T for neither; then
    the names are shown, and the ratings of all votes so far with their intervals. Votes are kept in
    a file; ``slmlab.votes.read_votes`` merges those of a class.

    Args:
        frame: what ``slmlab.compare`` returned, with at least two models.
        names: the models to draw from (default: all that the server has); without a frame only.
        question: the text to start with; without a frame only.
        voter: the name under which votes are kept (default: the user's).
        votes_file: where votes are kept.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options, the same for both models; without a frame only.

    Raises:
        PromptError: an option is not usable.
        SlmlabError: the frame has no two answers to one prompt.
    """
    pairs = None
    if frame is not None:
        pairs = votes.blind_pairs(frame, seed=random.randrange(2**31))  # noqa: S311
        if not pairs:
            raise SlmlabError("No prompt in this comparison has answers of two models to vote on.")
    full_options(options, parameters=parameters_of(arena))
    return Arena(pairs, names, question, voter, Path(votes_file), host, options)


class Arena(Panel):
    """See ``slmlab.arena``; ``votes`` has the file's votes as a DataFrame."""

    def __init__(
        self,
        pairs: list[tuple[dict, dict]] | None,
        names: Sequence[str] | None,
        question: str | None,
        voter: str | None,
        votes_file: Path,
        host: str | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__("arena")
        self.pairs = pairs
        self.wanted = names
        self.options = options
        self.host = controls.host_here(host)
        self.votes_file = votes_file
        self.place = 0
        self.voted = False
        self.answers: Answers | None = None
        wide = widgets.Layout(width="auto")
        self.question = widgets.Textarea(
            description="Prompt",
            value=question or "",
            rows=2,
            layout=wide,
            placeholder="What two models, drawn by lot, shall answer",
        )
        self.voter = widgets.Text(
            description="Your name",
            value=voter or controls.user(),
            layout=widgets.Layout(width="22em"),
        )
        self.run_button = controls.button("Run", self.run, "Two models answer", "primary")
        self.stop_button = controls.button("Stop", self.stop, "End both answers")
        self.asked = widgets.HTML(layout=wide)
        self.sides = [widgets.HTML() for _ in range(2)]
        self.left = controls.button("← Left is better", lambda: self.vote("a"))
        self.tie = controls.button("Equally good (T)", lambda: self.vote("tie"))
        self.right = controls.button("Right is better →", lambda: self.vote("b"))
        self.next_button = controls.button("Next pair ⏎", self.next, "The next pair", "primary")
        for name, one in (
            ("left", self.left),
            ("tie", self.tie),
            ("right", self.right),
            ("next", self.next_button),
        ):
            one.add_class(f"slmlab-key-{name}")
        self.progress = widgets.HTML()
        self.ratings = widgets.HTML(layout=wide)
        live = pairs is None
        both = controls.row(*self.sides, kind="columns")
        buttons = [self.run_button, self.stop_button] if live else []
        self.show(
            *([self.question] if live else []),
            controls.row(*buttons, self.voter),
            self.asked,
            both,
            controls.row(
                self.left,
                self.tie,
                self.right,
                *([] if live else [self.next_button]),
                self.progress,
            ),
            widgets.HTML(_keys_html()),
            self.ratings,
        )
        self._draw()

    @property
    def votes(self) -> pd.DataFrame:
        """All votes in the file so far."""
        return votes.read_votes(self.votes_file)

    # Pairs that come from models.

    def run(self) -> None:
        """Let two models, drawn by lot, answer."""
        if self.pairs is not None or (self.answers and self.answers.running):
            return
        with self.sentences():
            names = controls.chosen(self.wanted, self.host)
            if len(names) < 2:
                raise SlmlabError(f"An arena needs two models; there is only {names[0]}.")
            two = random.sample(names, 2)
            self.answers = Answers(
                [Answer(name, self.question.value, self.host, self.options) for name in two]
            )
            self.voted = False
            self.say("")
            follow(self.answers, self._draw, self._draw)

    def stop(self) -> None:
        """End both answers."""
        if self.answers is not None:
            self.answers.stop()

    # Voting.

    def _pair(self) -> tuple[dict, dict] | None:
        """The two answers that are shown, where they can be voted on."""
        if self.pairs is not None:
            return self.pairs[self.place] if self.place < len(self.pairs) else None
        if self.answers is None or self.answers.running:
            return None
        if any(one.state == "failed" or not one.text for one in self.answers.answers):
            return None
        return tuple(
            {"model": one.model, "prompt": one.prompt, "text": one.text}
            for one in self.answers.answers
        )

    def vote(self, winner: str) -> None:
        """Keep a vote: ``a`` for the left answer, ``b`` for the right one, ``tie``."""
        pair = self._pair()
        if pair is None or self.voted:
            return
        with self.sentences():
            votes.add_vote(
                self.votes_file,
                voter=self.voter.value or "anonymous",
                prompt=sanitize.prompt_text(pair[0]["prompt"]),
                model_a=pair[0]["model"],
                model_b=pair[1]["model"],
                winner=winner,
            )
            self.voted = True
            self.say(f"Vote kept in {self.votes_file.resolve()}")
            self._draw()

    def next(self) -> None:
        """Go on to the next pair, once there is a vote."""
        if self.pairs is not None and self.voted and self.place < len(self.pairs):
            self.place += 1
            self.voted = False
            self.say("")
            self._draw()

    # Drawing.

    def _draw(self) -> None:
        # Asked first: an answer that ends while this draws is drawn whole by the next frame.
        running = self.answers is not None and self.answers.running
        pair = self._pair()
        if self.pairs is not None:
            self._draw_pair(pair)
        elif self.answers is not None:
            for side, answer, name in zip(
                self.sides, self.answers.answers, ("Left", "Right"), strict=True
            ):
                title = f"{name}: {answer.model}" if self.voted else name
                body = markup.answer_html(answer, name=f"{name} model")
                if not self.voted:
                    # An error may name the model.
                    body = body.replace(html.escape(answer.model), "(hidden)")
                side.value = f"<p class='slmlab-title'>{html.escape(title)}</p>{body}"
        # Last, so that a button that can be pressed means that all is drawn.
        self.run_button.disabled, self.stop_button.disabled = running, not running
        for one in (self.left, self.tie, self.right):
            one.disabled = pair is None or self.voted
        self.next_button.disabled = not self.voted
        if self.voted or not self.ratings.value:
            self.ratings.value = (
                markup.ratings_html(self.votes_file) if self.votes_file.exists() else ""
            )

    def _draw_pair(self, pair: tuple[dict, dict] | None) -> None:
        total = len(self.pairs)
        self.progress.value = f"<span>{min(self.place + 1, total)} of {total}</span>"
        if pair is None:
            self.asked.value = (
                "<p class='slmlab-title' role='status'>That was the last pair. Thank you.</p>"
            )
            for side in self.sides:
                side.value = ""
            return
        prompt = html.escape(sanitize.prompt_text(pair[0]["prompt"]))
        self.asked.value = f"<p class='slmlab-plain'><strong>{prompt}</strong></p>"
        for side, row, name in zip(self.sides, pair, ("Left", "Right"), strict=True):
            title = f"{name}: {row['model']}" if self.voted else name
            side.value = (
                f"<p class='slmlab-title'>{html.escape(title)}</p>"
                f"<div class='slmlab-answer' role='region' tabindex='0' aria-label='{name} answer'>"
                f"{sanitize.safe_html(row['text'][: markup.LONGEST_SHOWN])}</div>"
            )

    # Without a front end.

    def static_html(self) -> str:
        """What there is to vote on, one blind pair, and the ratings so far."""
        sides = "".join(f"<div style='flex:1 1 17em'>{side.value}</div>" for side in self.sides)
        return (
            f"<p><strong>Arena</strong> · {html.escape(str(self).splitlines()[0])}</p>"
            f"{self.asked.value}<div style='display:flex;flex-wrap:wrap;gap:12px'>{sides}</div>"
            f"{self.ratings.value}"
        )

    def __str__(self) -> str:
        what = (
            f"{len(self.pairs)} blind pairs to vote on"
            if self.pairs is not None
            else f"two models of {self.host} answer what you type"
        )
        lines = [f"Arena: {what}; votes go to {self.votes_file}."]
        if self.votes_file.exists():
            with self.sentences():
                lines.append(votes.ratings(self.votes).to_string(index=False))
        return "\n".join(lines)


def _keys_html() -> str:
    """A line that says the keys, and listens for them in the widget around it."""
    names = "{" + ",".join(f"{key}:'{name}'" for key, name in KEYS.items()) + "}"
    # Keys mean something else where one types. Drawing replaces what had the focus, so the box
    # around it takes the focus.
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
    return (
        f'<p class="slmlab-quiet">Keys, once you have clicked on an answer: ← left, → right, T '
        f"equally good, Enter next pair."
        f'<img src="{blank}" alt="" width="1" height="1" onload="{listen}"></p>'
    )

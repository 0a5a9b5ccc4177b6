"""Several models, one prompt: the answers beside each other while they are generated."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.errors import PromptError
from slmlab.run import results
from slmlab.run.options import Options, Prompt, parameters_of
from slmlab.run.streaming import Answer, Answers
from slmlab.show.answers import side_by_side_html
from slmlab.show.report import report
from slmlab.widgets import controls, export, markup
from slmlab.widgets.column import Column, draw_strips
from slmlab.widgets.live import AnswersPanel
from slmlab.widgets.option_fields import OptionFields
from slmlab.widgets.voting import Ballot

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

FEWEST, MOST = 2, 6
LETTERS = "ABCDEF"
TURN_BY_TURN = "In turn: each model has the machine to itself, so times can be compared."
AT_ONCE = "All at once: quicker on a GPU, but models share it, so times cannot be compared."


def side_by_side(
    models: str | Sequence[str] | None = None,
    prompt: str | None = None,
    *,
    system: str = "",
    voter: str | None = None,
    votes_file: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Unpack[Options],
) -> SideBySide:
    """Send one prompt to two to six models and see their answers side by side.

    Below each answer are its times and speed, as bars relative to the others. One answer can be the
    reference: words that differ from it are marked in the others. Names can be hidden until the
    vote; votes are saved in a file that can be merged with others (``slmlab.votes``).

    Args:
        models: the models (default: the first three on the server).
        prompt: the text to start with.
        system: a system prompt to start with.
        voter: the name under which votes are saved (default: the user's).
        votes_file: the file for the votes.
        host: the server (default: ``slmlab.server.host()``).
        options: settings to start with (``temperature``, ``seed``, ``num_ctx``, …).

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``frame`` has all runs as a DataFrame.

    Raises:
        PromptError: the prompt or an option is not usable, or there are not two to six models.

    Examples:
        >>> lab = slmlab.side_by_side(names, "Why is the sky blue?", num_predict=10)
        >>> lab.run()  # as the button does
        >>> len(lab.frame)
        2
    """
    names = controls.model_names(models)
    if names and not isinstance(models, str) and not FEWEST <= len(names) <= MOST:
        raise PromptError(f"Two to six models fit side by side; got {len(names)}.")
    return SideBySide(names, prompt, system, voter, votes_file, host, options)


class SideBySide(AnswersPanel):
    """See ``slmlab.side_by_side``; ``frame`` has all runs as a DataFrame."""

    def __init__(
        self,
        models: list[str] | None,
        prompt: str | None,
        system: str,
        voter: str | None,
        votes_file: str | Path,
        host: str | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__("side-by-side")
        shown = ("temperature", "seed", "num_ctx", "num_predict")
        self.settings = OptionFields(shown, options, parameters_of(side_by_side))
        self.host = controls.host_here(host)
        self.ballot = Ballot(voter, votes_file)
        self.runs: list[list[Answer]] = []
        self.voted = False
        self.prompt_text = controls.text_area(
            "Prompt", controls.first_text(prompt), "What all models shall answer", rows=3
        )
        self.system = controls.system_area(system)
        self._make_buttons()
        self.timing_note, self.table = widgets.HTML(), widgets.HTML()
        self.columns: list[Column] = []
        self.columns_box = controls.row(kind="columns")
        self.arrange(
            self.prompt_text,
            controls.row(
                self.run_button,
                self.stop_button,
                self.again_button,
                self.add_button,
                self.drop_button,
                self.at_once,
                self.blind,
            ),
            controls.folded(
                "System prompt and settings",
                self.system,
                controls.row(*self.settings.fields.values(), self.ballot.voter),
            ),
            self.timing_note,
            self.columns_box,
            controls.row(self.tie_button, self.table_button, self.report_button),
            self.table,
        )
        self._first_columns(models)
        self._note_timing()
        self.draw()

    def _make_buttons(self) -> None:
        self.blind = controls.checkbox("Hide names until I vote")
        self.at_once = controls.checkbox("All at once")
        self.at_once.observe(lambda _: self._note_timing(), "value")
        self.blind.observe(lambda _: self.draw(), "value")
        button = controls.button
        self.run_button = button("Run", self.run, "Put the prompt to all models", "primary")
        self.again_button = button("Another seed", self.again, "The same with the next seed")
        self.stop_button = button("Stop", self.stop, "End all answers; what has come stays")
        self.add_button = button("+ Model", self.add, "One more column")
        self.drop_button = button("− Model", self.drop, "One column less")
        self.tie_button = button("All equally good", lambda: self.vote(None), "Vote for none")
        self.table_button = button("To a table", self.to_table, "All runs, also as CSV")
        self.report_button = button("To a report", self.to_report, "One HTML file")

    # Columns.

    def _first_columns(self, models: list[str] | None) -> None:
        self.names: list[str] = []
        wanted = None
        with self.errors_shown():
            self.names = controls.resolved(None, self.host)
            wanted = controls.resolved(models, self.host) if models else None
        start = wanted or self.names[:3]
        for name in start if len(start) >= FEWEST else [*start, *start, None, None][:FEWEST]:
            self._add_column(name)

    def _add_column(self, name: str | None) -> None:
        column = Column(LETTERS[len(self.columns)], self.vote, self.set_reference)
        column.offer(self.names, name)
        self._set_columns([*self.columns, column])

    def _set_columns(self, columns: list[Column]) -> None:
        self.columns = columns
        self.columns_box.children = tuple(columns)

    def add(self) -> None:
        """Add a column, with the next model that has none yet."""
        shown = {column.model.value for column in self.columns}
        unused = [name for name in self.names if name not in shown]
        if len(self.columns) < MOST and not self.running:
            self._add_column(unused[0] if unused else next(iter(self.names), None))
            self.draw()

    def drop(self) -> None:
        """Remove the last column."""
        if len(self.columns) > FEWEST and not self.running:
            self._set_columns(self.columns[:-1])
            self.draw()

    # Running.

    def prompt(self) -> Prompt:
        """The prompt as it will be sent."""
        return controls.with_system(self.prompt_text.value, self.system.value)

    def run(self) -> None:
        """Send the prompt to all models."""
        if self.running:
            return
        with self.errors_shown():
            self._update_models()
            chosen = [column.model.value for column in self.columns]
            if self.blind.value:
                random.shuffle(chosen)
                for column, name in zip(self.columns, chosen, strict=True):
                    column.model.value = name
            options = self.settings.options
            answers = [Answer(name, self.prompt(), self.host, options) for name in chosen]
            run = Answers(answers, self.at_once.value)
            self.runs.append(answers)
            self.voted = False
            self.begin(run)

    def _update_models(self) -> None:
        """Offer the models that are on the server now.

        Raises:
            ModelError: there is none, or a selected one is gone.
            ServerError: no server answers.
        """
        names = controls.resolved(None, self.host)
        for column in self.columns:
            if column.model.value is not None:
                controls.resolved([column.model.value], self.host)
        if names != self.names:
            self.names = names
            for place, column in enumerate(self.columns):
                keep = column.model.value
                column.offer(names, keep if keep in names else names[place % len(names)])

    def again(self) -> None:
        """Run again with the next seed."""
        if not self.running:
            self.settings.fields["seed"].value += 1
            self.run()

    # Voting.

    def vote(self, letter: str | None) -> None:
        """Save a vote for one answer against all others, or for a tie; then show the names."""
        if self.answers is None or self.running or self.voted:
            return
        answers = self.answers.answers
        best = None if letter is None else LETTERS.index(letter)
        with self.errors_shown():
            prompt = answers[0].prompt
            text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            cast = self.ballot.choose(text, [one.model for one in answers], best)
            self.voted = True
            self.draw()
            self.table.value = self.ballot.ratings_html()
            result = "All equally good." if best is None else f"Best: {answers[best].model}."
            count = "1 vote" if cast == 1 else f"{cast} votes"
            self.say(f"{result} {count} saved in {self.ballot.file.resolve()}")

    def set_reference(self, letter: str, on: bool) -> None:
        """Make one answer the reference, or none."""
        for column in self.columns:
            if on and column.letter != letter:
                column.reference.value = False
        self.draw()

    # Results.

    @property
    def frame(self) -> pd.DataFrame:
        """All runs as a DataFrame like that of ``slmlab.compare``: to score, test and plot.

        Raises:
            SlmlabError: there is no answer yet.
        """
        return export.to_frame(answer for run in self.runs for answer in run)

    def to_table(self) -> None:
        """Show all runs as a table and write them to a CSV file in the current folder."""
        with self.errors_shown():
            frame = self.frame
            self.table.value = export.frame_html(frame)
            path = controls.new_file("side-by-side", "csv")
            results.to_csv(frame, path)
            self.say(
                f"Written to {path.resolve()}\nAs a DataFrame: lab = slmlab.side_by_side() in a "
                "cell, and lab.frame in another."
            )

    def to_report(self) -> None:
        """Write a report of all runs to the current folder."""
        with self.errors_shown():
            path = report(self.frame, controls.new_file("side-by-side", "html"), "Side by side")
            self.say(f"Report: {path.resolve()}")

    # Drawing.

    def _note_timing(self) -> None:
        self.timing_note.value = markup.QUIET.format(
            AT_ONCE if self.at_once.value else TURN_BY_TURN
        )

    def _draw(self) -> None:
        # Read first, so that an answer that ends during drawing is drawn completely next time.
        running = self.running
        answers = self.answers.answers if self.answers else []
        hidden = self.blind.value and not (self.voted and self.runs)
        referred = next((c.letter for c in self.columns if c.reference.value), None)
        reference = None
        if referred and LETTERS.index(referred) < len(answers):
            reference = answers[LETTERS.index(referred)].text
        for place, column in enumerate(self.columns):
            answer = answers[place] if place < len(answers) else None
            column.hide(hidden)
            column.draw(answer, None if column.letter == referred else reference)
        # The speed would give small models away, so it is hidden as long as the names are.
        draw_strips(self.columns, [] if hidden else answers)
        # Last, so that buttons become enabled only when everything is drawn.
        self._set_buttons(answers, running)

    def _set_buttons(self, answers: list[Answer], running: bool) -> None:
        some = bool(self.runs)
        to_vote = some and not running and not self.voted
        for place, column in enumerate(self.columns):
            ended = place < len(answers) and answers[place].state in ("done", "stopped")
            column.set_buttons(running, ended, to_vote)
        self.tie_button.disabled = not to_vote
        self.table_button.disabled = self.report_button.disabled = running or not some
        self.again_button.disabled = running or not some
        self.add_button.disabled = running or len(self.columns) >= MOST
        self.drop_button.disabled = running or len(self.columns) <= FEWEST
        self.stop_button.disabled = not running
        self.run_button.disabled = self.at_once.disabled = self.blind.disabled = running

    # Without a front end.

    def static_html(self) -> str:
        """The answers side by side; runs a given prompt that was not run yet."""
        if not self.runs and self.prompt_text.value.strip() and self.names:
            self.run()
        return Markup("<p><strong>Prompt</strong> {}</p>{}{}{}").format(
            self.prompt_text.value or "(none)",
            markup.shown(self.message),
            side_by_side_html(column.static_html() for column in self.columns),
            markup.shown(self.table),
        )

    def __str__(self) -> str:
        models = [column.model.value for column in self.columns if column.model.value]
        lines = [f"Side by side at {self.host}: {', '.join(models) or 'no model yet'}."]
        if not models:
            lines.append(self.message_text)
        elif self.runs:
            lines += [f"{one.model}:\n{one.text}" for one in self.runs[-1]]
        else:
            lines.append(
                "Open this in Jupyter, Colab or VS Code to use it, or run "
                "slmlab.compare(models, prompt)."
            )
        return "\n\n".join(lines)

"""Several models, one prompt: the answers beside each other while they are generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.errors import PromptError
from slmlab.run.images import need_vision
from slmlab.run.options import Options, Prompt, parameters_of
from slmlab.run.record import Generation
from slmlab.run.streaming import Answer, Answers
from slmlab.show.answers import side_by_side_html
from slmlab.show.report import report
from slmlab.widgets import controls, export, markup
from slmlab.widgets.column import draw_strips
from slmlab.widgets.column_settings import SettingsFields
from slmlab.widgets.columns import FEWEST, MOST, Columns
from slmlab.widgets.conversation import LETTERS, Point, Setup, Turn, column_prompts, path
from slmlab.widgets.follow_up import FollowUp
from slmlab.widgets.live import AnswersPanel
from slmlab.widgets.pictures import Pictures
from slmlab.widgets.side_by_side_buttons import Buttons
from slmlab.widgets.token_view import TokenView
from slmlab.widgets.transcript import Transcript
from slmlab.widgets.voting import Ballot

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

RESULTS = {"tie": "All equally good.", "both bad": "All are bad."}


def side_by_side(
    models: str | Sequence[str] | None = None,
    prompt: str | None = None,
    *,
    template: str = "plain",
    system: str = "",
    images: Any = None,
    think: bool = False,
    columns: Sequence[Mapping[str, Any]] | None = None,
    voter: str | None = None,
    votes: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Unpack[Options],
) -> SideBySide:
    """Send one prompt to two to six models and see their answers side by side.

    Below each answer are its times and speed, as bars relative to the others. One answer can be the
    reference: words that differ from it are marked in the others. Names can be hidden until the
    vote; votes are saved in a file that can be merged with others (``slmlab.votes``).

    Below the answers a follow-up goes on: to all models, each with its own answers so far, or all
    with one's answer; from the end or from an earlier turn, which can also be asked again with
    another text. A column can have settings of its own, to see a model beside itself. With "Token
    probabilities" each token of the next answers is shaded by its probability, and a frame marks
    where they part.

    Args:
        models: the models (default: the first three on the server).
        prompt: the text to start with.
        template: a template's name or text with one variable, which the first prompt fills.
        system: a system prompt to start with.
        images: an image or several that go along with the first prompt, for models that can see:
            paths, bytes, or pictures of PIL.
        think: let models that can think do so before they answer.
        columns: settings of their own for the columns, in order: options, ``template``, ``system``
            and ``think``, such as ``[{"temperature": 0}, {"temperature": 1}]``; ``{}`` for none.
        voter: the name under which votes are saved (default: the user's).
        votes: the file for the votes, which ends in ``.jsonl``, or a folder for those of a class.
        host: the server (default: ``slmlab.server.host()``).
        options: settings to start with (``temperature``, ``seed``, ``num_ctx``, …).

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``frame`` has all runs as a DataFrame, and ``conversations`` the messages on
        the screen, one row for each column, as ``slmlab.compare`` takes them.

    Raises:
        PromptError: the prompt or a setting is not usable, or there are not two to six models.
        ResultsError: there is no folder for the votes.

    Examples:
        >>> lab = slmlab.side_by_side(names, "Why is the sky blue?", num_predict=10)
        >>> lab.run()  # as the button does
        >>> len(lab.frame)
        2
        >>> slmlab.side_by_side(
        ...     [names[0]] * 2, "Name a colour.", columns=[{"temperature": 0}, {"temperature": 1}]
        ... )
    """
    names = controls.model_names(models)
    if names and not isinstance(models, str) and not FEWEST <= len(names) <= MOST:
        raise PromptError(f"Two to six models fit side by side; got {len(names)}.")
    own = list(columns or [])
    if len(own) > (len(names) if names else MOST) or not all(isinstance(x, Mapping) for x in own):
        raise PromptError(f"columns is a list of settings, at most one for each model; got {own}.")
    setup = Setup(template, system, think, options)
    return SideBySide(names, prompt, setup, own, Ballot(voter, votes), host, images)


class SideBySide(AnswersPanel):
    """See ``slmlab.side_by_side``; ``frame`` has all runs as a DataFrame."""

    def __init__(
        self,
        models: list[str] | None,
        prompt: str | None,
        setup: Setup,
        own: Sequence[Mapping[str, Any]],
        ballot: Ballot,
        host: str | None,
        images: Any = None,
    ) -> None:
        super().__init__("side-by-side")
        self.pictures = Pictures(images)
        self.shared = SettingsFields(setup, parameters_of(side_by_side))
        self.host = controls.host_here(host)
        self.ballot = ballot
        # All that was asked, and the conversation on the screen.
        self.runs: list[Turn] = []
        self.turns: list[Turn] = []
        self.revealed = False
        self.prompt_text = controls.text_area(
            "Prompt", controls.first_text(prompt), "What all models shall answer", rows=3
        )
        self.token_view = TokenView()
        self.buttons = Buttons(self)
        self.buttons.blind.observe(lambda _: self.draw(), "value")
        self.follow_up_box = FollowUp(
            "A question to all models, after their answers", self.follow_up, self.to_json
        )
        self.settings = controls.folded("", self.shared)
        self.shared.on_change(self._name_settings)
        self._name_settings()
        self.table, self.earlier = widgets.HTML(), Transcript()
        self.columns = Columns(self.vote, self.draw, self.shared)
        self.arrange(
            self.prompt_text,
            self.pictures,
            self.buttons.run_row,
            self.settings,
            self.buttons.timing_note,
            self.earlier,
            self.columns,
            self.token_view,
            self.buttons.vote_row,
            self.buttons.result_row,
            self.follow_up_box,
            self.table,
        )
        names, wanted = [], None
        with self.errors_shown():
            names = controls.resolved(None, self.host)
            wanted = controls.resolved(models, self.host) if models else None
        self.columns.begin(names, wanted, own)
        self.draw()

    def add(self) -> None:
        """Add a column, with the next model that has none yet."""
        if not self.running:
            self.columns.add_next()
            self.draw()

    def drop(self) -> None:
        """Remove the last column."""
        if not self.running:
            self.columns.drop()
            self.draw()

    # Running.

    def prompt(self) -> Prompt:
        """The first prompt as it will be sent to columns without settings of their own."""
        return self.pictures.beside(self.shared.setup.prompt(self.prompt_text.value, []))

    def run(self) -> None:
        """Send the prompt to all models, as the first turn of a conversation."""
        self._ask(self.prompt_text.value, Point())

    def follow_up(self) -> None:
        """Send the follow-up to all models, after the turns that it goes on from."""
        if self._ask(self.follow_up_box.text.value, self.follow_up_box.point):
            self.follow_up_box.clear()

    def _ask(self, text: str, point: Point) -> bool:
        """Ask all models; returns whether anything was sent."""
        if self.running:
            return False
        with self.errors_shown():
            self.columns.update(self.host)
            turns = self.turns[: point.after]
            before = path(text, turns, point.column)
            if self.buttons.blind.value and not turns:
                self.columns.shuffle()
            setups = self.columns.setups
            prompts = column_prompts(text, turns, point.column, setups)
            if not turns:
                prompts = [self.pictures.beside(one) for one in prompts]
            answers = self.columns.answers(prompts, self.host, self.token_view.alternatives)
            for one in answers:
                need_vision(one.prompt, one.model, self.host)
            run = Answers(answers, self.buttons.at_once.value)
            self.turns = [*turns, Turn(text, answers, setups, before, point.column)]
            self.runs.append(self.turns[-1])
            self.revealed = self.revealed and bool(turns)
            self.begin(run)
            return True
        return False

    def again(self) -> None:
        """Run again with the next seed."""
        if not self.running:
            self.columns.next_seed()
            if len(self.turns) > 1:
                self._ask(self.turns[-1].text, Point(len(self.turns) - 1, self.turns[-1].source))
            else:
                self.run()

    # Voting.

    def vote(self, choice: str) -> None:
        """Save a vote for an answer of the last turn, by its letter, against all others.

        Or for none: ``tie`` if all are equally good, ``both bad`` if all are bad.
        """
        turn = self.turns[-1] if self.turns else None
        if turn is None or self.running or turn.voted:
            return
        best = LETTERS.index(choice) if choice in LETTERS else None
        with self.errors_shown():
            voted_for = choice if best is None else best
            cast = self.ballot.choose("\n".join(turn.texts), turn.names, voted_for)
            turn.voted, turn.best, self.revealed = True, best, True
            self.draw()
            self.table.value = self.ballot.ratings_html()
            result = f"Best: {turn.names[best]}." if best is not None else RESULTS[choice]
            count = "1 vote" if cast == 1 else f"{cast} votes"
            saved = f"{count} saved in {self.ballot.file.resolve()}"
            # Its column is marked all the same, to go on from there.
            no_vote = "No vote is saved, for all answers are by one model with the same settings."
            self.say(f"{result} {saved if cast else no_vote}")

    # Results.

    @property
    def frame(self) -> pd.DataFrame:
        """All runs as a DataFrame like that of ``slmlab.compare``, to score, test and plot.

        Raises:
            SlmlabError: there is no answer yet.
        """
        return export.turns_to_frame(self.runs)

    @property
    def conversations(self) -> list[dict[str, Any]]:
        """The conversation on the screen, a row for each column, as ``slmlab.compare`` takes it.

        ``prompt`` is the list of messages up to the last question; ``model`` and ``text`` say who
        answered it what.

        Raises:
            SlmlabError: there is no answer yet.
        """
        return export.conversations(self.turns)

    def to_json(self) -> None:
        """Write the conversation on the screen to a JSON file in the current folder."""
        with self.errors_shown():
            self.say(export.save_conversations(self.turns))

    def to_table(self) -> None:
        """Show all runs as a table and write them to a CSV file in the current folder."""
        with self.errors_shown():
            frame = self.frame
            self.table.value = export.frame_html(frame)
            self.say(export.save_frame(frame))

    def to_report(self) -> None:
        """Write a report of all runs to the current folder."""
        with self.errors_shown():
            path = report(self.frame, controls.new_file("side-by-side", "html"), "Side by side")
            self.say(f"Report: {path.resolve()}")

    # Drawing.

    def _name_settings(self) -> None:
        self.settings.set_title(0, f"Settings: {self.shared.summary}")

    def _draw_answers(self, running: bool) -> None:
        answers = self._last_answers
        hidden = self.buttons.blind.value and not self.revealed
        self.earlier.draw(self.turns, hidden)
        self.columns.draw(answers, hidden, self.turns[-1].best if self.turns else None)
        # The speed would give small models away, so it is hidden as long as the names are.
        draw_strips(self.columns.children, [] if hidden else answers)
        self.token_view.draw({} if running or hidden else self._titled(answers))

    @property
    def _last_answers(self) -> list[Answer]:
        return self.turns[-1].answers if self.turns else []

    def _titled(self, answers: list[Answer]) -> dict[str, Generation | None]:
        """The records of the last turn, by their columns' letters and models."""
        names = self.turns[-1].names if self.turns else []
        return {
            f"{letter}: {name}": answer.record
            for letter, name, answer in zip(LETTERS, names, answers, strict=False)
        }

    def _set_buttons(self, running: bool) -> None:
        answered = bool(self.runs)
        to_vote = answered and not running and not self.turns[-1].voted
        self.columns.set_buttons(self._last_answers, running, to_vote)
        self.buttons.enable(running, answered, to_vote, len(self.columns))
        self.follow_up_box.offer(self.turns, running)

    # Without a front end.

    def static_html(self) -> str:
        """The answers side by side; runs a given prompt that was not run yet."""
        if not self.runs and self.prompt_text.value.strip() and self.columns.names:
            self.run()
        return Markup("<p><strong>Prompt</strong> {}</p>{}{}{}{}{}{}").format(
            self.prompt_text.value or "(none)",
            markup.shown(self.pictures),
            markup.shown(self.message),
            markup.shown(self.earlier),
            side_by_side_html(column.static_html() for column in self.columns),
            markup.shown(self.token_view),
            markup.shown(self.table),
        )

    def __str__(self) -> str:
        models = [column.model.value for column in self.columns if column.model.value]
        lines = [f"Side by side at {self.host}: {', '.join(models) or 'no model yet'}."]
        if not models:
            lines.append(self.message_text)
        elif self.turns:
            turn = self.turns[-1]
            answers = zip(turn.names, turn.answers, strict=True)
            lines += [f"{name}:\n{one.text}" for name, one in answers]
        else:
            lines.append(
                "Open this in Jupyter, Colab or VS Code to use it, or run "
                "slmlab.compare(models, prompt)."
            )
        return "\n\n".join(lines)

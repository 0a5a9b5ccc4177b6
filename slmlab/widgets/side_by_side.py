"""Several models, one prompt: the answers beside each other, as they come."""

from __future__ import annotations

import html
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from slmlab.errors import PromptError, SlmlabError
from slmlab.evaluation import votes
from slmlab.run import results
from slmlab.run.options import Prompt, full_options, parameters_of
from slmlab.run.streaming import Answer, Answers, finish
from slmlab.show.report import report
from slmlab.widgets import controls, markup
from slmlab.widgets.live import follow
from slmlab.widgets.panel import Panel, unattended

FEWEST, MOST = 2, 6
LETTERS = "ABCDEF"


def side_by_side(
    question: str | None = None,
    names: Sequence[str] | None = None,
    *,
    system: str = "",
    voter: str | None = None,
    votes_file: str | Path = "votes.jsonl",
    host: str | None = None,
    **options: Any,
) -> SideBySide:
    """Put one prompt to two to six models and see them answer beside each other.

    Below each answer stand its times and speed, with bars against the best. Words that differ from
    an answer that was chosen as reference are marked. Names can be hidden until the vote; votes go
    to a file that can be merged with others' (``slmlab.votes``).

    Args:
        question: the text to start with.
        names: the models (default: the first three that the server has).
        system: a system prompt to start with.
        voter: the name under which votes are kept (default: the user's).
        votes_file: where votes are kept.
        host: the server (default: ``slmlab.server.host()``).
        options: settings to start with (``temperature``, ``seed``, ``num_ctx``, …).

    Raises:
        PromptError: an option is not usable, or there are not two to six models.
    """
    if names is not None and not isinstance(names, str) and not FEWEST <= len(names) <= MOST:
        raise PromptError(f"Two to six models fit side by side; got {len(names)}.")
    return SideBySide(question, names, system, voter, Path(votes_file), host, options)


class _Column:
    """One model's place: its name, its answer, its numbers, its vote."""

    def __init__(self, letter: str, vote: Any, refer: Any) -> None:
        self.letter = letter
        self.model = widgets.Dropdown(
            description=f"Model {letter}", layout=widgets.Layout(width="auto")
        )
        self.hidden = widgets.HTML()
        self.answer = widgets.HTML()
        self.strip = widgets.HTML()
        self.best = controls.button(
            f"{letter} is best", lambda: vote(letter), f"Vote for answer {letter}"
        )
        self.reference = widgets.ToggleButton(
            description="Reference",
            tooltip=f"Mark what differs from answer {letter}",
            layout=widgets.Layout(width="auto"),
        )
        self.reference.observe(lambda change: refer(letter, change["new"]), "value")
        self.box = widgets.VBox(
            [
                self.model,
                self.hidden,
                self.answer,
                self.strip,
                controls.row(self.best, self.reference),
            ],
        )


class SideBySide(Panel):
    """See ``slmlab.side_by_side``; ``frame`` has all runs as a DataFrame."""

    def __init__(
        self,
        question: str | None,
        names: Sequence[str] | str | None,
        system: str,
        voter: str | None,
        votes_file: Path,
        host: str | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__("side-by-side")
        settings = full_options(options, parameters=parameters_of(side_by_side))
        shown = ("temperature", "seed", "num_ctx", "num_predict")
        self.other_options = {name: value for name, value in options.items() if name not in shown}
        self.host = controls.host_here(host)
        self.votes_file = votes_file
        self.runs: list[list[Answer]] = []
        self.answers: Answers | None = None
        self.voted = False
        self._drawn: dict[str, tuple] = {}
        wide = widgets.Layout(width="auto")
        number = {"layout": widgets.Layout(width="15em")}

        self.question = widgets.Textarea(
            description="Prompt",
            value=controls.first_text(question),
            rows=3,
            layout=wide,
            placeholder="What all models shall answer",
        )
        self.system = widgets.Textarea(
            description="System",
            value=system,
            rows=2,
            layout=wide,
            placeholder="How the models should behave; may stay empty",
        )
        self.settings = {
            "temperature": widgets.BoundedFloatText(
                description="Temperature",
                value=settings["temperature"],
                min=0,
                max=5,
                step=0.1,
                **number,
            ),
            "seed": widgets.BoundedIntText(
                description="Seed", value=settings["seed"], min=-1, max=2**31 - 1, **number
            ),
            "num_ctx": widgets.BoundedIntText(
                description="Context", value=settings["num_ctx"], min=64, max=2**20, **number
            ),
            "num_predict": widgets.BoundedIntText(
                description="Length", value=settings["num_predict"], min=1, max=2**20, **number
            ),
        }
        self.voter = widgets.Text(
            description="Your name",
            value=voter or controls.user(),
            layout=widgets.Layout(width="22em"),
        )
        more = widgets.Accordion(
            children=[
                widgets.VBox([self.system, controls.row(*self.settings.values(), self.voter)])
            ]
        )
        more.set_title(0, "System prompt and settings")
        more.selected_index = None
        check = {"indent": False, "layout": widgets.Layout(width="auto")}
        self.blind = widgets.Checkbox(description="Hide names until I vote", value=False, **check)
        self.at_once = widgets.Checkbox(description="All at once", value=False, **check)
        self.at_once.observe(lambda _: self._say_how(), "value")
        self.blind.observe(lambda _: self._draw(), "value")

        self.run_button = controls.button(
            "Run", self.run, "Put the prompt to all models", "primary"
        )
        self.again_button = controls.button(
            "Another seed", self.again, "The same with the next seed"
        )
        self.stop_button = controls.button(
            "Stop", self.stop, "End all answers; what has come stays"
        )
        self.add_button = controls.button("+ Model", self.add, "One more column")
        self.drop_button = controls.button("− Model", self.drop, "One column less")
        self.tie_button = controls.button(
            "All equally good", lambda: self.vote(None), "Vote for none"
        )
        self.table_button = controls.button("To a table", self.to_table, "All runs, also as CSV")
        self.report_button = controls.button("To a report", self.to_report, "One HTML file")
        self.how = widgets.HTML()
        self.columns: list[_Column] = []
        self.columns_box = controls.row(kind="columns")
        self.table = widgets.HTML()
        self.show(
            self.question,
            controls.row(
                self.run_button,
                self.stop_button,
                self.again_button,
                self.add_button,
                self.drop_button,
                self.at_once,
                self.blind,
            ),
            more,
            self.how,
            self.columns_box,
            controls.row(self.tie_button, self.table_button, self.report_button),
            self.table,
        )
        self.names: list[str] = []
        wanted = None
        with self.sentences():
            self.names = controls.chosen(None, self.host)
            wanted = controls.chosen(names, self.host) if names is not None else None
        start = wanted or self.names[:3]
        for name in start if len(start) >= FEWEST else [*start, *start, None, None][:FEWEST]:
            self._add_column(name)
        self._say_how()
        self._draw()

    # Columns.

    def _add_column(self, name: str | None) -> None:
        column = _Column(LETTERS[len(self.columns)], self.vote, self.refer)
        column.model.options = self.names
        if name in self.names:
            column.model.value = name
        self.columns.append(column)
        self.columns_box.children = tuple(one.box for one in self.columns)

    def add(self) -> None:
        """One more column, with the next model that is not there yet."""
        shown = {column.model.value for column in self.columns}
        unused = [name for name in self.names if name not in shown]
        if len(self.columns) < MOST and not self._running:
            self._add_column(unused[0] if unused else next(iter(self.names), None))
            self._draw()

    def drop(self) -> None:
        """One column less."""
        if len(self.columns) > FEWEST and not self._running:
            self.columns.pop()
            self.columns_box.children = tuple(one.box for one in self.columns)
            self._draw()

    # Running.

    @property
    def _running(self) -> bool:
        return self.answers is not None and self.answers.running

    @property
    def options(self) -> dict[str, Any]:
        """The options that a run sends, the same to all models."""
        return {name: one.value for name, one in self.settings.items()} | self.other_options

    def prompt(self) -> Prompt:
        """The prompt as it will be sent."""
        if not self.system.value.strip():
            return self.question.value
        return [
            {"role": "system", "content": self.system.value},
            {"role": "user", "content": self.question.value},
        ]

    def run(self) -> None:
        """Put the prompt to all models."""
        if self._running:
            return
        with self.sentences():
            self._look_again()
            chosen = [column.model.value for column in self.columns]
            if self.blind.value:
                random.shuffle(chosen)
                for column, name in zip(self.columns, chosen, strict=True):
                    column.model.value = name
            answers = [Answer(name, self.prompt(), self.host, self.options) for name in chosen]
            self.answers = Answers(answers, self.at_once.value)
            self.runs.append(answers)
            self.voted = False
            self._drawn.clear()
            self.say("")
            if unattended():
                finish(self.answers)
                self._draw()
            else:
                follow(self.answers, self._draw, self._draw)

    def _look_again(self) -> None:
        """Offer the models that the server has now.

        Raises:
            ModelError, ServerError: there is none, one of those chosen is gone, or no server.
        """
        names = controls.chosen(None, self.host)
        for column in self.columns:
            if column.model.value is not None:
                controls.chosen(column.model.value, self.host)
        if names != self.names:
            self.names = names
            for place, column in enumerate(self.columns):
                keep = column.model.value
                column.model.options = names
                column.model.value = keep if keep in names else names[place % len(names)]

    def again(self) -> None:
        """Run again with the next seed."""
        if not self._running:
            self.settings["seed"].value += 1
            self.run()

    def stop(self) -> None:
        """End all answers that are under way."""
        if self.answers is not None:
            self.answers.stop()

    # Voting.

    def vote(self, letter: str | None) -> None:
        """Keep a vote for one answer against each other, or for none; then show the names."""
        if self.answers is None or self._running or self.voted:
            return
        answers = self.answers.answers
        best = None if letter is None else LETTERS.index(letter)
        prompt = self.runs[-1][0].prompt
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        with self.sentences():
            kept = 0
            for one, two in itertools.combinations(range(len(answers)), 2):
                pair = (answers[one].model, answers[two].model)
                if pair[0] == pair[1] or best not in (None, one, two):
                    continue
                winner = "tie" if best is None else "a" if best == one else "b"
                votes.add_vote(
                    self.votes_file,
                    voter=self.voter.value or "anonymous",
                    prompt=text,
                    model_a=pair[0],
                    model_b=pair[1],
                    winner=winner,
                )
                kept += 1
            self.voted = True
            said = "All equally good." if best is None else f"Best: {answers[best].model}."
            self._draw()
            self.table.value = markup.ratings_html(self.votes_file)
            count = "1 vote" if kept == 1 else f"{kept} votes"
            self.say(f"{said} {count} kept in {self.votes_file.resolve()}")

    def refer(self, letter: str, on: bool) -> None:
        """Make one answer the reference, or none."""
        for column in self.columns:
            if on and column.letter != letter:
                column.reference.value = False
        self._drawn.clear()
        self._draw()

    # What comes out.

    @property
    def frame(self) -> Any:
        """All runs as a DataFrame, as ``slmlab.compare`` gives it: to score, test and plot."""
        records, columns, prompts_seen, seeds = [], [], [], {}
        for run in self.runs:
            for answer in run:
                if answer.record is None:
                    continue
                if answer.record.prompt not in prompts_seen:
                    prompts_seen.append(answer.record.prompt)
                number = prompts_seen.index(answer.record.prompt)
                taken = seeds.setdefault((number, answer.model), [])
                columns.append({"prompt_id": number, "repeat": len(taken)})
                taken.append(answer.record.seed)
                records.append(answer.record)
        if not records:
            raise SlmlabError("Nothing was answered yet: press Run first.")
        return results.to_frame(records, columns)

    def to_table(self) -> None:
        """Show all runs as a table and write them as CSV into the current folder."""
        with self.sentences():
            frame = self.frame
            short = results.table(frame).astype(object).where(lambda cells: cells.notna(), None)
            self.table.value = markup.table_html(
                short.values.tolist(), list(short.columns), f"All {len(frame)} answers"
            )
            path = controls.new_file("side-by-side", "csv")
            results.to_csv(frame, path)
            self.say(
                f"Written to {path.resolve()}\nAs a DataFrame: lab = slmlab.side_by_side() in a "
                "cell, and lab.frame in another."
            )

    def to_report(self) -> None:
        """Write a report of all runs into the current folder."""
        with self.sentences():
            path = report(self.frame, controls.new_file("side-by-side", "html"), "Side by side")
            self.say(f"Report: {path.resolve()}")

    # Drawing.

    def _say_how(self) -> None:
        self.how.value = (
            "<p class='slmlab-quiet'>"
            + (
                "All at once: quicker on a GPU. The models share the machine, so their times are "
                "not their own."
                if self.at_once.value
                else "Turn by turn: each model has the machine for itself, so the times compare."
            )
            + "</p>"
        )

    def _draw(self) -> None:
        # Asked first: an answer that ends while this draws is drawn whole by the next frame.
        running = self._running
        answers = self.answers.answers if self.answers else []
        hidden = self.blind.value and not (self.voted and self.runs)
        referred = next((c.letter for c in self.columns if c.reference.value), None)
        reference = None
        if referred and LETTERS.index(referred) < len(answers):
            reference = answers[LETTERS.index(referred)].text
        for place, column in enumerate(self.columns):
            answer = answers[place] if place < len(answers) else None
            column.model.layout.display = "none" if hidden else ""
            column.hidden.value = (
                f"<span class='slmlab-title'>Model {column.letter}</span>" if hidden else ""
            )
            self._draw_column(column, answer, None if column.letter == referred else reference)
        if answers:
            self._draw_strips(answers, hidden)
        # Last, so that a button that can be pressed means that all is drawn.
        self._set_buttons(answers, running)

    def _set_buttons(self, answers: list[Answer], running: bool) -> None:
        some = bool(self.runs)
        done = some and not running and not self.voted
        for place, column in enumerate(self.columns):
            ended = place < len(answers) and answers[place].state in ("done", "stopped")
            column.model.disabled = running
            column.best.disabled = not (done and ended)
            column.reference.disabled = running or not ended
        self.tie_button.disabled = not done
        self.table_button.disabled = self.report_button.disabled = running or not some
        self.again_button.disabled = running or not some
        self.add_button.disabled = running or len(self.columns) >= MOST
        self.drop_button.disabled = running or len(self.columns) <= FEWEST
        self.stop_button.disabled = not running
        self.run_button.disabled = self.at_once.disabled = self.blind.disabled = running

    def _draw_column(self, column: _Column, answer: Answer | None, reference: str | None) -> None:
        # A column that nothing came to is not sent again.
        if answer is None:
            column.answer.value = "<div class='slmlab-answer'></div>"
            column.strip.value = ""
            return
        now = (id(answer), answer.state, len(answer.pieces), reference, answer.error)
        if self._drawn.get(column.letter) != now:
            self._drawn[column.letter] = now
            name = f"model {column.letter}"
            column.answer.value = markup.answer_html(answer, reference, name)

    def _draw_strips(self, answers: list[Answer], hidden: bool) -> None:
        """Times and speeds below each answer, with bars against the best."""
        records = [
            one.record if one.record and one.state == "done" and not one.record.error else None
            for one in answers
        ]
        now = (tuple(id(one) for one in records), hidden, len(self.columns))
        if self._drawn.get("strips") == now:
            return
        self._drawn["strips"] = now
        measures = [
            # A label, the number, how it is written, and whether more is better.
            ("first token", lambda r: r.ttft_s, "{:.2f} s", False),
            ("speed", lambda r: r.tokens_per_s, "{:.1f} tokens/s", True),
            ("whole answer", lambda r: r.wall_s, "{:.1f} s", False),
            ("length", lambda r: r.tokens, "{:.0f} tokens", None),
        ]
        for place, column in enumerate(self.columns[: len(records)]):
            record = records[place]
            # Speed tells who is small, so it stays hidden as long as the names do.
            if record is None or hidden:
                column.strip.value = ""
                continue
            lines = []
            for label, of, text, more in measures:
                value = of(record)
                if value is None:
                    continue
                values = [of(one) for one in records if one and of(one) is not None]
                best = max(values) if more else min(values)
                is_best = more is not None and value == best and len(values) > 1
                lines.append(
                    markup.bar_html(label, text.format(value), value / max(*values, 1e-9), is_best)
                )
            column.strip.value = (
                f"<div class='slmlab-strip'>{''.join(lines)}</div>"
                f"<div>{markup.flags_html(results.flags(record))}</div>"
            )

    # Without a front end.

    def static_html(self) -> str:
        """The answers beside each other; a question that was given is asked now."""
        if not self.runs and self.question.value.strip() and self.names:
            self.run()
        head = f"<p><strong>Prompt</strong> {html.escape(self.question.value) or '(none)'}</p>"
        boxes = "".join(
            "<div style='flex:1 1 17em;min-width:0'>"
            f"<p class='slmlab-title'>{html.escape(str(column.model.value))}</p>"
            f"{column.answer.value}{column.strip.value}</div>"
            for column in self.columns
        )
        return (
            f"{head}{self.said.value}"
            f"<div style='display:flex;flex-wrap:wrap;gap:12px'>{boxes}</div>{self.table.value}"
        )

    def __str__(self) -> str:
        models = ", ".join(str(column.model.value) for column in self.columns)
        lines = [f"Side by side at {self.host}: {models}."]
        if self.runs:
            lines += [f"{one.model}:\n{one.text}" for one in self.runs[-1]]
        else:
            lines.append(
                "Open this in Jupyter, Colab or VS Code to use it, or run "
                "slmlab.compare(models, prompt)."
            )
        return "\n\n".join(lines)

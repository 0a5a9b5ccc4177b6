"""One model, one prompt, every setting: to try things out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from markupsafe import Markup

from slmlab.run import prompts
from slmlab.run.images import need_vision
from slmlab.run.options import Options, Prompt, parameters_of
from slmlab.run.record import Generation
from slmlab.run.store import write
from slmlab.run.streaming import Answer, Answers
from slmlab.show.markdown import code_block
from slmlab.widgets import controls, export, markup
from slmlab.widgets.conversation import Setup, Turn, column_prompts, path
from slmlab.widgets.follow_up import FollowUp
from slmlab.widgets.langchain_code import langchain_code
from slmlab.widgets.live import AnswersPanel
from slmlab.widgets.measures import metrics_html
from slmlab.widgets.option_fields import FIELDS, OptionFields
from slmlab.widgets.pictures import Pictures
from slmlab.widgets.playground_run import Run
from slmlab.widgets.template_fields import TemplateFields
from slmlab.widgets.token_view import TokenView
from slmlab.widgets.transcript import Transcript

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Unpack

Turns = tuple[Turn, ...]


def playground(
    model: str | None = None,
    prompt: str | None = None,
    *,
    template: str = "plain",
    system: str = "",
    images: Any = None,
    host: str | None = None,
    **options: Unpack[Options],
) -> Playground:
    """Try out a model with different prompts, templates, system prompts and settings.

    The answer is streamed. Below it are its times, its speed, and whether the prompt or the answer
    was cut. A follow-up goes on from the answer on the screen; an earlier question can be asked
    again with another text. Arrows lead back through earlier runs; "Show the code" gives the
    equivalent LangChain code.

    Args:
        model: the model to start with (default: the first on the server).
        prompt: the text to start with; it fills the template's ``{question}``.
        template: a template's name or text (see ``slmlab.prompts.TEMPLATES``).
        system: a system prompt to start with.
        images: an image or several that go along with the prompt, for a model that can see: paths,
            bytes, or pictures of PIL.
        host: the server (default: ``slmlab.server.host()``).
        options: settings to start with (``temperature``, ``top_p``, ``seed``, ``num_ctx``,
            ``num_predict``).

    Returns:
        An ipywidget: the last line of a cell shows it, and it can be put into an ``HBox`` or
        ``Tab``. Its ``records`` are those of all runs, ``frame`` the same as a DataFrame, and
        ``conversation`` the messages on the screen, as ``slmlab.compare`` takes them.

    Raises:
        PromptError: the prompt, an option or the template is not usable.

    Examples:
        >>> page = slmlab.playground(names[0], "Why is the sky blue?", num_predict=10)
        >>> page.run()  # as the button does
        >>> page.frame["tokens"].tolist()
        [10]
    """
    return Playground(model, prompt, template, system, host, options, images)


class Playground(AnswersPanel):
    """See ``slmlab.playground``; ``records`` are those of all runs, ``frame`` as a DataFrame."""

    def __init__(
        self,
        model: str | None,
        prompt: str | None,
        template: str,
        system: str,
        host: str | None,
        options: Mapping[str, Any],
        images: Any = None,
    ) -> None:
        super().__init__("playground")
        self.pictures = Pictures(images)
        self.settings = OptionFields(tuple(FIELDS), options, parameters_of(playground))
        self.host = controls.host_here(host)
        wanted = controls.model_names(model)
        self.runs: list[Run] = []
        self.place = 0
        self.template = TemplateFields(
            template, controls.first_text(prompt), self._show_code, self.say
        )
        self._make_fields(system)
        self._make_buttons()
        wide = widgets.Layout(width="auto")
        self.where = widgets.HTML()
        self.output, self.metrics, self.code = (widgets.HTML(layout=wide) for _ in range(3))
        self.card = widgets.VBox([self.output, self.metrics])
        self.card.add_class("slmlab-card")
        self.card.layout.display = "none"
        self.settings_fold = controls.folded(
            "", self.template.text, self.system, controls.row(*self.settings.fields.values())
        )
        self.earlier, self.token_view = Transcript(), TokenView()
        self.follow_up_box = FollowUp("A further question", self.follow_up, self.to_json)
        self._show_code()
        self.arrange(
            controls.row(self.model, self.template.choice),
            self.template,
            self.pictures,
            controls.row(
                self.run_button,
                self.stop_button,
                self.earlier_button,
                self.where,
                self.later_button,
                self.save_button,
                self.token_view.switch,
            ),
            self.settings_fold,
            self.earlier,
            self.card,
            self.token_view,
            self.follow_up_box,
            controls.folded("Show the code", self.code),
        )
        self._find_models(wanted[0] if wanted else None)
        self.draw()

    def _make_fields(self, system: str) -> None:
        self.model = widgets.Dropdown(description="Model", layout=widgets.Layout(width="24em"))
        self.system = controls.system_area(system)
        for part in (self.model, self.system, *self.settings.fields.values()):
            part.observe(lambda _: self._show_code(), "value")

    def _make_buttons(self) -> None:
        button = controls.button
        self.run_button = button("Run", self.run, "Put the prompt to the model", "primary")
        self.stop_button = button("Stop", self.stop, "End this answer; what has come stays")
        self.earlier_button = button("◀ Earlier", lambda: self.go(-1), "The run before this one")
        self.later_button = button("Later ▶", lambda: self.go(1), "The run after this one")
        self.save_button = button("Save", self.save, "Write this run to a file")

    # What the reader sets.

    def _find_models(self, wanted: str | None = None) -> bool:
        with self.errors_shown():
            names = controls.resolved(None, self.host)
            keep = wanted or self.model.value
            if keep:
                (keep,) = controls.resolved([keep], self.host)
            self.model.options = names
            self.model.value = keep if keep in names else names[0]
            return True
        return False

    def prompt(self) -> Prompt:
        """The prompt as it will be sent.

        Raises:
            PromptError: the template or a variable is not usable.
        """
        text = controls.with_system(self.template.filled(), self.system.value)
        return self.pictures.beside(text)

    # Running.

    def run(self) -> None:
        """Send the prompt to the model."""
        if self.running or not self._find_models():
            return
        with self.errors_shown():
            prompt = self.prompt()
            text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            self._put(prompt, text, (), self.template.values, self.template.text.value)

    def follow_up(self) -> None:
        """Send the follow-up, after the turns that it goes on from."""
        if self.running or not self.runs or not self._find_models():
            return
        run, text = self.runs[self.place], self.follow_up_box.text.value
        turns = run.turns[: self.follow_up_box.point.after]
        with self.errors_shown():
            (prompt,) = column_prompts(text, turns, None, [Setup(system=self.system.value)])
            plain = {"question": text}, prompts.TEMPLATES["plain"]
            self._put(prompt, text, turns, *((run.values, run.template) if turns else plain))
            self.follow_up_box.clear()

    def _put(
        self, prompt: Prompt, text: str, turns: Turns, values: dict[str, str], template: str
    ) -> None:
        need_vision(prompt, self.model.value, self.host)
        system, options = self.system.value, self.settings.options
        wanted = self.token_view.alternatives
        answer = Answer(self.model.value, prompt, self.host, options, logprobs=wanted)
        answers = Answers([answer])
        setup = Setup(system=system, options=options)
        turns = (*turns, Turn(text, [answer], [setup], path(text, turns, None)))
        self.runs.append(Run(answer, values, template, system, self.settings.values, turns))
        self.place = len(self.runs) - 1
        self.begin(answers)

    def go(self, steps: int) -> None:
        """Go to an earlier or later run, and restore its inputs and settings."""
        place = self.place + steps
        if self.running or not 0 <= place < len(self.runs):
            return
        self.place = place
        run = self.runs[place]
        if run.answer.model in self.model.options:
            self.model.value = run.answer.model
        self.template.show(run.template, run.values)
        self.system.value = run.system
        self.settings.values = run.settings
        self.draw()

    @property
    def records(self) -> list[Generation]:
        """The records of all runs."""
        return [run.answer.record for run in self.runs if run.answer.record]

    @property
    def frame(self) -> pd.DataFrame:
        """All runs as a DataFrame like that of ``slmlab.compare``.

        Raises:
            SlmlabError: there is no answer yet.
        """
        return export.to_frame(run.answer for run in self.runs)

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The conversation on the screen, as one row that ``slmlab.compare`` takes.

        Raises:
            SlmlabError: there is no answer yet.
        """
        return export.conversations(self.runs[self.place].turns if self.runs else ())

    def to_json(self) -> None:
        """Write the conversation on the screen to a JSON file in the current folder."""
        with self.errors_shown():
            self.say(export.save_conversations(self.runs[self.place].turns))

    def save(self) -> None:
        """Write the run on the screen to a file in the current folder."""
        with self.errors_shown():
            path = controls.new_file("playground", "md")
            write(path, self.runs[self.place].as_markdown())
            self.say(f"Saved in {path.resolve()}")

    # Drawing.

    def _draw_answers(self, running: bool) -> None:
        if self.runs:
            answer = self.runs[self.place].answer
            self.earlier.draw(self.runs[self.place].turns)
            self.where.value = Markup("<span>{} of {}</span>").format(
                self.place + 1, len(self.runs)
            )
            controls.show_state(self.card, answer.state)
            self.card.layout.display = ""
            self.output.value = markup.answer_html(answer)
            self.metrics.value = "" if running else metrics_html(answer)
            self.token_view.draw({} if running else {answer.model: answer.record})

    def _set_buttons(self, running: bool) -> None:
        if self.runs:
            self.follow_up_box.offer(self.runs[self.place].turns, running)
        self.earlier_button.disabled = running or self.place == 0
        self.later_button.disabled = running or self.place >= len(self.runs) - 1
        self.save_button.disabled = running or not self.runs
        self.run_button.disabled, self.stop_button.disabled = running, not running

    @property
    def code_text(self) -> str:
        """LangChain code that does what Run does with the current inputs and settings."""
        without = "# Without the images, which LangChain takes in a HumanMessage.\n"
        return without * bool(self.pictures.digests) + langchain_code(
            self.model.value,
            self.template.text.value,
            self.template.values,
            system=self.system.value,
            host=self.host,
            options=self.settings.options,
        )

    def _show_code(self) -> None:
        self.code.value = code_block(self.code_text, "python")
        system = ["with a system prompt"] if self.system.value.strip() else []
        title = " · ".join([self.settings.summary, *system])
        self.settings_fold.set_title(0, f"Template and settings: {title}")

    # Without a front end.

    def static_html(self) -> str:
        """The prompt, the answer and the code; runs a given prompt that was not run yet."""
        if not self.runs and self.model.value and all(self.template.values.values()):
            self.run()
        head = Markup("<p><strong>Playground</strong> · {} · {}</p>").format(
            str(self.model.value), json.dumps(self.template.values, ensure_ascii=False)
        )
        parts = (
            self.message,
            self.pictures,
            self.earlier,
            self.output,
            self.metrics,
            self.token_view,
            self.code,
        )
        return head + Markup().join(map(markup.shown, parts))

    def __str__(self) -> str:
        lines = [f"Playground for {self.model.value or 'no model yet'} at {self.host}."]
        if self.model.value is None:
            lines.append(self.message_text)
        elif self.runs:
            lines.append(self.runs[self.place].answer.text)
        else:
            lines.append("Open this in Jupyter, Colab or VS Code to use it, or run:")
            lines.append(self.code_text)
        return "\n\n".join(lines)

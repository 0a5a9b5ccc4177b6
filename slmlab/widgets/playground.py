"""One model, one prompt, every setting: to try things out."""

from __future__ import annotations

import html
import json
from typing import Any

import ipywidgets as widgets

from slmlab.engines.address import DEFAULT_PORT
from slmlab.errors import SlmlabError
from slmlab.run import prompts, results
from slmlab.run.options import DEFAULT_OPTIONS, Prompt
from slmlab.run.store import write
from slmlab.run.streaming import Answer, Answers, finish
from slmlab.show import display, sanitize
from slmlab.widgets import controls, markup
from slmlab.widgets.live import follow
from slmlab.widgets.panel import Panel, unattended

OWN = "(my own)"
# What LangChain's OllamaLLM has fields for; everything else is at Ollama's own default.
LANGCHAIN_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "repeat_penalty",
    "repeat_last_n",
    "seed",
    "num_ctx",
    "num_predict",
)


def playground(
    question: str | None = None,
    model: str | None = None,
    *,
    template: str = "plain",
    system: str = "",
    host: str | None = None,
    **options: Any,
) -> Playground:
    """A place to try a model out: prompt, template, system prompt and settings, and what they give.

    The answer is streamed; below it stand its times, its speed, and whether the prompt or the
    answer was cut. Arrows lead back through what was tried; "Show the code" gives the lines of
    LangChain that do the same.

    Args:
        question: the text to start with.
        model: the model to start with (default: the first that the server has).
        template: a template's name or text (see ``slmlab.prompts.TEMPLATES``).
        system: a system prompt to start with.
        host: the server (default: ``slmlab.server.host()``).
        options: settings to start with (``temperature``, ``top_p``, ``seed``, ``num_ctx``,
            ``num_predict``).

    Raises:
        PromptError: an option or the template is not usable.
    """
    return Playground(question, model, template, system, host, options)


class Playground(Panel):
    """See ``slmlab.playground``; ``records`` has what was generated, ``frame`` as a DataFrame."""

    def __init__(
        self,
        question: str | None,
        model: str | None,
        template: str,
        system: str,
        host: str | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__("playground")
        from slmlab.run.options import full_options, parameters_of

        settings = full_options(options, parameters=parameters_of(playground))
        self.other_options = {
            name: value
            for name, value in options.items()
            if name not in ("temperature", "top_p", "seed", "num_ctx", "num_predict")
        }
        self.host = controls.host_here(host)
        self.tried: list[dict[str, Any]] = []
        self.place = 0
        self.answers: Answers | None = None
        wide = widgets.Layout(width="auto")
        text = prompts.template_text(template)
        prompts.variables(text)

        self.model = widgets.Dropdown(description="Model", layout=widgets.Layout(width="24em"))
        self.template = widgets.Dropdown(
            description="Template",
            options=[*prompts.TEMPLATES, OWN],
            value=template if template in prompts.TEMPLATES else OWN,
            layout=widgets.Layout(width="20em"),
        )
        self.template_text = widgets.Textarea(
            description="Template text", value=text, rows=3, layout=wide
        )
        self.system = widgets.Textarea(
            description="System",
            value=system,
            rows=2,
            layout=wide,
            placeholder="How the model should behave; may stay empty",
        )
        self.fields: dict[str, widgets.Textarea] = {}
        self.typed: dict[str, str] = {"question": controls.first_text(question)}
        self.fields_box = widgets.VBox(layout=wide)
        number = {"layout": widgets.Layout(width="15em")}
        self.settings = {
            "temperature": widgets.BoundedFloatText(
                description="Temperature",
                value=settings["temperature"],
                min=0,
                max=5,
                step=0.1,
                **number,
            ),
            "top_p": widgets.BoundedFloatText(
                description="top_p", value=settings["top_p"], min=0, max=1, step=0.05, **number
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
        more = widgets.Accordion(
            children=[
                widgets.VBox(
                    [self.template_text, self.system, controls.row(*self.settings.values())]
                )
            ]
        )
        more.set_title(0, "Template text, system prompt and settings")
        more.selected_index = None

        self.run_button = controls.button("Run", self.run, "Put the prompt to the model", "primary")
        self.stop_button = controls.button(
            "Stop", self.stop, "End this answer; what has come stays"
        )
        self.back_button = controls.button(
            "◀ Earlier", lambda: self.go(-1), "The run before this one"
        )
        self.on_button = controls.button("Later ▶", lambda: self.go(1), "The run after this one")
        self.save_button = controls.button("Save", self.save, "Write this run to a file")
        self.where = widgets.HTML()
        self.output = widgets.HTML(layout=wide)
        self.metrics = widgets.HTML(layout=wide)
        self.code = widgets.HTML(layout=wide)
        code = widgets.Accordion(children=[self.code])
        code.set_title(0, "Show the code")
        code.selected_index = None

        self.template.observe(self._template_chosen, "value")
        self.template_text.observe(self._template_typed, "value")
        for part in (self.model, self.system, *self.settings.values()):
            part.observe(lambda _: self._show_code(), "value")
        self._make_fields()
        self.show(
            controls.row(self.model, self.template),
            self.fields_box,
            controls.row(
                self.run_button,
                self.stop_button,
                self.back_button,
                self.where,
                self.on_button,
                self.save_button,
            ),
            more,
            self.output,
            self.metrics,
            code,
        )
        self._find_models(model)
        self._draw()

    # What the reader sets.

    def _find_models(self, wanted: str | None = None) -> bool:
        with self.sentences():
            names = controls.chosen(None, self.host)
            keep = wanted or self.model.value
            if keep:
                keep = controls.chosen(keep, self.host)[0]
            self.model.options = names
            self.model.value = keep if keep in names else names[0]
            return True
        return False

    def _template_chosen(self, change: dict) -> None:
        if change["new"] in prompts.TEMPLATES:
            self.template_text.value = prompts.TEMPLATES[change["new"]]

    def _template_typed(self, change: dict) -> None:
        named = [name for name, text in prompts.TEMPLATES.items() if text == change["new"]]
        if self.template.value not in named:
            self.template.value = named[0] if named else OWN
        self._make_fields()

    def _make_fields(self) -> None:
        """A field for each of the template's variables; what was typed under a name stays."""
        self.typed |= {name: field.value for name, field in self.fields.items()}
        try:
            names = prompts.variables(self.template_text.value)
        except SlmlabError as error:
            self.say(str(error), wrong=True)
            return
        self.say("")
        self.fields = {}
        for name in names:
            field = widgets.Textarea(
                description=name.capitalize(),
                value=self.typed.get(name, ""),
                rows=2,
                placeholder=f"the template's {name}",
                layout=widgets.Layout(width="auto"),
            )
            field.observe(lambda _: self._show_code(), "value")
            self.fields[name] = field
        self.fields_box.children = tuple(self.fields.values())
        self._show_code()

    @property
    def values(self) -> dict[str, str]:
        """What was typed for the template's variables."""
        return {name: field.value for name, field in self.fields.items()}

    @property
    def options(self) -> dict[str, Any]:
        """The options that a run sends."""
        return {name: one.value for name, one in self.settings.items()} | self.other_options

    def prompt(self) -> Prompt:
        """The prompt as it will be sent.

        Raises:
            PromptError: the template or a variable is not usable.
        """
        text = prompts.fill(self.template_text.value, **self.values)
        if not self.system.value.strip():
            return text
        return [
            {"role": "system", "content": self.system.value},
            {"role": "user", "content": text},
        ]

    # Running.

    def run(self) -> None:
        """Put the prompt to the model."""
        if self.answers is not None and self.answers.running:
            return
        if not self._find_models():
            return
        with self.sentences():
            answer = Answer(self.model.value, self.prompt(), self.host, self.options)
            self.answers = Answers([answer])
            self.say("")
            self.tried.append(
                {
                    "answer": answer,
                    "model": self.model.value,
                    "values": self.values,
                    "template": self.template_text.value,
                    "system": self.system.value,
                    "settings": {name: one.value for name, one in self.settings.items()},
                }
            )
            self.place = len(self.tried) - 1
            if unattended():
                finish(self.answers)
                self._draw()
            else:
                follow(self.answers, self._draw, self._draw)

    def stop(self) -> None:
        """End the answer that is under way."""
        if self.answers is not None:
            self.answers.stop()

    def go(self, steps: int) -> None:
        """Go to an earlier or later run, with everything that was set for it."""
        place = self.place + steps
        if not 0 <= place < len(self.tried) or (self.answers and self.answers.running):
            return
        self.place = place
        was = self.tried[place]
        if was["model"] in self.model.options:
            self.model.value = was["model"]
        self.template_text.value, self.system.value = was["template"], was["system"]
        for name, value in was["values"].items():
            self.fields[name].value = value
        for name, value in was["settings"].items():
            self.settings[name].value = value
        self._draw()

    @property
    def records(self) -> list:
        """The records of all runs."""
        return [one["answer"].record for one in self.tried if one["answer"].record]

    @property
    def frame(self) -> Any:
        """All runs as a DataFrame, as ``slmlab.compare`` gives it."""
        return results.to_frame(self.records)

    def save(self) -> None:
        """Write the run that is shown to a file in the current folder."""
        with self.sentences():
            path = controls.new_file("playground", "md")
            write(path, self._as_markdown(self.tried[self.place]))
            self.say(f"Saved in {path.resolve()}")

    def _as_markdown(self, run: dict[str, Any]) -> str:
        answer = run["answer"]
        about = str(answer.record) if answer.record else answer.error
        return (
            f"# {answer.model}\n\n{about}\n\n## Prompt\n\n{sanitize.prompt_text(answer.prompt)}\n\n"
            f"## Answer\n\n{answer.text}\n\n## Settings\n\n```json\n"
            f"{json.dumps(dict(answer.options), indent=1)}\n```\n\n"
            f"## Code\n\n```python\n{self.code_text}\n```\n"
        )

    # Drawing.

    def _draw(self) -> None:
        running = self.answers is not None and self.answers.running
        if self.tried:
            answer = self.tried[self.place]["answer"]
            self.where.value = f"<span>{self.place + 1} of {len(self.tried)}</span>"
            self.output.value = markup.answer_html(answer)
            self.metrics.value = "" if running else self._metrics(answer)
        # Last, so that a button that can be pressed means that all is drawn.
        self.back_button.disabled = running or self.place == 0
        self.on_button.disabled = running or self.place >= len(self.tried) - 1
        self.save_button.disabled = running or not self.tried
        self.run_button.disabled, self.stop_button.disabled = running, not running

    def _metrics(self, answer: Answer) -> str:
        copy = markup.copy_button(answer.text[: markup.LONGEST_SHOWN])
        record = answer.record
        if record is None or record.error:
            return copy
        rows = [
            ("first token", f"{record.ttft_s:.2f} s" if record.ttft_s is not None else "—"),
            ("speed", f"{record.tokens_per_s:.1f} tokens/s" if record.tokens_per_s else "—"),
            ("prompt", f"{record.prompt_tokens} tokens"),
            ("answer", f"{record.tokens} tokens in {record.wall_s:.1f} s"),
            ("ended by", display.why_it_ended(record)),
        ]
        line = " · ".join(f"{name} <strong>{html.escape(text)}</strong>" for name, text in rows)
        return f"<div>{line} {markup.flags_html(results.flags(record))} {copy}</div>"

    @property
    def code_text(self) -> str:
        """The lines of LangChain that do the same."""
        chat = bool(self.system.value.strip())
        kind = "ChatOllama" if chat else "OllamaLLM"
        # A ChatPromptTemplate before an OllamaLLM puts "Human: " before the text.
        way = "ChatPromptTemplate" if chat else "PromptTemplate"
        template = repr(self.template_text.value)
        if chat:
            template = f"[('system', {_doubled(self.system.value)!r}), ('user', {template})]"
        make = "from_messages" if chat else "from_template"
        sent = DEFAULT_OPTIONS | self.options
        given = {name: sent[name] for name in LANGCHAIN_FIELDS}
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        address = (
            "" if self.host == f"http://127.0.0.1:{DEFAULT_PORT}" else f", base_url={self.host!r}"
        )
        call = f"chain.invoke({self.values})"
        return (
            f"from langchain_core.prompts import {way}\n"
            f"from langchain_ollama import {kind}\n\n"
            f"prompt = {way}.{make}({template})\n"
            f"chain = prompt | {kind}(model={self.model.value!r}{address}, {arguments})\n"
            f"{call}{'.content' if chat else ''}"
        )

    def _show_code(self) -> None:
        code = html.escape(self.code_text)
        self.code.value = f"<div class='slmlab-code'><pre tabindex='0'>{code}</pre></div>"

    # Without a front end.

    def _run_if_asked(self) -> None:
        if not self.tried and self.model.value and all(self.values.values()):
            self.run()

    def static_html(self) -> str:
        """The prompt, the answer and the code; a question that was given is asked now."""
        self._run_if_asked()
        prompt = html.escape(json.dumps(self.values, ensure_ascii=False))
        head = (
            f"<p><strong>Playground</strong> · {html.escape(str(self.model.value))} · {prompt}</p>"
        )
        return head + self.said.value + self.output.value + self.metrics.value + self.code.value

    def __str__(self) -> str:
        lines = [f"Playground for {self.model.value or 'no model yet'} at {self.host}."]
        if self.tried:
            lines.append(self.tried[self.place]["answer"].text)
        else:
            lines.append("Open this in Jupyter, Colab or VS Code to use it, or run:")
            lines.append(self.code_text)
        return "\n\n".join(lines)


def _doubled(text: str) -> str:
    """A text as a template without variables."""
    return text.replace("{", "{{").replace("}", "}}")

"""A prompt template, and a field for each of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import ipywidgets as widgets

from slmlab.errors import SlmlabError
from slmlab.run import prompts
from slmlab.widgets import controls

OWN = "(my own)"


class Say(Protocol):
    """Shows a message to the user, as ``Panel.say`` does."""

    def __call__(self, text: str, wrong: bool = False) -> None:
        """Show it."""


class TemplateFields(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """The fields for a template's variables; ``choice`` and ``text`` are those for the template.

    Args:
        template: the name or text of the template to start with.
        question: the text to start with, for the variable ``question``.
        changed: is called when the template or a variable has changed.
        say: is called with what is wrong with the template, or with an empty text.

    Raises:
        PromptError: the template is not usable.
    """

    def __init__(self, template: str, question: str, changed: Callable[[], None], say: Say) -> None:
        text = prompts.template_text(template)
        super().__init__(layout=widgets.Layout(width="auto"))
        self.choice = widgets.Dropdown(
            description="Template",
            options=[*prompts.TEMPLATES, OWN],
            value=template if template in prompts.TEMPLATES else OWN,
            layout=widgets.Layout(width="20em"),
        )
        self.text = controls.text_area("Template text", text, "", rows=3)
        self.fields: dict[str, widgets.Textarea] = {}
        # Also for variables that the present template does not have.
        self._typed = {"question": question}
        self._changed, self._say = changed, say
        self.choice.observe(self._chosen, "value")
        self.text.observe(self._edited, "value")
        self._make_fields()

    @property
    def values(self) -> dict[str, str]:
        """The texts typed for the template's variables."""
        return {name: field.value for name, field in self.fields.items()}

    def show(self, template: str, values: Mapping[str, str]) -> None:
        """Show another template's text and the values of its variables."""
        self.text.value = template
        for name, value in values.items():
            self.fields[name].value = value

    def filled(self) -> str:
        """The template with the values of its variables.

        Raises:
            PromptError: the template or a variable is not usable.
        """
        return prompts.fill(self.text.value, **self.values)

    def _chosen(self, change: dict[str, Any]) -> None:
        if change["new"] in prompts.TEMPLATES:
            self.text.value = prompts.TEMPLATES[change["new"]]

    def _edited(self, change: dict[str, Any]) -> None:
        named = [name for name, text in prompts.TEMPLATES.items() if text == change["new"]]
        if self.choice.value not in named:
            self.choice.value = named[0] if named else OWN
        self._typed |= self.values
        try:
            self._make_fields()
        except SlmlabError as error:
            self._say(str(error), wrong=True)
            return
        self._say("")
        self._changed()

    def _make_fields(self) -> None:
        names = prompts.variables(self.text.value)
        self.fields = {}
        for name in names:
            hint = f"the template's {name}"
            field = controls.text_area(name.capitalize(), self._typed.get(name, ""), hint)
            field.observe(lambda _: self._changed(), "value")
            self.fields[name] = field
        self.children = tuple(self.fields.values())

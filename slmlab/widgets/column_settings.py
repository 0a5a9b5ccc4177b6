"""The settings of a column in ``side_by_side``: those of all columns, or its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from slmlab.errors import PromptError
from slmlab.run import prompts
from slmlab.widgets import controls
from slmlab.widgets.conversation import Setup, varied_settings
from slmlab.widgets.option_fields import OptionFields

SHOWN = ("temperature", "seed", "num_ctx", "num_predict")
OWN = "(my own)"
# Others need more than the one text that goes to all models.
TEMPLATES = tuple(name for name in prompts.TEMPLATES if len(prompts.variables(name)) == 1)


class SettingsFields(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Fields for a template, a system prompt, some options, and whether a model may think.

    Raises:
        PromptError: an option or the template is not usable.
    """

    def __init__(self, start: Setup, parameters: Sequence[str] = (), narrow: bool = False) -> None:
        named = start.template in TEMPLATES
        self.options = OptionFields(SHOWN, start.options, parameters)
        self.template = widgets.Dropdown(
            description="Template",
            options=[*TEMPLATES, OWN],
            value=start.template if named else OWN,
            layout=widgets.Layout(width="auto" if narrow else "20em"),
        )
        self.text = controls.text_area(
            "Text", prompts.template_text(start.template), "with {question}"
        )
        prompts.variables(self.text.value)
        self.system = controls.system_area(start.system)
        self.think = controls.checkbox("Let it think")
        self.think.value = start.think
        self.template.observe(lambda _: self._show_text(), "value")
        fields = [*self.options.fields.values()]
        if narrow:
            for one in fields:
                one.layout.width = "auto"
            parts = [self.template, self.text, self.system, *fields, self.think]
        else:
            parts = [
                self.system,
                controls.row(self.template, *fields, self.think),
                self.text,
            ]
        super().__init__(parts)
        self._show_text()

    def _show_text(self) -> None:
        own = self.template.value == OWN
        self.text.layout.display = "" if own else "none"
        if not own:
            self.text.value = prompts.TEMPLATES[self.template.value]

    def on_change(self, call: Callable[[], None]) -> None:
        """Have this called whenever a field changes."""
        for one in (
            *(self.template, self.text, self.system, self.think),
            *self.options.fields.values(),
        ):
            one.observe(lambda _: call(), "value")

    @property
    def summary(self) -> str:
        """The settings in one line: the options, and what else is not as it is by default."""
        setup = self.setup
        others = varied_settings([Setup(options=setup.options), setup])
        return " · ".join([self.options.summary, *map(setup.named, others)])

    @property
    def setup(self) -> Setup:
        """What the fields say."""
        chosen = self.template.value
        return Setup(
            self.text.value if chosen == OWN else chosen,
            self.system.value,
            self.think.value,
            self.options.options,
        )


class ColumnSettings(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A box to tick, and below it a column's own settings as long as it is ticked.

    They fold away under a title that says what differs from the settings of all.
    """

    def __init__(self, letter: str, shared: SettingsFields) -> None:
        self.own = controls.checkbox(f"Own settings for {letter}")
        self.shared = shared
        self.fields: SettingsFields | None = None
        self.fold = controls.folded("")
        self.children: tuple[widgets.Widget, ...]
        super().__init__([self.own])
        self.own.observe(lambda _: self._ticked(), "value")

    def _ticked(self) -> None:
        # They start as what is set for all, and keep what was typed when unticked and ticked again.
        if self.own.value and self.fields is None:
            self.fields = SettingsFields(self.shared.setup, narrow=True)
            self.fields.on_change(self.name_difference)
        self._show()
        self.fold.selected_index = 0 if self.own.value else None

    def _show(self) -> None:
        if not self.own.value or self.fields is None:
            self.children = (self.own,)
            return
        self.fold.children = (self.fields,)
        self.name_difference()
        self.children = (self.own, self.fold)

    def name_difference(self) -> None:
        """Bring the title up to date."""
        if self.fields is not None:
            own = self.fields.setup
            varied = varied_settings([self.shared.setup, own])
            self.fold.set_title(0, " · ".join(map(own.named, varied)) or "the same as for all")

    @property
    def setup(self) -> Setup:
        """The settings that this column runs with."""
        return self.fields.setup if self.own.value and self.fields else self.shared.setup

    @property
    def state(self) -> tuple[bool, SettingsFields | None]:
        """Whether the column has its own settings, and their fields: to exchange two columns'."""
        return self.own.value, self.fields

    @state.setter
    def state(self, state: tuple[bool, SettingsFields | None]) -> None:
        own, self.fields = state
        self.own.value = own
        self._show()
        self.fold.selected_index = None

    def start(self, own: Mapping[str, Any]) -> None:
        """Begin with settings of its own: options, ``template``, ``system``, ``think``.

        Raises:
            PromptError: one of them is not usable.
        """
        given = dict(own)
        base = self.shared.setup
        for name, kind in (("template", str), ("system", str), ("think", bool)):
            if not isinstance(given.get(name, kind()), kind):
                raise PromptError(f"{name} of a column is a {kind.__name__}; got {given[name]!r}.")
        setup = Setup(
            given.pop("template", base.template),
            given.pop("system", base.system),
            given.pop("think", base.think),
            {**base.options, **given},
        )
        self.fields = SettingsFields(setup, ("template", "system", "think"), narrow=True)
        self.fields.on_change(self.name_difference)
        self.own.value = True
        self.fold.selected_index = None

"""The sampling options that the user can change, as a row of number fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from slmlab.run.options import DEFAULT_OPTIONS, full_options

# For some of ``DEFAULT_OPTIONS``: a label, the smallest and the largest value, and the step.
FIELDS: dict[str, tuple[str, float, float, float]] = {
    "temperature": ("Temperature", 0, 5, 0.1),
    "top_p": ("top_p", 0, 1, 0.05),
    "seed": ("Seed", -1, 2**31 - 1, 1),
    "num_ctx": ("Context", 64, 2**20, 1),
    "num_predict": ("Length", 1, 2**20, 1),
}


class OptionFields:
    """Number fields for some sampling options; the others keep the values they were given.

    Args:
        names: the options that get a field, from ``FIELDS``.
        options: the options that the widget was called with.
        parameters: the other parameters of its function, for the hint at a mistyped name.

    Raises:
        PromptError: an option is not usable.
    """

    def __init__(
        self, names: Sequence[str], options: Mapping[str, Any], parameters: Sequence[str]
    ) -> None:
        start = full_options(options, parameters=parameters)
        self.fields = {name: _field(name, start[name]) for name in names}
        self._others = {name: value for name, value in options.items() if name not in names}

    @property
    def values(self) -> dict[str, Any]:
        """The values in the fields, by option."""
        return {name: field.value for name, field in self.fields.items()}

    @values.setter
    def values(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self.fields[name].value = value

    @property
    def summary(self) -> str:
        """The values in the fields, in one line."""
        named = (f"{FIELDS[name][0].lower()} {value:.12g}" for name, value in self.values.items())
        return " · ".join(named)

    @property
    def options(self) -> dict[str, Any]:
        """The options of a run: the values in the fields, and the others."""
        return self.values | self._others


def _field(name: str, value: Any) -> widgets.Widget:
    label, low, high, step = FIELDS[name]
    whole = isinstance(DEFAULT_OPTIONS[name], int)
    kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
    return kind(
        description=label,
        value=value,
        min=low,
        max=high,
        step=step,
        layout=widgets.Layout(width="15em"),
    )

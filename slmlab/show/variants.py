"""The variants of a comparison: its models, with the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slmlab.run.cells import plain
from slmlab.run.frames import WAYS
from slmlab.run.options import ALL_OPTIONS, DEFAULT_OPTIONS
from slmlab.run.tools import FIELDS
from slmlab.show.figure import shorten

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = ("think", *ALL_OPTIONS)
AXES = ("machine", "engine", "template", "system", "quantization", *SETTINGS)


def differing(frame: pd.DataFrame) -> list[str]:
    """The settings that differ between rows; the seed, which differs between repeats, included."""
    return [name for name in AXES if name in frame and _known(frame, name).nunique() > 1]


def _known(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column as texts. Where a server did not take an option, its value is not known."""
    texts = frame[name].astype(str)
    return texts.where(frame[name].notna()) if name in DEFAULT_OPTIONS else texts


def compared(frame: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The settings that are compared: those that differ between answers to the same prompt.

    Args:
        frame: what ``slmlab.compare`` returned, or several of these in one.
        keys: of the prompt of each row.
    """
    return [
        name
        for name in differing(frame)
        if name != "seed" and (_known(frame, name).groupby(list(keys)).nunique() > 1).any()
    ]


def names(frame: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """For each row its variant: the model, with those of its settings that are compared.

    A widget has named its columns already (``variant``).
    """
    settings = [name for name in compared(frame, keys) if name != "quantization"]
    rows = frame[[one for one in ("model", "variant", *settings) if one in frame]]
    return [
        str(
            plain(row.get("variant"))
            or " · ".join([row["model"], *(_named(name, row[name]) for name in settings)])
        )
        for row in rows.to_dict("records")
    ]


def as_models(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The comparison with each variant as a model of its own, and each prompt as its key.

    Args:
        frame: a comparison with a column ``variant``.
        keys: of the prompt of each row.
    """
    ways = [name for name in (*WAYS, "quantization") if name in frame]
    return frame.assign(model=frame["variant"], prompt=list(keys)).drop(columns=ways)


def _named(name: str, value: Any) -> str:
    """A setting in a few words, as ``temperature 1.0``."""
    value = plain(value)
    if name == "system":
        return f"system “{shorten(value)}”" if value else "no system prompt"
    if name in ("machine", "engine"):
        return str(value)
    if name == "think":
        return "thinking" if value else "not thinking"
    if name in FIELDS and value is None:
        return f"no {name}"
    return f"{name} {'default' if value is None else shorten(value)}"

"""A program that repeats a comparison, made from its table."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import slmlab
from slmlab.engines.address import is_local
from slmlab.run.cells import plain
from slmlab.run.comparison import as_first_asked
from slmlab.run.frames import key_of, need, prompt_keys, unfilled, without_system
from slmlab.run.grid import OWN, RESERVED
from slmlab.run.options import ALL_OPTIONS, DEFAULT_OPTIONS
from slmlab.run.tools import FIELDS

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("langchain-ollama", "langchain-core", "ollama", "xllamacpp", "scipy", "pandas")
# The columns that the program is made from.
NEEDED = ("model", "prompt", "prompt_id", "repeat", "in_flight", "think", "engine", "host")


def recipe(frame: pd.DataFrame) -> str:
    """A program that measures this comparison again, with the versions of the packages used.

    It contains the prompts and every setting that is not the default, but not the scores, which
    depend on functions that the table does not contain. If the table joins several comparisons with
    different settings, the program runs all combinations.

    Args:
        frame: what ``slmlab.compare`` returned, scored or not.
    """
    need(frame, *NEEDED)
    frame = as_first_asked(frame)
    rows = frame.to_dict("records")
    arguments = _arguments(frame, rows)
    lines = ["import slmlab", "", "slmlab.start()"]
    lines += _assigned("models", _models(rows))
    lines += _assigned("prompts", _prompts(frame))
    call = "".join(f", {name}={value!r}" for name, value in arguments.items())
    lines += [f"frame = slmlab.compare(models, prompts{call}, fresh=True)", ""]
    lines.append(f"# slmlab {slmlab.__version__}, Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            lines.append(f"# {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines)


def _several_at_once(rows: list[dict[str, Any]]) -> bool:
    """Whether a server got several requests at once; servers on one machine get one each."""
    here = {(row["engine"], row["host"]) for row in rows if is_local(row["host"])}
    servers = Counter(engine for engine, _ in here)
    return any(row["in_flight"] > max(1, servers[row["engine"]]) for row in rows)


def _arguments(frame: pd.DataFrame, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The arguments of compare() besides models and prompts that are not the defaults."""
    found: dict[str, Any] = {}
    for name in ("template", "system", "quantization"):
        if name in frame and not _as_sent(frame):
            values = _distinct(row[name] for row in rows)
            found[name] = values if len(values) > 1 else values[0]
    repeats = max(int(row["repeat"]) for row in rows) + 1
    if repeats > 1:
        found["repeats"] = repeats
    if _several_at_once(rows):
        found["timing"] = False
    if any(row["think"] for row in rows):
        found["think"] = True
    if "logprobs" in frame:
        rows_of_tokens = [row for one in frame["logprobs"] if isinstance(one, list) for row in one]
        found["logprobs"] = max((len(row["top_logprobs"]) for row in rows_of_tokens), default=1)
    if "engine" in frame and frame["engine"].nunique() > 1:
        found["hosts"] = _distinct(row["host"] for row in rows)
    if "asked_again" in frame:
        found["ask_again"] = True
    own = _own_options(frame)
    for name in (one for one in ALL_OPTIONS if one in frame and one not in own):
        # Repeat r ran with the seed `seed + r`.
        values = _distinct(
            _option(name, row[name] - row["repeat"] if name == "seed" else row[name])
            for row in rows
            # One of several engines may not take it.
            if name not in DEFAULT_OPTIONS or plain(row[name]) is not None
        )
        if len(values) > 1 or values[0] != DEFAULT_OPTIONS.get(name):
            found[name] = values if len(values) > 1 else values[0]
    return found


def _option(name: str, value: Any) -> Any:
    """An option's value in its proper type, which files and joined tables may have changed."""
    value = plain(value)
    if value is None or name == "stop" or name in FIELDS:
        return value
    return type(DEFAULT_OPTIONS.get(name, 0))(value)


def _own_options(frame: pd.DataFrame) -> list[str]:
    """The options that each prompt has a value of its own for, as a table of prompts can give."""
    several = [one for one in OWN if one in frame and frame[one].nunique(dropna=False) > 1]
    if _as_sent(frame) or not several:
        return []
    keys = prompt_keys(frame)
    return [one for one in several if _is_of_the_prompt(frame[one], keys)]


def _models(rows: list[dict[str, Any]]) -> list[str]:
    """The model names as they were passed to compare(), without the tags of quantization=…."""
    names = []
    for row in rows:
        tag = plain(row.get("quantization"))
        name = str(row["model"])
        names.append(name.removesuffix(f"-{tag}").removesuffix(f":{tag}") if tag else name)
    return _distinct(names)


def _prompts(frame: pd.DataFrame) -> list[Any]:
    """The prompts as they were passed to compare(): as rows of a table if they had more columns."""
    if _as_sent(frame):
        return _distinct(frame["prompt"])
    keys = prompt_keys(frame)
    own = [
        name
        for name in map(str, frame.columns)
        if name not in (*RESERVED, "score", "score_note") and _is_of_the_prompt(frame[name], keys)
    ]
    own += _own_options(frame)
    first = {key: row for key, row in reversed([*zip(keys, frame.to_dict("records"), strict=True)])}
    prompts: list[Any] = []
    for key in dict.fromkeys(keys):
        row = first[key]
        columns = {
            name.removeprefix("given_") if name.removeprefix("given_") in RESERVED else name: value
            for name in own
            if (value := plain(row[name])) is not None
        }
        template = plain(row.get("template"))
        if not columns:
            prompt = without_system(row)
            text = unfilled(template, str(prompt), row) if template else None
            prompts.append(text if isinstance(text, str) else prompt)
        elif template or "prompt" in columns:
            prompts.append(columns)
        else:
            prompts.append({"prompt": without_system(row)} | columns)
    return prompts


def _as_sent(frame: pd.DataFrame) -> bool:
    """Whether the prompts are repeated as they were sent, with their templates and system prompts.

    In a widget each column may have its own, and in a conversation its own history.
    """
    return "variant" in frame


def _is_of_the_prompt(column: pd.Series, keys: Sequence[str]) -> bool:
    """Whether a column has one value for each prompt, as the columns of its table do."""
    pairs = {(key, key_of(value)) for key, value in zip(keys, column, strict=True)}
    return len(pairs) == len(set(keys))


def _assigned(name: str, values: list[Any]) -> list[str]:
    """An assignment of a list in Python, one value in a line."""
    return [f"{name} = [", *(f"    {value!r}," for value in values), "]"]


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order, in Python's own types."""
    return [*{key_of(value): plain(value) for value in values}.values()]

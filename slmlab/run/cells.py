"""Cells of tables: what a value is in plain Python, and what a text in a text file stands for.

A cell of a CSV file is a text until somebody says otherwise, and those who do are the scorers:
where the scorer of a row takes a list, an object or a number in a column, a cell that is written as
one is read as one. Nothing else is ever turned into anything.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import math
import tokenize
import warnings
from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
# What scorers read from a row; a blank cell of these in a text file is a missing one.
SCORER_COLUMNS = (
    "scorer",
    "expected",
    "labels",
    "schema",
    "tests",
    "max_words",
    "tolerance",
    "decimal",
)
# What is no text in a column, whoever scores the row …
KINDS: dict[str, tuple[type, ...]] = {
    "labels": (list,),
    "schema": (dict, bool),
    "max_words": NUMBER,
    "tolerance": NUMBER,
    "stop": (list,),
}
# … and what the scorers take as `expected` besides a text.
EXPECTED: dict[str, tuple[type, ...]] = {
    "contains": (list,),
    "facts": (list,),
    "json_fields": (dict,),
    "number": NUMBER,
}
# What a row cannot be scored without: its scorer, a column, and how that is written.
NEEDED = (
    ("label", "labels", (list,), 'a list such as ["yes", "no"]'),
    ("json_fields", "expected", (dict,), 'an object such as {"age": 4}'),
    ("json_valid", "schema", (dict, bool, type(None)), 'a JSON schema such as {"type": "object"}'),
    ("facts", "max_words", (*NUMBER, type(None)), "a number"),
    ("number", "tolerance", (*NUMBER, type(None)), "a number"),
)
PROMPTS = ("prompt", "given_prompt")
ROLES = ("system", "user", "assistant")


def plain(value: Any) -> Any:
    """A cell in Python's own types: arrays, tuples and sets as lists, None where it is empty."""
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return [plain(one) for one in sorted(value, key=str)]
    if hasattr(value, "tolist"):  # numpy, pandas, torch
        found = value.tolist()
        # A time of numpy's that fits no type of Python's stays as it is.
        return found if type(found) is type(value) else plain(found)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def without_empty_fields(row: Any) -> Any:
    """A row without the empty fields inside its cells."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(one) for name, one in value.items() if one is not None}
        return [without(one) for one in value] if isinstance(value, list) else value

    return {name: without(one) for name, one in row.items()} if isinstance(row, dict) else row


def typed(row: Mapping[str, Any], scorer: Any = None) -> dict[str, Any]:
    """A row in which texts that stand for what its scorer takes are that.

    Args:
        row: cells by column.
        scorer: a scorer's name (default: the one in the row's column ``scorer``).
    """
    found = dict(row)
    scorer = row.get("scorer") if scorer is None else scorer
    for column, kinds in KINDS.items():
        if isinstance(row.get(column), str):
            found[column] = _value(row[column], kinds)
    cell, labels = row.get("expected"), found.get("labels")
    if isinstance(cell, str) and isinstance(scorer, str):
        if scorer == "label" and isinstance(labels, list):
            same = [one for one in labels if str(one) == cell]
            found["expected"] = cell if cell in labels or not same else same[0]
        elif scorer == "number":
            value = _value(cell, NUMBER)
            # Only where nothing is lost: 00501, 1e5 and digits that no float holds stay texts.
            lossless = isinstance(value, str) or str(value) == cell
            found["expected"] = value if lossless else cell
        else:
            found["expected"] = _value(cell, EXPECTED.get(scorer, ()))
    return found


def from_text(cells: Mapping[str, str]) -> dict[str, Any]:
    """A row of a text file, where every cell is a text."""
    row: dict[str, Any] = dict(cells)
    for column in (one for one in SCORER_COLUMNS if one in row):
        if not (text := parse(row[column]) if row[column][:1] == '"' else "x").strip():
            row[column] = text
        elif not row[column].strip():
            row[column] = None
    for column in PROMPTS:
        if column in row:
            row[column] = _conversation(row[column])
    return typed(row)


def to_text(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row in a text file; ``from_text`` makes the row of them again.

    Lists and objects are written as JSON, as is a text that would be read as something else.
    """
    cells = {name: _written(value) for name, value in row.items()}
    again = from_text(cells)
    for name, value in row.items():
        if isinstance(value, str) and again[name] != value:
            cells[name] = json.dumps(value, ensure_ascii=False)
        elif name == "expected" and isinstance(value, list) and again[name] == cells[name]:
            # The scorer takes one of several texts, and so it does not matter what they were.
            texts = [one if isinstance(one, str) else _written(one) for one in value]
            cells[name] = json.dumps(texts, ensure_ascii=False)
    return cells


def complaint(row: Mapping[str, Any]) -> str:
    """What its scorer cannot read of a row of texts, as a sentence; nothing where all is well."""
    for scorer, column, kinds, example in NEEDED:
        cell = row.get(column)
        if row.get("scorer") == scorer and isinstance(cell, str) and not isinstance(cell, kinds):
            return f"the scorer {scorer} needs {example} as {column!r}; it is {cell[:60]!r}."
    return ""


def is_conversation(value: Any) -> bool:
    """Whether this is a list of messages, each with a role and a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, dict)
            and set(one) == {"role", "content"}
            and one["role"] in ROLES
            and isinstance(one["content"], str)
            for one in value
        )
    )


def _conversation(cell: str) -> Any:
    value = parse(cell)
    if isinstance(value, str):
        return value if value != cell and is_conversation(parse(value)) else cell
    return value if is_conversation(value) else cell


def _value(cell: str, kinds: tuple[type, ...]) -> Any:
    """What a cell stands for if it is of these kinds; else the cell."""
    value = _number(cell) if kinds == NUMBER else parse(cell)
    if isinstance(value, str) and value != cell:
        # A text that was written as JSON, since it would have been read as something else.
        return value if _value(value, kinds) != value else cell
    return value if isinstance(value, kinds) else cell


def _number(cell: str) -> Any:
    """The number that a cell is; else as ``parse``."""
    if not cell.isascii() or "_" in cell:
        return cell
    with contextlib.suppress(ValueError):
        number = float(cell)
        if cell.strip().removeprefix("-").isdecimal():
            return int(cell)
        return number if math.isfinite(number) else cell
    return parse(cell) if cell[:1] == '"' else cell


def parse(cell: str) -> Any:
    """The list, object or text that a cell is as JSON, or as Python writes it; else the cell."""
    text = cell.strip()
    if text[:1] not in ("[", "{", "(", '"'):
        return {"true": True, "false": False}.get(text, cell)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return cell if text[0] == '"' else _python(text, cell)


def _python(text: str, cell: str) -> Any:
    """What pandas wrote of a list or a dict, which is what Python shows of it."""
    try:
        strings = [
            token.type == tokenize.STRING
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)
        ]
        # numpy shows no commas, and Python would take two texts side by side for one.
        if any(one and other for one, other in itertools.pairwise(strings)):
            return cell
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = plain(ast.literal_eval(text))
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        return cell
    return value


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)

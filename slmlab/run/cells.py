"""Cells of tables: values in plain Python, and what the texts in a CSV file mean.

Every cell of a CSV file is a text, with one exception: if the scorer of its row, or ``compare``,
takes a list, an object or a number in that column, and the text is written as one, it becomes one.
No other text is ever converted.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import json
import math
import re
import tokenize
import warnings
from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
# The columns that scorers and compare() read; in a text file, a blank cell in one of them counts as
# missing.
READ_COLUMNS = (
    "scorer",
    "expected",
    "labels",
    "schema",
    "tests",
    "asserts",
    "instructions",
    "extract",
    "threshold",
    "max_words",
    "tolerance",
    "decimal",
    "num_predict",
    "format",
    "tools",
)
# The types of columns that are not texts, whatever the scorer …
KINDS: dict[str, tuple[type, ...]] = {
    "labels": (list,),
    "schema": (dict, bool),
    "asserts": (list,),
    "instructions": (list,),
    "extract": (dict,),
    "threshold": NUMBER,
    "max_words": NUMBER,
    "tolerance": NUMBER,
    "stop": (list,),
    "logprobs": (list,),
    "tool_calls": (list,),
    "images": (list,),
    "num_predict": NUMBER,
}
# … and the types that scorers take as `expected` besides a text.
EXPECTED: dict[str, tuple[type, ...]] = {
    "contains": (list,),
    "exact_match": (list,),
    "facts": (list,),
    "json_fields": (dict,),
    "number": NUMBER,
    "call": (dict,),
    "call_name": (dict,),
}
# For a scorer, a column of which it needs certain types, and an example of how that is written.
NEEDED = (
    ("label", "labels", (list,), 'a list such as ["yes", "no"]'),
    ("json_fields", "expected", (dict,), 'an object such as {"age": 4}'),
    ("json_valid", "schema", (dict, bool, type(None)), 'a JSON schema such as {"type": "object"}'),
    ("asserts", "asserts", (list,), 'a list such as [{"type": "contains", "value": "yes"}]'),
    ("instructions", "instructions", (list,), 'a list such as [{"type": "punctuation:no_comma"}]'),
    ("exact_match", "extract", (dict, type(None)), 'an object such as {"ignore_case": true}'),
    ("asserts", "threshold", (*NUMBER, type(None)), "a number"),
    ("facts", "max_words", (*NUMBER, type(None)), "a number"),
    ("number", "tolerance", (*NUMBER, type(None)), "a number"),
)
PROMPTS = ("prompt", "given_prompt")
# What begins a formula in a spreadsheet, perhaps behind a guard that was there before.
_GUARD = "\u2060"
_FORMULA = re.compile(f"{_GUARD}*[=+@\\-\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.ASCII)
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
        # A numpy time with no matching Python type stays as it is.
        return found if type(found) is type(value) else plain(found)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def without_empty_fields(row: Any) -> Any:
    """A row without the empty fields of the objects in its cells."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(one) for name, one in value.items() if one is not None}
        return [without(one) for one in value] if isinstance(value, list) else value

    return {name: without(one) for name, one in row.items()} if isinstance(row, dict) else row


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in which texts are converted to the types that its scorer takes."""
    converted, scorer = dict(row), row.get("scorer")
    for column, kinds in KINDS.items():
        if isinstance(row.get(column), str):
            converted[column] = _value(row[column], kinds)
    cell, labels = row.get("expected"), converted.get("labels")
    if isinstance(cell, str) and isinstance(scorer, str):
        if scorer == "label" and isinstance(labels, list):
            same = [one for one in labels if str(one) == cell]
            converted["expected"] = cell if cell in labels or not same else same[0]
        elif scorer == "number":
            value = _value(cell, NUMBER)
            # Only without loss: 00501, 1e5 and more digits than a float holds stay texts.
            lossless = isinstance(value, str) or str(value) == cell
            converted["expected"] = value if lossless else cell
        else:
            converted["expected"] = _value(cell, EXPECTED.get(scorer, ()))
    return converted


def from_text(cells: Mapping[str, str]) -> dict[str, Any]:
    """The row that the cells of a text file stand for."""
    row: dict[str, Any] = dict(cells)
    for column in (one for one in READ_COLUMNS if one in row):
        if not (text := parse(row[column]) if row[column][:1] == '"' else "x").strip():
            row[column] = text
        elif not row[column].strip():
            row[column] = None
    for column in PROMPTS:
        if column in row:
            row[column] = _conversation(row[column])
    return _typed(row)


def to_text(row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a row in a text file, from which ``from_text`` makes the same row again.

    Lists and objects are written as JSON, and so are texts that would be read as something else.
    """
    cells = {name: _written(value) for name, value in row.items()}
    again = from_text(cells)
    for name, value in row.items():
        if isinstance(value, str) and again[name] != value:
            cells[name] = json.dumps(value, ensure_ascii=False)
        elif name == "expected" and isinstance(value, list) and again[name] == cells[name]:
            # The scorer compares with each of them as a text, so their types do not matter.
            texts = [one if isinstance(one, str) else _written(one) for one in value]
            cells[name] = json.dumps(texts, ensure_ascii=False)
    return cells


def guarded(text: str) -> str:
    """A cell's text so that no spreadsheet takes it for a formula, which could start programs.

    An invisible character (U+2060) before it keeps it a text; numbers stay as they are.
    """
    return _GUARD + text if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text that ``guarded`` was given."""
    return text[1:] if text.startswith(_GUARD) and _FORMULA.match(text) else text


def complaint(row: Mapping[str, Any]) -> str:
    """What the row's scorer cannot read, as a sentence; empty if there is nothing."""
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
            and set(one) - {"images"} == {"role", "content"}
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
    """The value of a cell if it has one of these types; else the cell itself."""
    value = _number(cell) if kinds == NUMBER else parse(cell)
    if isinstance(value, str) and value != cell:
        # A text that was written as JSON because it would have been read as something else.
        return value if _value(value, kinds) != value else cell
    return value if isinstance(value, kinds) else cell


def _number(cell: str) -> Any:
    """The number in a cell; without one, as ``parse``."""
    if not cell.isascii() or "_" in cell:
        return cell
    with contextlib.suppress(ValueError):
        number = float(cell)
        if cell.strip().removeprefix("-").isdecimal():
            return int(cell)
        return number if math.isfinite(number) else cell
    return parse(cell) if cell[:1] == '"' else cell


def parse(cell: str) -> Any:
    """The list, object or text that a cell holds in JSON or Python notation; else the cell."""
    text = cell.strip()
    if text[:1] not in ("[", "{", "(", '"'):
        return {"true": True, "false": False}.get(text, cell)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return cell if text[0] == '"' else _python(text, cell)


def _python(text: str, cell: str) -> Any:
    """The value of a list or dict in Python notation, as pandas writes it; else the cell."""
    try:
        strings = [
            token.type == tokenize.STRING
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)
        ]
        # numpy prints no commas, and Python would join two texts that stand side by side.
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

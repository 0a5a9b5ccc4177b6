"""What scorers read: the answer in a text, and the cells of a row in any form.

A table that went through a file may have texts where lists and numbers were, and one that went
through Arrow has arrays. These functions accept all of them, so that scores do not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slmlab.errors import SlmlabError, Unscorable
from slmlab.run import thoughts
from slmlab.run.cells import parse, plain

Row = Mapping[str, Any]
Scorer = Callable[[str, Row], float]


class MissingColumn(KeyError):
    """A scorer needs a column that the table does not have."""


class Noted(float):
    """A score with a sentence that says what a reader of the score has to know."""

    note: str

    def __new__(cls, value: float, note: str) -> Noted:
        """The score with its note."""
        found = super().__new__(cls, value)
        found.note = note
        return found


def answer(text: Any) -> str:
    """The answer in a model's text: everything but its thoughts (``<think>…</think>``).

    If the thoughts never end, the answer is empty.
    """
    if not isinstance(text, str):
        return "" if is_blank(plain(text)) else str(text)
    found = "".join(part.text for part in thoughts.parts(text) if not part.thought)
    return text if found == text else found.strip()


def is_blank(value: Any) -> bool:
    """Whether a cell is empty: None, pandas' NA, a blank text, an empty list or dict."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, (list, dict)) and not value


def cell(row: Row, column: str) -> Any:
    """The value of a required column.

    Raises:
        Unscorable: the cell is blank.
        KeyError: there is no such column.
    """
    value = plain(row[column])
    if is_blank(value):
        raise Unscorable(f"`{column}` is blank.")
    return value


def optional(row: Row, column: str) -> Any:
    """The value of an optional column; None if it is blank or absent."""
    value = plain(row.get(column))
    return None if is_blank(value) else value


def float_cell(row: Row, column: str) -> float | None:
    """The non-negative number in an optional column, which may be written as text.

    Raises:
        Unscorable: it is not such a number.
    """
    value = optional(row, column)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise Unscorable(f"`{column}` is {value!r}, which is not a number of at least 0.")
    return number


def as_scores(values: Iterable[Any], where: str) -> list[float]:
    """Scores as numbers; NaN where a cell is empty.

    Raises:
        SlmlabError: one is no finite number; the message begins with ``where``.
    """
    scores = []
    for value in map(plain, values):
        try:
            score = math.nan if is_blank(value) else float(value)
            if not is_blank(value) and not math.isfinite(score):
                raise ValueError("a score is finite")
        except (TypeError, ValueError) as error:
            raise SlmlabError(f"{where} has something that is no score: {value!r:.80}.") from error
        scores.append(score)
    return scores


def as_text(value: Any) -> str:
    """A cell as a model would write it: 4 for 4.0, which pandas may have made of 4."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def parsed(value: Any, kind: type) -> Any:
    """A list or dict, perhaps written as text in JSON or Python notation; None for others.

    Examples:
        >>> parsed("['a', 'b']", list)
        ['a', 'b']
        >>> parsed("a, b", list)
    """
    found = parse(value) if isinstance(value, str) else value
    return found if isinstance(found, kind) else None


def alternatives(value: Any) -> list[str]:
    """The accepted texts: the cell itself, or each item of a list of texts."""
    texts = parsed(value, list)
    # A text such as [1, 2] may be the expected answer; ["a", "b"] is a list that a file stored.
    if isinstance(value, str) and not all(
        isinstance(one, str) or one is None for one in texts or ()
    ):
        texts = None
    if texts is None:
        return [str(value), as_text(value)]
    if texts := [as_text(one) for one in texts if not is_blank(one)]:
        return texts
    raise Unscorable("`expected` contains only blank texts.")

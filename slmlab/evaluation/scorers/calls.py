"""Scorers of calls of tools, which stand beside the text of an answer."""

from __future__ import annotations

import re
from typing import Any

from slmlab.errors import Unscorable
from slmlab.evaluation.scorers.reading import Noted, Row, answer, cell, optional, parsed
from slmlab.evaluation.scorers.structure import objects, same
from slmlab.run.cells import plain

NONE = "none"


def call(text: str, row: Row) -> float:
    """The share of arguments that are right in the one call that ``expected`` wants.

    ``expected`` is a dict with ``name`` and ``arguments``, or the text ``none``: then any call is
    wrong. Another function, several calls or none have the score 0, and an argument that was not
    expected counts as a wrong one. Values are compared as by ``json_fields``. A call that only
    stands in the text, which no program would run, is none; then the score has a note.

    Examples:
        >>> wanted = {"name": "get_weather", "arguments": {"city": "Oslo", "unit": "celsius"}}
        >>> made = [{"name": "get_weather", "arguments": {"city": "oslo", "unit": "kelvin"}}]
        >>> slmlab.scorers.call("", {"expected": wanted, "tool_calls": made})
        0.5
    """
    wanted, calls = _read(row)
    if wanted is None or not _is_named(wanted, calls):
        return _noted(float(wanted is None and not calls), calls, text, row)
    arguments, given = wanted.get("arguments") or {}, calls[0].get("arguments") or {}
    names = {*arguments, *given}
    right = [
        name in arguments and name in given and same(given[name], arguments[name]) for name in names
    ]
    return sum(right) / len(right) if right else 1.0


def call_name(text: str, row: Row) -> float:
    """The answer is one call of the function in ``expected``, whatever its arguments.

    If ``expected`` is the text ``none``, the answer has no call.

    Examples:
        >>> slmlab.scorers.call_name("Hello!", {"expected": "none", "tool_calls": []})
        True
    """
    wanted, calls = _read(row)
    right = not calls if wanted is None else _is_named(wanted, calls)
    return _noted(right, calls, text, row)


def _noted(score: float, calls: list[dict[str, Any]], text: str, row: Row) -> float:
    """The score; with a note if the answer writes a call instead of making it."""
    name = None if calls else _written(answer(text), row)
    if name is None:
        return score
    return Noted(
        score, f"The call of {name} is only written in the text, where no program runs it."
    )


def _written(text: str, row: Row) -> str | None:
    """The tool whose call is in a text: as JSON, also between tags, or as Python writes it."""
    tools = parsed(optional(row, "tools"), list) or []
    names = {one["function"]["name"] for one in tools}
    for one in objects(text) if names else ():
        named = one.get("function", one)
        name = named.get("name") if isinstance(named, dict) else named
        if isinstance(name, str) and name in names:
            return name
    any_of = "|".join(map(re.escape, names))
    # With a value, for a text may speak of get_weather() or get_weather(city).
    found = re.search(rf"\b({any_of})\(\s*(\w+\s*=\s*)?[\"'\d\[{{]", text) if names else None
    return found[1] if found else None


def _is_named(wanted: dict[str, Any], calls: list[dict[str, Any]]) -> bool:
    return len(calls) == 1 and calls[0].get("name") == wanted["name"]


def _read(row: Row) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The call that is wanted, None for none, and those that were made."""
    given = cell(row, "expected")
    wanted = parsed(given, dict)
    if given != NONE and (wanted is None or not isinstance(wanted.get("name"), str)):
        raise Unscorable(
            f"`expected` is {given!r}, not a dict with `name` and `arguments`, nor the text none."
        )
    made = plain(row["tool_calls"])
    calls = [] if made == "" else parsed(made, list)
    if calls is None:
        raise Unscorable("The answer was asked for without tools.")
    return (None if given == NONE else wanted), calls

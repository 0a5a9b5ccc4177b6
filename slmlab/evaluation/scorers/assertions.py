"""A scorer for several conditions at once, written as promptfoo writes its assertions."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slmlab.errors import Unscorable, did_you_mean
from slmlab.evaluation.patterns import matches
from slmlab.evaluation.scorers.reading import Row, answer, as_text, cell, float_cell, parsed
from slmlab.evaluation.scorers.structure import json_valid

NOT = "not-"
DEEPEST = 5  # of sets within sets


def asserts(text: str, row: Row) -> bool:
    """All conditions in ``asserts`` hold; with ``threshold``, at least that share of their weights.

    Each is a dict with a ``type``, a ``value`` and perhaps a ``weight`` (1 by default), as in
    promptfoo (https://www.promptfoo.dev/docs/configuration/expected-outputs/deterministic/):
    ``equals``, ``contains``, ``contains-any``, ``contains-all``, the same with ``i`` before it to
    ignore case, ``starts-with``, ``ends-with``, ``regex``, ``is-json`` and ``contains-json`` (with
    a JSON schema as value, or none); ``not-`` before a type reverses it. An ``assert-set`` has a
    list ``assert`` of its own, and perhaps a ``threshold``. Texts are compared letter by letter.

    Examples:
        >>> named = {"type": "icontains", "value": "paris"}
        >>> row = {"asserts": [named, {"type": "not-contains", "value": "?"}]}
        >>> slmlab.scorers.asserts("Paris.", row)
        True
    """
    conditions = parsed(cell(row, "asserts"), list)
    return _hold(answer(text), conditions, float_cell(row, "threshold"), 0)


def _hold(text: str, conditions: Any, threshold: float | None, depth: int) -> bool:
    if not isinstance(conditions, list) or not conditions or depth > DEEPEST:
        raise Unscorable("`asserts` is not a list of conditions.")
    results = [(_holds(text, one, depth), _weight(one)) for one in conditions]
    if threshold is None:
        return all(held for held, weight in results if weight)
    total = sum(weight for _, weight in results)
    held = sum(weight for held, weight in results if held)
    return bool(total) and held / total >= threshold - 1e-9


def _weight(condition: Row) -> float:
    given = float_cell(condition, "weight")
    return 1.0 if given is None else given


def _holds(text: str, condition: Any, depth: int) -> bool:
    if not isinstance(condition, Mapping) or not isinstance(condition.get("type"), str):
        raise Unscorable(f"`asserts` has {condition!r}, which is no condition with a type.")
    kind = str(condition["type"])
    name = kind.removeprefix(NOT)
    if name == "assert-set":
        within = condition.get("assert")
        holds = _hold(text, within, float_cell(condition, "threshold"), depth + 1)
    elif name in KINDS:
        holds = KINDS[name](text, condition.get("value"))
    else:
        hint = did_you_mean(name, KINDS)
        raise Unscorable(f"There is no assertion {kind!r}.{hint} There are {', '.join(KINDS)}.")
    return holds != kind.startswith(NOT)


def _equals(text: str, value: Any) -> bool:
    if isinstance(value, (dict, list)):
        with contextlib.suppress(ValueError, RecursionError):
            return _as_javascript(text) == _as_javascript(json.dumps(value))
        return False
    return text == _one(value)


def _as_javascript(text: str) -> str:
    """JSON in one form: 1 and 1.0 are the same number, true is none."""
    return json.dumps(json.loads(text, parse_int=float), sort_keys=True)


def _contains(text: str, value: Any) -> bool:
    wanted = _one(value)
    if not wanted:
        raise Unscorable("An assertion `contains` has an empty value, which every answer contains.")
    return wanted in text


def _any(text: str, value: Any) -> bool:
    return any(one in text for one in _several(value))


def _all(text: str, value: Any) -> bool:
    return all(one in text for one in _several(value))


def _ignoring_case(check: Callable[[str, Any], bool]) -> Callable[[str, Any], bool]:
    def checked(text: str, value: Any) -> bool:
        folded = [one.lower() for one in value] if isinstance(value, list) else _one(value).lower()
        return check(text.lower(), folded)

    return checked


def _starts(text: str, value: Any) -> bool:
    return text.startswith(_one(value))


def _ends(text: str, value: Any) -> bool:
    return text.endswith(_one(value))


def _regex(text: str, value: Any) -> bool:
    return matches(_one(value), text)


def _is_json(text: str, value: Any) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return _contains_json(text, value)


def _contains_json(text: str, value: Any) -> bool:
    return bool(json_valid(text, {} if value is None else {"schema": value}))


def _one(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise Unscorable(f"An assertion has the value {value!r}, where a text is needed.")
    return as_text(value)


def _several(value: Any) -> Sequence[str]:
    if isinstance(value, str):
        # A part with a comma is in quotes, as in a table.
        value = [one.strip() for one in next(csv.reader([value], skipinitialspace=True), [])]
    if not isinstance(value, list) or not value:
        raise Unscorable(f"An assertion has the value {value!r}, where a list is needed.")
    return [_one(one) for one in value]


KINDS: dict[str, Callable[[str, Any], bool]] = {
    "equals": _equals,
    "contains": _contains,
    "contains-any": _any,
    "contains-all": _all,
    "icontains": _ignoring_case(_contains),
    "icontains-any": _ignoring_case(_any),
    "icontains-all": _ignoring_case(_all),
    "starts-with": _starts,
    "ends-with": _ends,
    "regex": _regex,
    "is-json": _is_json,
    "contains-json": _contains_json,
}

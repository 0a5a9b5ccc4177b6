"""Scorers that look for JSON."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from slmlab.errors import Unscorable
from slmlab.evaluation import patterns
from slmlab.evaluation.scorers.fences import blocks
from slmlab.evaluation.scorers.matching import bare
from slmlab.evaluation.scorers.reading import Row, answer, as_text, cell, optional, parsed

# A limit, because a text full of brackets would take too long.
ATTEMPTS = 200
_ABSENT = object()
# Keywords of JSON Schema whose values are no schemas, and those with a schema for each name.
_DATA = ("const", "default", "enum", "examples")
_BY_NAME = ("$defs", "definitions", "dependencies", "dependentSchemas", "properties")


def json_valid(text: str, row: Row) -> bool:
    """The answer contains JSON, which matches the JSON schema in ``schema`` if there is one.

    The first object counts; the first list if there is no object, or if the schema is for a list.
    A number, a text, true, false or null counts if the schema allows it and it stands alone.

    Examples:
        >>> row = {"schema": {"type": "object", "required": ["age"]}}
        >>> slmlab.scorers.json_valid('{"age": 4}', row)
        True
        >>> slmlab.scorers.json_valid('{"name": "Ada"}', row)
        False
    """
    schema = _schema(row)
    given = schema.get("type") if isinstance(schema, dict) else None
    wanted = [given] if isinstance(given, str) else given or []
    found = answer(text)
    value = _ABSENT
    if not wanted or "object" in wanted or "array" in wanted:
        value = _json(found, "array" if wanted == ["array"] else "object")
    if value is _ABSENT and schema is not None:
        value = _whole(found)
    if value is _ABSENT:
        return False
    return True if schema is None else _fits(value, schema)


def json_fields(text: str, row: Row) -> float:
    """The share of the fields in ``expected`` (a dict) that are right in the answer's JSON.

    Texts are compared as by ``exact``, numbers by value: 54, 54.0 and "54" are equal.

    Examples:
        >>> row = {"expected": {"name": "Ada", "age": 4}}
        >>> slmlab.scorers.json_fields('{"name": "Ada", "age": 3}', row)
        0.5
    """
    given = cell(row, "expected")
    expected = parsed(given, dict)
    if not expected:
        raise Unscorable(f"`expected` is {given!r}, not a dict of fields.")
    value = _json(answer(text), "object")
    if not isinstance(value, dict):
        return 0.0
    right = [same(value.get(str(name), _ABSENT), wanted) for name, wanted in expected.items()]
    return sum(right) / len(right)


def _schema(row: Row) -> Any:
    """The schema of a row, which may be written as text; None if there is none.

    Raises:
        Unscorable: it is not a JSON schema.
    """
    given = optional(row, "schema")
    if given is None or isinstance(given, bool):
        return given
    schema = parsed(given, dict)
    if schema is None:
        raise Unscorable(f"`schema` is {given!r}, not a JSON schema.")
    import jsonschema

    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise Unscorable(f"`schema` is not a JSON schema: {error.message.rstrip('.')}.") from error
    except Exception as error:  # an unknown draft, a reference that leads nowhere
        raise Unscorable(f"`schema` is not a JSON schema: {str(error).rstrip('.')}.") from error
    return schema


def _fits(value: Any, schema: Any) -> bool:
    import jsonschema
    import referencing

    if schema in (True, False):
        return bool(schema)
    validator = _bounded(jsonschema.validators.validator_for(schema))
    # A reference to a schema that names its draft would lead to that draft's own validator.
    schema = {name: one for name, one in schema.items() if name != "$schema"}
    try:
        schema = _spelled_out(schema, _names(value))
        # An empty registry, so that no reference is fetched from the network.
        validator(schema, registry=referencing.Registry()).validate(value)
    except Unscorable:
        raise
    except jsonschema.ValidationError:
        return False
    except Exception as error:  # a reference that leads nowhere, an invalid pattern
        raise Unscorable(f"`schema` cannot be used: {str(error).rstrip('.')}.") from error
    return True


@functools.cache
def _bounded(validator: Any) -> Any:
    """A class of validators in which the patterns for texts have a limit of time."""
    import jsonschema

    def pattern(_: Any, wanted: str, value: Any, __: Any) -> Iterator[Any]:
        if isinstance(value, str) and not patterns.matches(wanted, value):
            yield jsonschema.ValidationError(f"{value!r} does not match {wanted!r}")

    extend: Any = jsonschema.validators.extend  # it has no types
    return extend(validator, {"pattern": pattern})


def _names(value: Any) -> set[str]:
    """The names of all fields in a JSON value."""
    names: set[str] = set()
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            names |= one.keys()
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return names


def _spelled_out(schema: Any, names: set[str]) -> Any:
    """A schema whose patterns for names of fields list those of ``names`` that they match.

    Three keywords of ``jsonschema`` follow ``patternProperties``, each with ``re``, which has no
    limit of time. Matching such a list takes no time.
    """
    if isinstance(schema, list):
        return [_spelled_out(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    spelled: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _DATA:
            spelled[keyword] = value
        elif keyword == "patternProperties" and isinstance(value, dict):
            spelled[keyword] = {}
            for number, (wanted, rule) in enumerate(value.items()):
                found = [re.escape(one) for one in sorted(names) if patterns.matches(wanted, one)]
                # The comment keeps apart two patterns that match the same.
                exact = f"\\A(?:{'|'.join(found) or '(?!)'})\\Z(?#{number})"
                spelled[keyword][exact] = _spelled_out(rule, names)
        elif keyword in _BY_NAME and isinstance(value, dict):
            spelled[keyword] = {name: _spelled_out(one, names) for name, one in value.items()}
        else:
            spelled[keyword] = _spelled_out(value, names)
    return spelled


def _json(text: str, wanted: str) -> Any:
    """The object or list in a text, in a code block or in prose; ``_ABSENT`` if there is none."""
    for part in _parts(text):
        values = list(_values(part))
        objects = [one for one in values if isinstance(one, dict) or _has_objects(one)]
        lists = [one for one in values if isinstance(one, list)]
        order = (lists, objects) if wanted == "array" else (objects, lists)
        for found in order:
            if found:
                return found[0]
    return _ABSENT


def objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects in a text, also those of a list of them."""
    found = [one for part in _parts(text) for one in _values(part)]
    lists = [one if isinstance(one, list) else [one] for one in found]
    return [one for several in lists for one in several if isinstance(one, dict)]


def _whole(text: str) -> Any:
    """The value, such as a number, that the text or a code block is; ``_ABSENT`` if none is."""
    for part in _parts(text):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(part, parse_constant=_refuse)
    return _ABSENT


def _parts(text: str) -> list[str]:
    """Where JSON may stand, the best place first."""
    fenced = [block.text for block in blocks(text) if (block.language or "").startswith("json")]
    return [*fenced, text]


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _values(text: str) -> Iterator[Any]:
    """The outermost JSON objects and lists in a text."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    place = 0
    for _ in range(ATTEMPTS):
        start = re.compile(r"[{\[]").search(text, place)
        if not start:
            return
        place = start.start()
        try:
            value, place = decoder.raw_decode(text, place)
            yield value
        except RecursionError:
            return
        except ValueError:
            if re.compile(r"\{\s*[\"'}]|\[\s*[{\"]").match(text, place):
                # Broken or truncated JSON: valid parts inside it do not count.
                place = _end(text, place)
            else:
                place += 1


def _end(text: str, start: int) -> int:
    """The position after the bracket that closes the one at ``start``, or the end of the text."""
    depth = 0
    for match in re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\]]').finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        if depth <= 0:
            return match.end()
    return len(text)


def _refuse(constant: str) -> Any:
    raise ValueError(f"JSON has no {constant}.")


def same(value: Any, wanted: Any) -> bool:
    """Whether a field of the answer has the expected value."""
    if value is _ABSENT:
        return False
    if value is None or wanted is None:
        return value is wanted
    if isinstance(wanted, dict) or isinstance(value, dict):
        return (
            isinstance(wanted, dict)
            and isinstance(value, dict)
            and wanted.keys() == value.keys()
            and all(same(value[name], one) for name, one in wanted.items())
        )
    if isinstance(wanted, list) or isinstance(value, list):
        return (
            isinstance(wanted, list)
            and isinstance(value, list)
            and len(wanted) == len(value)
            and all(same(one, other) for one, other in zip(value, wanted, strict=True))
        )
    one, other = _number(value), _number(wanted)
    if (
        one is not None
        and other is not None
        and not (isinstance(value, str) and isinstance(wanted, str))
    ):
        return one == other
    return bare(as_text(value)) == bare(as_text(wanted))


def _number(value: Any) -> float | int | None:
    """A JSON number, or the text of one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?(?:0|[1-9]\d{0,300})(?:\.\d+)?", value.strip()):
        return float(value) if "." in value else int(value)
    return None

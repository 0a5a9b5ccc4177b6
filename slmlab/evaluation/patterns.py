"""Regular expressions from tables, with a time limit."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

from slmlab.errors import Unscorable

SECONDS = 1.0
# `regex` expands repetitions in memory, as often as the minimum says. A pattern of a million
# letters takes seconds to compile.
MOST_REPEATED = 100_000
_REPEATED = re.compile(r"(\)?)\{(\d+)(?:,\d*)?\}")
# In the package `regex`, x{e} means fuzzy matching; in Python's `re` such a brace is a character.
_BRACE = re.compile(r"\\N\{[^}]*\}|\\.|\{(?!\d+\}|\d*,\d*\})", re.DOTALL)


def check(pattern: str) -> None:
    """Check that a regular expression can be used, before there is a text.

    Raises:
        Unscorable: it is not a regular expression, is too long, or repeats something too often.
    """
    _with(pattern, 0, lambda _: None)


def matches(pattern: str, text: str, flags: int = 0) -> bool:
    """Whether a regular expression, in the syntax of Python's ``re``, is found in a text.

    Raises:
        Unscorable: it is not a regular expression, is too long, repeats something too often, or
            needs more than ``SECONDS`` of processor time.
    """
    return bool(_with(pattern, flags, lambda wanted: wanted.search(text, timeout=SECONDS)))


def findall(pattern: str, text: str, flags: int = 0) -> list[str | tuple[str, ...]]:
    """All that it finds in a text, as by ``re.findall``: the groups, if it has some.

    Raises:
        Unscorable: as ``matches``.
    """
    found: list[str | tuple[str, ...]] = _with(
        pattern, flags, lambda wanted: wanted.findall(text, timeout=SECONDS)
    )
    return found


def sub(pattern: str, replacement: str, text: str, flags: int = 0, *, literal: bool = True) -> str:
    """The text with ``replacement`` for each thing found, taken literally or as by ``re.sub``.

    Raises:
        Unscorable: as ``matches``.
    """
    by = (lambda _: replacement) if literal else replacement
    return str(_with(pattern, flags, lambda wanted: wanted.sub(by, text, timeout=SECONDS)))


def _with(pattern: str, flags: int, use: Callable[[Any], Any]) -> Any:
    """What ``use`` makes of the regular expression.

    It is one of the package ``regex``, because ``re`` has no time limit and blocks all threads.
    """
    import regex

    shown = repr(pattern[:80])
    if _size(pattern) > MOST_REPEATED:
        raise Unscorable(
            f"The regular expression {shown} is longer than {MOST_REPEATED:,} characters, its "
            "repetitions counted."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern, flags)
            wanted = regex.compile(_BRACE.sub(_literal, pattern), flags)
        return use(wanted)
    except (re.error, regex.error, OverflowError, RecursionError, ValueError) as error:
        raise Unscorable(f"{shown} is not a regular expression: {error}.") from error
    except (TimeoutError, MemoryError) as error:
        raise Unscorable(
            f"The regular expression {shown} takes longer than {SECONDS:g} s on this text; "
            "write it without a repetition inside of another, such as (a+)+."
        ) from error


def _literal(found: re.Match[str]) -> str:
    return r"\{" if found[0] == "{" else found[0]


def _size(pattern: str) -> int:
    """About how long a regular expression is when its repetitions are expanded."""
    counts = [(bool(group), int(count)) for group, count in _REPEATED.findall(pattern)]
    once = len(pattern) + sum(count for group, count in counts if not group)
    return once * math.prod(max(1, count) for group, count in counts if group)

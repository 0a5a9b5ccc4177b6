"""The scorers by name, and combinations of scorers."""

from __future__ import annotations

from typing import Any

from slmlab.errors import TaskError, Unscorable, did_you_mean
from slmlab.evaluation.scorers.assertions import asserts
from slmlab.evaluation.scorers.calls import call, call_name
from slmlab.evaluation.scorers.extraction import exact_match
from slmlab.evaluation.scorers.instructions import instructions
from slmlab.evaluation.scorers.numbers import number
from slmlab.evaluation.scorers.python_code import code
from slmlab.evaluation.scorers.reading import Row, Scorer
from slmlab.evaluation.scorers.structure import json_fields, json_valid
from slmlab.evaluation.scorers.text import contains, exact, facts, label, regex

SCORERS: dict[str, Scorer] = {
    one.__name__: one
    for one in (
        exact,
        contains,
        regex,
        label,
        facts,
        number,
        json_valid,
        json_fields,
        asserts,
        exact_match,
        instructions,
        code,
        call,
        call_name,
    )
}


def named(scorer: Any) -> Scorer:
    """The scorer of that name; a function is returned as it is.

    Raises:
        TaskError: there is no scorer of that name.
    """
    if callable(scorer):
        found: Scorer = scorer
        return found
    if not isinstance(scorer, str) or scorer not in SCORERS:
        raise TaskError(
            f"There is no scorer {scorer!r}.{did_you_mean(str(scorer), SCORERS)} "
            f"Scorers: {', '.join(SCORERS)}; or give a function of (text, row)."
        )
    return SCORERS[scorer]


def all_of(*scorers: str | Scorer) -> Scorer:
    """A scorer: the lowest of several scores, so that all have to hold.

    Examples:
        >>> brief_and_right = slmlab.scorers.all_of("contains", slmlab.scorers.words(5))
        >>> brief_and_right("Paris.", {"expected": "Paris"})
        1.0
    """
    return _several(scorers, min, decisive=0.0)


def any_of(*scorers: str | Scorer) -> Scorer:
    """A scorer: the highest of several scores, so that one is enough.

    Examples:
        >>> either = slmlab.scorers.any_of("exact", "number")
        >>> either("That makes 12.", {"expected": 12})
        1.0
    """
    return _several(scorers, max, decisive=1.0)


def _several(scorers: tuple[str | Scorer, ...], best: Any, decisive: float) -> Scorer:
    chosen = [named(one) for one in scorers]
    if not chosen:
        raise TaskError("Name at least one scorer.")

    def score(text: str, row: Row) -> float:
        scores: list[float] = []
        unknown: Unscorable | None = None
        for one in chosen:
            try:
                scores.append(float(one(text, row)))
            except Unscorable as error:
                unknown = error
        # That one scorer fails does not matter if another one decides the result.
        if unknown and decisive not in scores:
            raise unknown
        return float(best(scores))

    return score

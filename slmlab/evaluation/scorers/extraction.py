"""A scorer that takes the answer out of a text as lm-evaluation-harness does."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from slmlab.errors import Unscorable
from slmlab.evaluation.harness import FILTERS
from slmlab.evaluation.patterns import findall, sub
from slmlab.evaluation.scorers.reading import Row, alternatives, answer, cell, optional, parsed

# What stands for an answer in which a filter finds nothing.
NOTHING = "[invalid]"
NUMBERED = r"#### (\-?[0-9\.\,]+)"


def exact_match(text: str, row: Row) -> bool:
    """What the filters in ``extract`` leave of the answer is ``expected``, letter by letter.

    ``extract`` is a dict with ``until`` (texts at which the answer ends), ``filters`` (a list of
    dicts, each with a ``function``: ``regex`` with ``regex_pattern``, ``group_select`` and
    ``fallback``; ``remove_whitespace``, ``lowercase``, ``uppercase``), and ``ignore_case``,
    ``ignore_punctuation``, ``ignore_numbers`` or ``regexes_to_ignore`` for both texts, as in
    lm-evaluation-harness
    (https://github.com/EleutherAI/lm-evaluation-harness/tree/main/docs/writing_tasks).

    Examples:
        >>> number = {"function": "regex", "regex_pattern": "is ([0-9]+)", "group_select": -1}
        >>> row = {"expected": "12", "extract": {"filters": [number]}}
        >>> slmlab.scorers.exact_match("It is 4 × 3. So it is 12.", row)
        True
    """
    given = optional(row, "extract")
    rules = {} if given is None else parsed(given, dict)
    expected = alternatives(cell(row, "expected"))
    try:
        extracted = answer(text)
        for end in rules.get("until") or ():
            extracted = extracted.partition(end)[0]
        for one in rules.get("filters") or ():
            extracted = _filtered(extracted, one)
        return _bare(extracted, rules) in [_bare(one, rules) for one in expected]
    except (AttributeError, TypeError, ValueError) as error:
        raise Unscorable(f"`extract` is {given!r}, which cannot be used: {error}.") from error


def _filtered(text: str, step: Mapping[str, Any]) -> str:
    name = step.get("function")
    if name == "regex":
        matches = findall(str(step.get("regex_pattern") or NUMBERED), text)
        try:
            chosen = matches[int(step.get("group_select") or 0)]
        except IndexError:
            return str(step.get("fallback") or NOTHING)
        # Of several groups, the first that matched.
        groups = [chosen] if isinstance(chosen, str) else [one for one in chosen if one]
        return groups[0].strip() if groups else str(step.get("fallback") or NOTHING)
    if name == "remove_whitespace":
        return text.strip()
    if name in ("lowercase", "uppercase"):
        return text.lower() if name == "lowercase" else text.upper()
    if name in FILTERS:
        return text
    raise Unscorable(f"There is no filter {name!r}; there are {', '.join(FILTERS)}.")


def _bare(text: str, rules: Mapping[str, Any]) -> str:
    """A text without what does not count."""
    for pattern in rules.get("regexes_to_ignore") or ():
        text = sub(str(pattern), "", text)
    if rules.get("ignore_case"):
        text = text.lower()
    for key, letters in (("ignore_punctuation", string.punctuation), ("ignore_numbers", "")):
        if rules.get(key):
            text = text.translate(str.maketrans("", "", letters or string.digits))
    return text

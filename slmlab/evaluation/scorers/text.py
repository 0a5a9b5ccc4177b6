"""Scorers that look for words."""

from __future__ import annotations

import bisect
import itertools
import re
import unicodedata
from collections.abc import Iterator

from slmlab.errors import Unscorable
from slmlab.evaluation import patterns
from slmlab.evaluation.scorers.matching import (
    bare,
    fold,
    occurrences,
    occurs,
    without_emphasis,
    word_count,
)
from slmlab.evaluation.scorers.reading import (
    Row,
    Scorer,
    alternatives,
    answer,
    as_text,
    cell,
    float_cell,
    is_blank,
    parsed,
)

# Words that negate a label, right before it or right after it.
_NEGATED = re.compile(
    r"(?:(?:\b(?:not|cannot|never|neither|nor|no|non|without|hardly|far from"
    r"|anything but|nicht|kein\w*|pas|não|не)|n't)"
    r"[ -](?:(?:be|es|è|é) )?"
    r"(?:(?:called|considered|classified as|described as|labell?ed(?: as)?) )?"
    r"(?:(?:an?|the|at all|really|very|particularly|necessarily|exactly|sehr|muy|très|molto"
    r"|muito) )?"
    r"|\bnon|不|不是|非|没有|無|无|未|ไม่|ไม่ใช่)$"
)
_NEGATED_BEHIND = re.compile(
    r"(?:的|である)?(?:では|じゃ|で)(?:ない|無い|ありません)"
    r"|[\"')]* (?:is|was|would be)(?: (?:wrong|incorrect)|(?: not|n't) (?:correct|right|the\b))"
)
# "A" is the only letter of a multiple choice that is also a word.
_ARTICLE = re.compile(r" (?!(?:is|was|and|or|because|since|as|has|would|seems|fits)\b)[a-z]")


def exact(text: str, row: Row) -> bool:
    """The answer is ``expected``, ignoring case, white space and punctuation around it.

    If ``expected`` is a list, one of its items is enough.

    Examples:
        >>> slmlab.scorers.exact("Paris.", {"expected": "paris"})
        True
    """
    wanted = {bare(one) for one in alternatives(cell(row, "expected"))}
    return bare(answer(text)) in wanted


def contains(text: str, row: Row) -> bool:
    """``expected`` (or an item of it, if it is a list) occurs as whole words in the answer.

    Examples:
        >>> slmlab.scorers.contains("It is Paris, of course.", {"expected": "Paris"})
        True
    """
    found, given = answer(text), cell(row, "expected")
    _refuse_half_a_list(given)
    return any(occurs(one, found) for one in alternatives(given))


def regex(text: str, row: Row) -> bool:
    """The regular expression in ``expected`` is found, ignoring case; ``.`` matches line breaks.

    One that takes longer than a second on an answer gives it no score.

    Examples:
        >>> slmlab.scorers.regex("Call 555-1234.", {"expected": "[0-9]{3}-[0-9]{4}"})
        True
    """
    pattern = cell(row, "expected")
    if not isinstance(pattern, str):
        raise Unscorable(f"`expected` is {pattern!r}, not a regular expression.")
    pattern, found = (unicodedata.normalize("NFC", one) for one in (pattern, answer(text)))
    return patterns.matches(pattern, found, re.IGNORECASE | re.DOTALL)


def label(text: str, row: Row) -> bool:
    """Of all the ``labels``, ``expected`` is the only one that the answer names.

    A label inside a longer one does not count (``spam`` in ``not spam``), nor does a negated one
    (``positive`` in ``it is not positive``).

    Examples:
        >>> row = {"labels": ["positive", "negative"], "expected": "positive"}
        >>> slmlab.scorers.label("I would say positive.", row)
        True
        >>> slmlab.scorers.label("Positive or negative, who knows?", row)
        False
    """
    given = cell(row, "labels")
    listed = parsed(given, list)
    if not listed:
        raise Unscorable(f'`labels` is {given!r}, not a list such as ["yes", "no"].')
    labels = {_spelled(as_text(one)): as_text(one) for one in listed}
    expected = _spelled(as_text(cell(row, "expected")))
    if expected not in labels:
        raise Unscorable(
            f"`expected` is {as_text(row['expected'])!r}, which is not one of the labels "
            f"{', '.join(labels.values())}."
        )
    return _named(answer(text), labels) == {expected}


def facts(text: str, row: Row) -> float:
    """The share of the expected facts that the answer names; 0 if it is over ``max_words``.

    Each fact is the beginning of a word, or several alternatives with ``|`` between them.

    Examples:
        >>> row = {"expected": ["Warsaw", "1867", "physic|chem"]}
        >>> slmlab.scorers.facts("She was born in Warsaw in 1867.", row)
        0.66...
    """
    given = cell(row, "expected")
    _refuse_half_a_list(given)
    expected = parsed(given, list) or [given]
    wanted = [
        [part for part in as_text(fact).split("|") if part.strip()]
        for fact in expected
        if not is_blank(fact)
    ]
    if not any(wanted):
        raise Unscorable("`expected` names no fact.")
    most = float_cell(row, "max_words")
    found = answer(text)
    if most is not None and word_count(found) > most:
        return 0.0
    named = [any(occurs(part, found, whole=False) for part in fact) for fact in wanted if fact]
    return sum(named) / len(named)


def words(at_most: int) -> Scorer:
    """A scorer: the answer has at most so many words (of Chinese and Japanese: characters).

    Examples:
        >>> slmlab.scorers.words(3)("Short and clear.", {})
        True
    """
    return lambda text, _: word_count(answer(text)) <= at_most


def _refuse_half_a_list(value: object) -> None:
    """A list that is cut, or that numpy printed, is not a text that anybody looks for."""
    begins = isinstance(value, str) and value.lstrip()[:2] in ('["', "['")
    if begins and parsed(value, list) is None:
        raise Unscorable(f'`expected` is {value!r}, not a list such as ["a", "b"].')


def _spelled(label: str) -> str:
    """A folded label, with spaces for hyphens and underscores: not_spam, non-toxic."""
    return re.sub(r"(?<=\w)[-_](?=\w)", " ", fold(label))


def _named(text: str, labels: dict[str, str]) -> set[str]:
    """The labels that a text names; ``labels`` maps each to its spelling in the row."""
    plain = without_emphasis(text)
    if bare(plain) in labels:
        return {bare(plain)}
    spelled = _spelled(plain)
    spans: list[tuple[int, int, str]] = []
    for one, written in labels.items():
        if len(written) == 1 and written.isupper():
            spans += [(*span, one) for span in _letters(written, spelled, _cased(plain))]
            continue
        for spelling in {one, re.sub(r"^non ", "non", one)}:
            spans += [(*span, one) for span in occurrences(spelling, spelled)]
    return {
        one
        for start, end, one in _not_within_longer(spans)
        if not _NEGATED.search(spelled[max(0, start - 40) : start])
        and not _NEGATED_BEHIND.match(spelled, end)
    }


def _not_within_longer(spans: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """The labels, with their positions, that are not inside a longer one."""
    spans = sorted(spans)
    starts = [start for start, _, _ in spans]
    furthest = list(itertools.accumulate((end for _, end, _ in spans), max))
    for start, end, one in spans:
        before = bisect.bisect_left(starts, start)
        here = bisect.bisect_right(starts, start)
        if not (before and furthest[before - 1] >= end) and furthest[here - 1] <= end:
            yield start, end, one


def _cased(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _letters(letter: str, folded: str, cased: str) -> list[tuple[int, int]]:
    """Positions where a text chooses a letter: a capital, or as in "b)"; "a" is just a word."""
    return [
        span
        for span in occurrences(letter, cased)
        if not (letter == "A" and _ARTICLE.match(cased, span[1]))
    ] + [
        (match.start(), match.start() + 1)
        for match in re.finditer(rf"(?<![\w']){letter.lower()}\)", folded)
    ]

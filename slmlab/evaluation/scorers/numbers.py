"""A scorer that looks for a number, in the many ways in which people and models write one."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from slmlab.errors import Unscorable
from slmlab.evaluation.scorers.matching import INVISIBLE, STRUCK, joins
from slmlab.evaluation.scorers.reading import Row, answer, cell, float_cell, optional

TOLERANCE = 1e-6

_FRACTIONS = {one: unicodedata.normalize("NFKC", one).replace("⁄", "/") for one in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞"}
_MARKS: dict[int, str] = str.maketrans(
    _FRACTIONS
    | dict(zip("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789", strict=True))
    | dict(zip("０１２３４５６７８９，．", "0123456789,.", strict=True))
    | dict.fromkeys("−–‐‑﹣－", "-")
    | dict.fromkeys("\u00a0\u2007\u2009", "\u202f")
    | dict.fromkeys("’ʼ", "'")
    | dict(zip("٫٬⁄∕∙⋅", ".,//··", strict=True))
    | dict.fromkeys(INVISIBLE, "")
)
# LaTeX commands and their replacements, in the order in which they are applied.
_LATEX = (
    (r"(?<=\d)\s*\\[dtc]?frac", r" \\frac"),
    (r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r"\1/\2"),
    (r"\\[dtc]?frac\s*(\d)\s*(\d)", r"\1/\2"),
    (r"\\[dtc]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}", ""),
    (r"\{([,.])\}", r"\1"),
    (r"(?<=\d)(?:\\[,;: ]|~|\{\\,\})(?=\d{3})", "\u202f"),
    (r"\\!|\\left|\\right|\\displaystyle", ""),
    (r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|bf|rm)\s*(?=\{)", ""),
    (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "×"),
    (r"\\pm(?![a-zA-Z])", "±"),
    (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?", "°"),
    (r"\\sqrt", "√"),
    (r"\\pi(?![a-zA-Z])", "π"),
    (r"\\(?:neq?|not\s*=)(?![a-zA-Z])", "≠"),
    (r"\\(?=[$%#&,;: ])", ""),
    (r"([\^_])\s*\{\s*([^{}]*?)\s*\}", r"\1\2"),
)
_LATEX_RULES = [(re.compile(pattern), new) for pattern, new in _LATEX]

_RUN = r"\d(?:[\d.,'\u202f]*\d)?"
_ALONE = rf"(?:(?<![\w.])\.)?{_RUN}(?:[eE][-+]?\d+(?!\w))?"
_SCIENTIFIC = (
    rf"(?P<mantissa>(?:(?<![\w.])\.)?{_RUN})\s*[×x·*]\s*10"
    r"\s*(?:\^|\*\*)\s*\(?(?P<power>[-+]?\d+)\)?"
)
# Digits joined to other digits: a range, a date, a time, a sum, a power, a name.
_JOINED = rf"{_ALONE}(?:(?:\s?/\s?| ?[+×÷·] ?| \* |[-:*^]|[xX](?=\d)|\*\*)\(?[-.]?{_RUN}\)?)*"
_MIXED = r"(?<![\w.,])(?P<whole>\d{1,3})\s{1,2}(?P<part>\d{1,2}/\d{1,3})(?![\d/])"
_NUMBER = re.compile(rf"{_SCIENTIFIC}|{_MIXED}|(?P<joined>{_JOINED})")
# A negated number is not the answer: "not 20", "x ≠ 0", "rather than 5", "5 is wrong".
_DENIED = re.compile(
    r"(?:\b(?:not|cannot|never|neither|nor|\w+n['’]t|rather\s+than|instead\s+of|other\s+than)\s+"
    r"(?:be\s+)?(?:equal(?:\s+to)?\s+)?|(?:≠|!=)\s*)[-$€£]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"\s(?:is|was)(?:\s+(?:wrong|incorrect|false)|(?:\s+not|n['’]t)\s+"
    r"(?:correct|right|the\s+(?:\w+\s+)?(?:answer|solution|result)))\b",
    re.IGNORECASE,
)
_OR = re.compile(r"\s+or\s+[-$€£]*", re.IGNORECASE)
_FRACTION = re.compile(r"(\d+)\s?/\s?(\d+)")
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
# What may stand for it, or for a unit: 5k, 7B.
_SHORT = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9}
_CURRENCIES = re.compile(r"(?:^|[^A-Za-z])(?:USD|EUR|GBP|CHF|CAD|AUD|INR|JPY|CNY|US|Rs|R|kr)\.?$")
_IN_WORDS = re.compile(
    r"\b(?:zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen"
    r"|fifteen|sixteen|seventeen|eighteen|nineteen|(?:twenty|thirty|forty|fifty|sixty|seventy"
    r"|eighty|ninety)(?:-\w+)?|hundred|thousand|million)\b|[零〇一二三四五六七八九十百千万萬億亿]{2,}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Value:
    """A number as read; ``whole`` is its exact value if it was written without a fraction."""

    value: float
    whole: int | None = None

    def near(self, other: _Value, tolerance: float | None) -> bool:
        if tolerance is None and self.whole is not None and other.whole is not None:
            return self.whole == other.whole
        if tolerance is None:
            return math.isclose(self.value, other.value, rel_tol=TOLERANCE, abs_tol=1e-12)
        return math.isclose(self.value, other.value, rel_tol=tolerance, abs_tol=tolerance)


def number(text: str, row: Row) -> bool:
    r"""The last number in the answer is ``expected``, within ``tolerance`` of it.

    The last one, because models that reason in their answer mention others before; but a number in
    ``\boxed{…}`` or after ``####`` takes precedence, and a negated number (``it
    is not 5``) does not count. Without a tolerance, whole numbers have to be
    equal and others to agree in six digits; with one, the absolute or the relative difference must
    not exceed it. ``decimal`` is the decimal mark of the answers: with a comma, ``1.234`` is a
    whole number above a thousand.

    Examples:
        >>> slmlab.scorers.number("3 boxes of 4 are 12.", {"expected": 12})
        True
    """
    comma = _decimal_comma(row)
    expected = _expected(cell(row, "expected"), comma)
    tolerance = float_cell(row, "tolerance")
    found = answer(text)
    for part in _parts(found):
        if numbers := _numbers(part, comma):
            return any(one.near(expected, tolerance) for one in numbers[-1])
    if not re.search(r"\d", found) and (word := _IN_WORDS.search(found)):
        raise Unscorable(
            f"The answer has its number in words ({word[0]!r}), which is not supported."
        )
    return False


def _decimal_comma(row: Row) -> bool:
    mark = optional(row, "decimal") or "."
    if mark not in (".", ","):
        raise Unscorable(f"`decimal` is {mark!r}; it must be '.' or ','.")
    return bool(mark == ",")


def _expected(value: object, comma: bool) -> _Value:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return _Value(number, int(value) if number.is_integer() else None)
    elif isinstance(value, str):
        marked = re.findall(r"####(.*)", value)
        numbers = _numbers(_without_latex(marked[-1] if marked else value), comma)
        if len(numbers) == 1:
            return numbers[0][0]
    raise Unscorable(f"`expected` is {value!r}, which is not one number.")


def _parts(text: str) -> list[str]:
    """The parts of the text where the answer's number may be, the likeliest first."""
    if boxed := _boxed(text):
        return [_without_latex(boxed)]
    marked = re.findall(
        r"^\s*####(?!\s*\d+[.)]\s)\s*([-+*$€£]*\s?[\d.][^A-Za-z(\n]*)", text, re.MULTILINE
    )
    return [_without_latex(one) for one in (*marked[-1:], text)]


def _boxed(text: str) -> str:
    r"""The content of the last ``\boxed{…}``, which may contain braces."""
    opened = [found.end() - 1 for found in re.finditer(r"\\f?box(?:ed)?\s*\{", text)]
    if not opened:
        return ""
    depth, begin = 0, opened[-1]
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin + 1 : place]
    return ""


def _without_latex(text: str) -> str:
    text = re.sub(rf"(?<=\d)(?=[{''.join(_FRACTIONS)}])", " ", text)
    text = re.sub(r"(?=[⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹])(?<![⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹])", "^", text).translate(_MARKS)
    text = STRUCK.sub("", text)
    for pattern, new in _LATEX_RULES:
        text = pattern.sub(new, text)
    return text


def _numbers(text: str, comma: bool) -> list[list[_Value]]:
    """The numbers that are neither negated nor part of an expression, each with all readings."""
    numbers: list[list[_Value]] = []
    denied_until = -1
    for match in _NUMBER.finditer(text):
        if (value := _value(match, comma)) is None or not _by_itself(match, text):
            continue
        values = [
            _scaled(_signed(value, text, match.start()), text[match.end() : match.end() + 16])
        ]
        if short := re.match(r"\s?(k|K|M|B|bn)(?!\w)", text[match.end() : match.end() + 4]):
            values.append(_times(values[0], _SHORT[short[1]]))
        # With plain spaces, "9 500" is one number for some and two for others.
        start = max(0, match.start() - 16)
        before = re.search(r"(?<![\w.,])\d{1,3}(?: \d{3})* $", text[start : match.start()])
        if before and re.match(r"\d{3}(?!\d)", match[0]):
            joined = _read(before[0].replace(" ", "") + match[0], comma)
            values += [_signed(joined, text, start + before.start())] if joined else []
        if (
            _DENIED.search(text[max(0, match.start() - 24) : match.start()])
            or _DENIED_AFTER.match(text, match.end())
            or (denied_until >= 0 and _OR.fullmatch(text, denied_until, match.start()))
        ):
            denied_until = match.end()
            continue
        numbers.append(values)
    return numbers


def _value(match: re.Match[str], comma: bool) -> _Value | None:
    if match["mantissa"]:
        mantissa, power = _read(match["mantissa"], comma), int(match["power"][:6])
        if mantissa is None:
            return None
        try:
            return _Value(mantissa.value * 10.0**power)
        except OverflowError:
            return _Value(math.inf)
    written = match["part"] or match["joined"]
    if fraction := _FRACTION.fullmatch(written):
        over, under = float(fraction[1]), float(fraction[2])
        return _Value(float(match["whole"] or 0) + over / under) if 0 < under < math.inf else None
    return _read(written, comma)


def _read(run: str, comma: bool) -> _Value | None:
    """A run of digits and marks as a number; None if it is a list, a version or a date."""
    digits, _, power = run.lower().partition("e")
    exponent = f"e{power}" if power else ""
    decimal, thousands = (",", ".") if comma else (".", ",")
    # If only the other convention fits, it is used: with decimal points, 3,14 is read as 3.14.
    for point, group in ((decimal, thousands), (thousands, decimal)):
        between = rf"[{group}'\u202f]"
        fits = (
            rf"\d*(?:[{point}]\d+)?",
            rf"[1-9]\d{{0,2}}({between})\d{{3}}(?:\1\d{{3}})*(?:[{point}]\d+)?",
            rf"[1-9]\d?(?:[{group}]\d\d)+[{group}]\d{{3}}(?:[{point}]\d+)?",  # in India
        )
        if any(re.fullmatch(one, digits) for one in fits):
            plain = re.sub(between, "", digits).replace(point, ".")
            whole = None if exponent else re.fullmatch(r"(\d{1,4000})(?:\.0*)?", plain)
            return _Value(float(plain + exponent), int(whole[1]) if whole else None)
    return None


def _by_itself(match: re.Match[str], text: str) -> bool:
    """Whether a number is not part of a name, a power, a root or another expression."""
    before, after = (
        text[max(0, match.start() - 16) : match.start()],
        text[match.end() : match.end() + 4],
    )
    sign = re.search(r"[-+]$", before)
    outside = before[:-1] if sign else before
    if before and joins(before[-1]) and before[-1] != "_" and not _CURRENCIES.search(before):
        return False  # CO2, x1
    if re.search(r"[^\W_]_$|[)\d]_$", before) or re.search(r"(?:\^|√[{(\[]?|[\w)]\*\*)-?$", before):
        return False  # x_1, x^2, √2
    if sign and outside and (joins(outside[-1]) or outside[-1] in ")]}%°"):
        return False  # GPT-4, x-5, 10%-20%
    if re.search(r"(?:±|\+/-)\s?$", before):
        return False  # a margin of error
    if after.startswith("]") and re.search(r"(?:[\w.)]|\d[.,)]? )\[\^?$", before):
        return False  # a footnote's number
    return re.match(r"\s?(?:\^|√|π)|\*\*[\w(]|/\d", after) is None


def _signed(value: _Value, text: str, start: int) -> _Value:
    before = text[max(0, start - 16) : start].lower()
    minus = r"(?:-[$€£¥]?|[=(]\s*-\s*[$€£¥]?|(?<![\d)] )\b(?:minus|negative) [$€£¥]?)$"
    if not re.search(minus, before):
        return value
    return _Value(-value.value, None if value.whole is None else -value.whole)


def _scaled(value: _Value, after: str) -> _Value:
    word = re.match(r"\s(hundred|thousand|million|billion|trillion)s?\b", after, re.IGNORECASE)
    return _times(value, _SCALES[word[1].lower()]) if word else value


def _times(value: _Value, scale: float) -> _Value:
    scaled = value.value * scale
    return _Value(scaled, round(scaled) if math.isfinite(scaled) and abs(scaled) < 1e15 else None)

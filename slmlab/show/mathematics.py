r"""Formulas in a model's text: found before Markdown sees them, and turned into MathML.

Markdown takes the backslashes of ``\[ x_1 * y_1 \]`` for its own, and the stars and underscores
for emphasis. So formulas are taken out first, and a mark stays in the place of each. Browsers draw
MathML themselves; neither a script nor the network is needed.

All of this takes time in proportion to the text, whatever it is.
"""

from __future__ import annotations

import functools
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from math_core import LatexToMathML

# Two characters that Unicode keeps for use inside of programs. The number of a formula stands
# between them.
BEGIN, END = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{BEGIN}(\\d+){END}")
_BREAK = r"(?:<br\s*/?>\n?)?"
_MARK_AND_BREAKS = re.compile(
    f"(?P<before>{_BREAK}){BEGIN}(?P<number>\\d+){END}(?P<after>{_BREAK})"
)

# A longer formula is none, and nor is one with more elements within each other.
LONGEST = 5_000
DEEPEST = 100
# Bytes; 2 KB for each character are needed at most.
STACK = 64 * 2**20
# Of characters; a display may be wider than its place.
WIDE = 80

_ENVIRONMENTS = (
    "align|alignat|aligned|alignedat|array|Bmatrix|bmatrix|cases|displaymath|eqnarray|equation|"
    "flalign|gather|gathered|math|matrix|multline|pmatrix|rcases|smallmatrix|split|subarray|"
    "Vmatrix|vmatrix"
)
_INTERESTING = re.compile(
    r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})"
    r"|(?P<ticks>`+)"
    rf"|(?P<open>\\[\[(]|\\begin\{{(?P<name>(?:{_ENVIRONMENTS})\*?)\}}|\$\$?)"
    r"|\\[^a-zA-Z\n]",
    re.MULTILINE,
)
_CLOSING = {"\\[": "\\]", "\\(": "\\)", "$$": "$$", "$": "$"}
# What may become the beginning of a formula with the next piece of text.
_HALF = re.compile(
    r"(?<!\\)(?:\\\\)*(?P<half>\\(?:b(?:e(?:g(?:i(?:n(?:\{[a-zA-Z]*\*?)?)?)?)?)?)?|\$)\Z"
)
_WORD = re.compile(r"[A-Za-z0-9]")
# "$5 for it or 5 US $" has two dollars and is about money.
_MONEY = re.compile(r"\d[\d.,]*[ -]?(?:[A-Za-z]{2,}|[A-Za-z]+ [A-Za-z])")
_PROSE = re.compile(r"\s*[A-Za-z]+,?\s+[A-Za-z]{2,}[^\\^_=+<>/|{}*0-9-]*")
_LATEX = re.compile(r"\\[a-zA-Z]|[\^_=]")
_QUOTED = re.compile(r"[ \t]*(?:>[ ]?)+")


@dataclass(frozen=True)
class Formula:
    """A formula: its text with its delimiters, what stands between them, and where it stands."""

    source: str
    latex: str
    display: bool
    # It has no end yet. It may get one with the next piece of text.
    waiting: bool = False


def find(text: str, live: bool = False) -> tuple[str, list[Formula]]:
    r"""Take the formulas out of a text.

    Found are ``$…$``, ``$$…$$``, ``\(…\)``, ``\[…\]`` and the environments of LaTeX that hold
    formulas, but not in code. As in Pandoc's Markdown, no space may follow the first dollar of
    ``$…$`` or stand before the second, and no digit or letter may stand outside beside them.

    Args:
        text: Markdown.
        live: more of the text is to come, so that a formula without an end waits for it.

    Returns:
        The text with a mark for each formula, and the formulas. ``restore`` undoes it.
    """
    return _Search(text, live).run()


def restore(text: str, formulas: list[Formula]) -> str:
    """Put the formulas' own text back where their marks are."""
    return _MARK.sub(lambda mark: formulas[int(mark[1])].source, text) if formulas else text


def put_into(html: str, formulas: list[Formula]) -> str:
    """Replace each mark in HTML by its formula; those in lines of their own need no breaks."""

    def shown(match: re.Match[str]) -> str:
        formula = formulas[int(match["number"])]
        found = to_html(formula)
        if "slmlab-formula" in found:
            return found
        return f"{match['before']}{found}{match['after']}"

    return _MARK_AND_BREAKS.sub(shown, html) if formulas else html


def to_html(formula: Formula) -> Markup:
    """A formula as MathML; as its source, in the style of code, where it is none we can read."""
    if formula.waiting:
        return Markup('<span class="slmlab-waiting">{}</span>').format(formula.source)
    found = mathml(formula.latex, formula.display) if formula.latex else None
    if found and formula.display:
        # One that may be too wide can be scrolled with the keys.
        key = Markup(' tabindex="0"') if len(formula.latex) > WIDE else ""
        return Markup('<span class="slmlab-formula"{}>{}</span>').format(key, found)
    return found or Markup('<code class="slmlab-latex">{}</code>').format(formula.source)


@dataclass
class _Search:
    text: str
    live: bool
    pieces: list[str] = field(default_factory=list)
    formulas: list[Formula] = field(default_factory=list)
    # The text before this has been dealt with.
    done: int = 0
    # Where each kind of delimiter is next, so that each part of the text is searched once for it.
    ahead: dict[str, int] = field(default_factory=dict)

    def run(self) -> tuple[str, list[Formula]]:
        place = 0
        while match := _INTERESTING.search(self.text, place):
            if match["fence"]:
                place = self.after_fence(match)
            elif match["ticks"]:
                place = self.after_code(match)
            elif match["open"]:
                place = self.after_formula(match)
            else:
                place = match.end()
        if self.live and (half := _HALF.search(self.text, max(self.done, len(self.text) - 40))):
            self.take(half.start("half"), len(self.text), "", display=False, waiting=True)
        return "".join((*self.pieces, self.text[self.done :])), self.formulas

    def take(
        self, start: int, end: int, latex: str, *, display: bool, waiting: bool = False
    ) -> int:
        self.pieces += [self.text[self.done : start], f"{BEGIN}{len(self.formulas)}{END}"]
        source = self.text[start:end]
        self.formulas.append(Formula(source, latex, display, waiting))
        self.done = end
        return end

    def next(self, what: str, place: int) -> int:
        """Where ``what`` stands next, at or after ``place``; the text's length where nowhere."""
        known = self.ahead.get(what, -1)
        if known < place:
            found = self.text.find(what, place)
            known = self.ahead[what] = found if found >= 0 else len(self.text)
        return known

    def paragraph_end(self, place: int) -> int:
        known = self.ahead.get("", -1)
        if known < place:
            found = _BLANK.search(self.text, place)
            known = self.ahead[""] = found.start() if found else len(self.text)
        return known

    def latex_end(self) -> int:
        """Where the last of what only formulas have stands in the last paragraph."""
        if "last" not in self.ahead:
            start = self.text.rfind("\n\n") + 1
            places = [found.start() for found in _LATEX.finditer(self.text, start)]
            self.ahead["last"] = max(places, default=-1)
        return self.ahead["last"]

    def after_fence(self, match: re.Match[str]) -> int:
        fence = match["fence"]
        end = re.compile(rf"^[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        closing = end.search(self.text, match.end())
        return closing.end() if closing else len(self.text)

    def after_code(self, match: re.Match[str]) -> int:
        ticks, place = match["ticks"], match.end()
        limit = self.paragraph_end(place)
        while (place := self.next(ticks, place)) < limit:
            run = place
            while self.text.startswith("`", place):
                place += 1
            if place - run == len(ticks):
                return place
        return match.end()

    def after_formula(self, match: re.Match[str]) -> int:
        text, opening, start, inside = self.text, match["open"], match.start("open"), match.end()
        name = match["name"]
        closing = f"\\end{{{name}}}" if name else _CLOSING[opening]
        limit = len(text) if name or opening in ("\\[", "$$") else self.paragraph_end(inside)
        if opening == "$" and not self.opens(start):
            return inside
        end = self.next(closing, inside)
        while end < limit and _escaped(text, end):
            end = self.next(closing, end + 1)
        limit = min(limit, inside + LONGEST)
        if end >= limit:
            return self.after_unended(match, limit)
        after = end + len(closing)
        content = text[inside:end]
        if not content.strip():
            return after
        if _PROSE.fullmatch(content) or (opening == "$" and not _closes(text, content, after)):
            return inside
        if opening == "$" and after == len(text) and self.live:
            # A digit may follow, and then it is about money.
            return self.take(start, after, "", display=False, waiting=True)
        if "\n" in content and (quoted := _QUOTED.match(text, text.rfind("\n", 0, start) + 1)):
            depth = quoted[0].count(">")
            content = re.sub(rf"\n[ \t]*(?:>[ ]?){{1,{depth}}}", "\n", content)
        latex = f"{opening}{content}{closing}" if name else content
        return self.take(start, after, latex, display=opening not in ("$", "\\("))

    def opens(self, start: int) -> bool:
        """Whether a single dollar may begin a formula."""
        before, behind = self.text[start - 1 : start], self.text[start + 1 : start + 2]
        return bool(behind) and not behind.isspace() and not _WORD.match(before)

    def after_unended(self, match: re.Match[str], limit: int) -> int:
        """What to do with the beginning of a formula that has no end."""
        text, opening, start, inside = self.text, match["open"], match.start("open"), match.end()
        begins_line = not text[text.rfind("\n", 0, start) + 1 : start].strip(" \t>")
        end = self.paragraph_end(inside)
        is_last = limit == len(text) and (end == len(text) or begins_line)
        if self.live and is_last and not (opening == "$" and text[inside].isdigit()):
            return self.take(start, limit, "", display=False, waiting=True)
        # A dollar by itself is one, and `\[` in a sentence is a bracket.
        if end == len(text) and (
            self.latex_end() > inside or (self.formulas and opening not in ("$", "$$"))
        ):
            pass  # the answer was cut within the formula
        elif not begins_line or opening in ("$", "\\("):
            return inside
        return self.take(start, min(end, limit), "", display=True)


def _closes(text: str, content: str, after: int) -> bool:
    """Whether a single dollar ends the formula with this content."""
    if content[-1].isspace() or _MONEY.match(content):
        return False
    return after == len(text) or not _WORD.match(text[after])


_BLANK = re.compile(r"\n[ \t>]*(?=\n)")


def _escaped(text: str, place: int) -> bool:
    """Whether an odd number of backslashes stands before this place."""
    bare = text[max(0, place - 50) : place]
    return (len(bare) - len(bare.rstrip("\\"))) % 2 == 1


# Into MathML.

# The converter numbers the lines of these, each formula from 1, or does not know them.
_ENVIRONMENT = re.compile(
    r"\\(begin|end)\{(align|alignat|flalign|eqnarray|split|gather|multline|equation|displaymath|"
    r"math|subarray)\*?\}"
)
_SAME = {"gather": "gathered", "multline": "gathered", "subarray": "matrix"}
_NOTES = re.compile(r"\\(?:label\{[^{}]*\}|nonumber|notag|require\{[^{}]*\})")
_TAG = re.compile(r"\\tag\*?\{([^{}\\$]*)\}")
# Most fonts have primes that are small and raised already; as an exponent they all but vanish.
_PRIME = re.compile("<msup>(<mi>[^<>]*</mi>)<mo>([′″‴⁗]+)</mo></msup>")
_ELEMENT = re.compile(r"<(/?)(?:[^<>]*[^<>/])?>")


@functools.lru_cache(500)
def mathml(latex: str, display: bool) -> Markup | None:
    """LaTeX as MathML; None where it is none, or too long or too deep.

    Made by math-core (https://github.com/tmke8/math-core), which writes MathML Core, the part of
    MathML that all browsers draw.
    """
    if len(latex) > LONGEST:
        return None
    latex = _ENVIRONMENT.sub(_plain_environment, _NOTES.sub("", latex))
    latex = _TAG.sub(r"\\qquad\\text{(\1)}", latex).strip()
    may_be_deep = sum(map(latex.count, "\\{^_")) > DEEPEST
    if may_be_deep:
        found = _deep_thread().submit(_convert, latex, display).result()
    else:
        found = _convert(latex, display)
    if found is None or _depth(found) > DEEPEST:
        return None
    found = _PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', found)
    return Markup(found)  # noqa: S704  the converter escapes, and nh3 cleans what it writes


def _plain_environment(match: re.Match[str]) -> str:
    which, name = match[1], match[2]
    if name in ("equation", "displaymath", "math"):
        return " "
    return f"\\{which}{{{_SAME.get(name, 'aligned')}}}"


def _convert(latex: str, display: bool) -> str | None:
    from math_core import LatexError

    try:
        return _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError:
        return None


@functools.cache
def _converter() -> LatexToMathML:
    from math_core import LatexToMathML

    return LatexToMathML(fancy_error=False)


@functools.cache
def _deep_thread() -> ThreadPoolExecutor:
    """A thread for formulas that may be deep.

    The converter calls itself for each group, and where the stack ends, so does the process.
    """
    before = threading.stack_size(STACK)
    pool = ThreadPoolExecutor(1, thread_name_prefix="slmlab-mathml")
    pool.submit(int).result()
    threading.stack_size(before)
    return pool


def _depth(html: str) -> int:
    """How many elements stand within each other."""
    depth = deepest = 0
    for end in _ELEMENT.findall(html):
        depth += -1 if end else 1
        deepest = max(deepest, depth)
    return deepest

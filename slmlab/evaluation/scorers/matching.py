"""Find words in a text: in any script, in any way in which Unicode writes the same letters."""

from __future__ import annotations

import re
import unicodedata

# Marks that a keyboard has and a typesetter replaces, and characters that nobody sees.
_SAME: dict[int, str | None] = {
    ord(one): same
    for same, others in {
        "'": "‘’‚‛ʼʻ′´`",
        "...": "…",
        '"': "“”„‟«»",
        "-": "‐‑‒–−﹣",
        None: "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\ufe0e\ufe0f",
    }.items()
    for one in others
}
# Full-width letters, digits and marks; the small digits of H₂O.
_SAME |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SAME |= {0x2080 + digit: str(digit) for digit in range(10)}
_HALF_WIDTH = re.compile(r"[\uff61-\uff9f]+")
_EMPHASIS = re.compile(
    r"(?<![\w*`_])(?:\*{1,3}|`+|_{1,3})(?=\S)|(?<=\S)(?:\*{1,3}|`+|_{1,3})(?!\w)"
)

# Scripts that put no space between words, and Katakana, whose runs are words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u309f"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_KATAKANA = re.compile(r"[\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff]")
_CHARACTERS = re.compile(r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\uac00-\ud7af]")


def fold(text: str) -> str:
    """A text without what makes no difference: case, typographic marks, width, kind of space."""
    wide = _HALF_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    folded = unicodedata.normalize("NFC", wide).translate(_SAME).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def bare(text: str) -> str:
    """A folded text without the marks around it, unless it is nothing but marks."""
    folded = fold(text)
    # The point of .5 is part of it.
    found = re.sub(r"^(?:[\s:;,!?\"'`*_()\[\]]|\.(?!\d))+|[\s.,:;!?\"'`*_()\[\]]+$", "", folded)
    return found or folded


def occurrences(word: str, text: str, *, whole: bool = True) -> list[tuple[int, int]]:
    """Where a word (or several) stands in a text; both are folded.

    Args:
        word: what is looked for.
        text: where.
        whole: whether it has to be whole words; else it may be the beginning of some.
    """
    found = []
    start = text.find(word) if word else -1
    while start >= 0:
        end = start + len(word)
        if not _continues_before(text, start) and not _continues_after(text, end, whole):
            found.append((start, end))
        start = text.find(word, start + 1)
    return found


def occurs(word: str, text: str, *, whole: bool = True) -> bool:
    """Whether a word (or several) stands in a text; neither is folded yet."""
    wanted = fold(word)
    return any(
        occurrences(wanted, one, whole=whole) for one in {fold(text), fold(without_emphasis(text))}
    )


def without_emphasis(text: str) -> str:
    """A text without Markdown's stars, underscores and backticks around words."""
    return _EMPHASIS.sub("", text)


def word_count(text: str) -> int:
    """How many words a text has; of Chinese and Japanese, how many characters."""
    return len(_CHARACTERS.findall(text)) + sum(
        any(map(str.isalnum, one)) for one in _CHARACTERS.sub(" ", text).split()
    )


def joins(character: str) -> bool:
    """Whether a letter or digit would be part of the same word as another beside it."""
    if _UNSPACED.match(character) or _KATAKANA.match(character) or _HANGUL.match(character):
        return False
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _continues_before(text: str, start: int) -> bool:
    edge, before = text[start], text[start - 1 : start]
    if not before or _UNSPACED.match(edge):
        return False
    if _KATAKANA.match(edge):
        return bool(_KATAKANA.match(before))
    if _HANGUL.match(edge):
        return bool(_HANGUL.match(before))
    if edge.isdigit() and re.search(
        r"(?:\d[.,]|(?:^|[^\w)])-|(?:^|\s)\.)$", text[max(0, start - 2) : start]
    ):
        return True  # the end of 3.5, of -5, of .5
    return joins(before)


def _continues_after(text: str, end: int, whole: bool) -> bool:
    edge, after = text[end - 1], text[end : end + 3]
    if not after:
        return False
    if edge.isdigit():
        if re.match(r"\d|[.,]\d", after):
            return True  # the beginning of 12.5, of 12,000
    elif unicodedata.category(after[0])[0] == "M" and whole:
        return True
    if not whole or _UNSPACED.match(edge) or _HANGUL.match(edge):
        return False
    if _KATAKANA.match(edge):
        return bool(_KATAKANA.match(after))
    if edge.isalpha() and re.match(r"\+{1,2}(?!\w|\+)|#(?!\w)", after):
        return True  # A+, C++, C#
    return joins(after[0])

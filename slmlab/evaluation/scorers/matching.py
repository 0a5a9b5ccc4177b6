"""Find words in a text, in any script and any Unicode spelling of the same letters."""

from __future__ import annotations

import re
import unicodedata

# Invisible characters, and Markdown's struck-out text.
INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\ufe0e\ufe0f"
STRUCK = re.compile(r"(?<!~)~~(?=[^\s~])[^~\n]*(?<=[^\s~])~~(?!~)")
# Typographic variants of keyboard characters, and invisible characters.
_SAME: dict[int, str | None] = {
    ord(one): same
    for same, others in {
        "'": "‘’‚‛ʼʻ′´`",
        "...": "…",
        '"': "“”„‟«»",
        "-": "‐‑‒–−﹣",
        "#": "♯",
        None: INVISIBLE,
    }.items()
    for one in others
}
# Full-width letters, digits and punctuation; subscript digits as in H₂O.
_SAME |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SAME |= {0x2080 + digit: str(digit) for digit in range(10)}
_HALF_WIDTH = re.compile(r"[\uff61-\uff9f]+")
_EMPHASIS = re.compile(
    r"(?<![\w*`_])(?:\*{1,3}|`+|_{1,3})(?=\S)|(?<=\S)(?:\*{1,3}|`+|_{1,3})(?!\w)"
)

# The point in .5 and the minus in -5 belong to the number; a bullet or heading mark is dropped.
_OTHER_MARKS = r"\s,:;!?\"'`*_()\[\]。、「」『』【】《》〈〉¿¡؟،؛।"
_AROUND = re.compile(rf"^(?:[{_OTHER_MARKS}]|\.(?!\d)|[-•#]\s)+|[.{_OTHER_MARKS}]+$")

# Scripts without spaces between words; and Katakana, in which each run of characters is a word.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u309f"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_KATAKANA = re.compile(r"[\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff]")
_CHARACTERS = re.compile(r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\uac00-\ud7af]")


def fold(text: str) -> str:
    """A text normalized for comparison: case, typographic variants, width and white space."""
    wide = _HALF_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    folded = unicodedata.normalize("NFC", wide).translate(_SAME).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def bare(text: str) -> str:
    """A folded text without the punctuation around it, unless it is nothing but punctuation."""
    folded = fold(text)
    return _AROUND.sub("", folded) or folded


def occurrences(word: str, text: str, *, whole: bool = True) -> list[tuple[int, int]]:
    """The positions of a word (or several) in a text; both must be folded.

    Args:
        word: what to look for.
        text: where to look.
        whole: whether only whole words count; else also beginnings of words.
    """
    spans = []
    start = text.find(word) if word else -1
    while start >= 0:
        end = start + len(word)
        if not _continues_before(text, start) and not _continues_after(text, end, whole):
            spans.append((start, end))
        start = text.find(word, start + 1)
    return spans


def occurs(word: str, text: str, *, whole: bool = True) -> bool:
    """Whether a word (or several) is in a text; neither need be folded."""
    wanted = fold(word)
    return any(
        occurrences(wanted, one, whole=whole) for one in {fold(text), fold(without_emphasis(text))}
    )


def without_emphasis(text: str) -> str:
    """A text without the marks of Markdown's emphasis, and without struck-out text."""
    return _EMPHASIS.sub("", STRUCK.sub("", text))


def word_count(text: str) -> int:
    """The number of words in a text; Chinese and Japanese characters count as one each."""
    return len(_CHARACTERS.findall(text)) + sum(
        any(map(str.isalnum, one)) for one in _CHARACTERS.sub(" ", text).split()
    )


def joins(character: str) -> bool:
    """Whether a character belongs to the same word as a letter or digit beside it."""
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

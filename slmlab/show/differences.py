"""Mark the words of one answer that another does not have."""

from __future__ import annotations

import difflib
import re

from markupsafe import Markup

# Texts of more words are not compared, for that takes the square of their length.
LONGEST = 3_000
# A formula counts as one word; the label of a button is none.
_PIECES = re.compile(r"<math.*?</math>|<button.*?</button>|<[^>]*>|[^<\s]+|\s+", re.DOTALL)
_BETWEEN_MARKS = re.compile(r"</mark>(\s+)<mark>")


def marked(html: Markup, reference: Markup) -> Markup:
    """An answer with ``<mark>`` around what the reference does not have; both are HTML."""
    pieces = _PIECES.findall(html)
    places = [place for place, piece in enumerate(pieces) if _is_word(piece)]
    words = [pieces[place] for place in places]
    others = [piece for piece in _PIECES.findall(reference) if _is_word(piece)]
    if max(len(words), len(others)) > LONGEST:
        return html
    matcher = difflib.SequenceMatcher(None, words, others, autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        if kind in ("replace", "delete"):
            for place in places[start:end]:
                pieces[place] = f"<mark>{pieces[place]}</mark>"
    return Markup(_BETWEEN_MARKS.sub(r"\1", "".join(pieces)))  # noqa: S704  harmless as before


def _is_word(piece: str) -> bool:
    return piece.startswith("<math") or not (piece.startswith("<") or piece.isspace())

"""Text from models and servers, made harmless for a terminal.

A terminal obeys what stands between certain characters: it sets the clipboard, moves the cursor
over what was written before, changes its title, answers as if somebody had typed.
"""

from __future__ import annotations

import re

# All that no text needs: C0 without tab and line feed, DEL, and C1, the one-byte forms.
_CONTROLS = dict.fromkeys((*(n for n in range(32) if n not in (9, 10)), *range(127, 160)))
# Operating system commands and the like, up to their end; a line's end is one too.
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*"
_SEQUENCE = re.compile(
    rf"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|{_STRING}(?:\x07|\x9c|\x1b\\)?|\x1b[ -/]*[0-OQ-WYZ`-~]"
)
_UNFINISHED = re.compile(rf"(?:\x1b[ -/]*|(?:\x1b\[|\x9b)[0-?]*[ -/]*|{_STRING}\x1b?)\Z")
# A sequence that is not finished by then is none.
_LONGEST = 2000


def printable(text: str) -> str:
    """A text without the sequences and characters that a terminal obeys."""
    return _SEQUENCE.sub("", text.replace("\r\n", "\n")).translate(_CONTROLS)


class Printable:
    """The same for a text that comes piece by piece, which may cut a sequence in two."""

    def __init__(self) -> None:
        self.held = ""

    def __call__(self, piece: str) -> str:
        """What may be printed now; the beginning of a sequence is held until its end comes."""
        text, self.held = self.held + piece, ""
        found = _UNFINISHED.search(text)
        if found and len(found[0]) < _LONGEST:
            text, self.held = text[: found.start()], found[0]
        return printable(text)

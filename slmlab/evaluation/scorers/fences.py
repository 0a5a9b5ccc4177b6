"""The blocks of an answer: code between Markdown fences, and the text around it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

# A fence may be in a list, in a quotation, or after words on its line.
_OPENING = re.compile(r"(?P<before>.*?)(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)")
_ONE_LINE = re.compile(r"(?P<before>.*?)(?P<fence>`{3,})(?P<code>[^`\n]+)(?P=fence)\s*")
_LANGUAGE = re.compile(r"\s*\{?\.?([A-Za-z#+]+)(?![\w=])\d*")
_WORD_OF_LANGUAGE = re.compile(r"\s*(?:python3?|py|json)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """A part of an answer.

    ``language`` is the one that the fence names, in lower case; ``""`` if it names none; None for
    text outside fences.
    """

    language: str | None
    text: str


def blocks(text: str) -> list[Block]:
    """All parts of an answer in order, even if a closing fence is missing."""
    found: list[Block] = []
    language: str | None = None
    fence = ""
    lines: list[str] = []

    def end() -> None:
        if any(line.strip() for line in lines):
            if all(line.lstrip().startswith(">") for line in lines) and not any(
                line.lstrip().startswith(">>>") for line in lines
            ):
                lines[:] = [line.lstrip()[1:].removeprefix(" ") for line in lines]
            found.append(Block(language, textwrap.dedent("\n".join(lines))))
        lines.clear()

    for line in text.splitlines():
        bare = line.rstrip()
        closes = bool(fence) and bare.endswith(fence) and not bare.strip(" >").strip(fence[0])
        if not closes and fence and bare.endswith(fence) and fence[0] == "`":
            lines.append(bare.removesuffix(fence))  # return 2```
            closes = True
        if closes:
            end()
            language, fence = None, ""
        elif not fence and (one := _ONE_LINE.fullmatch(line)):
            lines.append(one["before"])
            end()
            found.append(Block("", _WORD_OF_LANGUAGE.sub("", one["code"], count=1)))
        elif (match := _OPENING.fullmatch(line)) and (not fence or _opens_another(match, fence)):
            if not fence:
                lines.append(match["before"])
            end()
            fence = match["fence"]
            named = _LANGUAGE.match(match["info"])
            language = named[1].lower() if named else ""
        else:
            lines.append(line)
    end()
    return found


def _opens_another(match: re.Match[str], fence: str) -> bool:
    """Whether a fence inside a block begins the next block, because this one was not closed."""
    return (
        match["fence"][0] == fence[0]
        and not match["before"].strip()
        and bool(match["info"].strip())
    )

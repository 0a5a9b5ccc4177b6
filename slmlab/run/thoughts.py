"""What a model wrote of its thoughts (``<think>…</think>``), apart from its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAMES = "think|thinking|thought|reasoning"
_TAG = re.compile(rf"<(?P<end>/?)(?P<name>{_NAMES})>", re.IGNORECASE)
_BACKTICKS = re.compile("`+")
_BEGINS = re.compile(rf"\s*<(?:{_NAMES})>", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of a text: a thought or not; ``ended`` is False for a thought without an end."""

    text: str
    thought: bool = False
    ended: bool = True


def parts(text: str) -> list[Part]:
    """The thoughts in a text and what stands around them, in order.

    A thought that begins the text may lack its end. Some models' templates begin the thought for
    them; then the text has its end alone.

    Examples:
        >>> [(part.thought, part.text) for part in parts("<think>3 + 4</think>7")]
        [(True, '3 + 4'), (False, '7')]
    """
    tags = list(_tags(text))
    last_end = {tag["name"].lower(): tag.start() for tag in tags if tag["end"]}
    found: list[Part] = []
    place, opened, began_before = 0, "", 0
    for tag in tags:
        name = tag["name"].lower()
        if not opened and (tag["end"] or tag.start() < last_end.get(name, -1)):
            found.append(Part(text[place : tag.start()]))
            place = tag.end()
            if tag["end"]:
                began_before = len(found)
            else:
                opened = name
        elif opened == name and tag["end"]:
            found.append(Part(text[place : tag.start()], thought=True))
            place, opened = tag.end(), ""
    if began_before:
        found[:began_before] = [
            Part("".join(part.text for part in found[:began_before]), thought=True)
        ]
    rest = text[place:]
    if not any(part.text.strip() for part in found if not part.thought) and (
        begins := _BEGINS.match(rest)
    ):
        found.append(Part(rest[begins.end() :], thought=True, ended=False))
    else:
        found.append(Part(rest))
    return [part for part in found if part.thought or part.text]


def _tags(text: str) -> Iterator[re.Match[str]]:
    """The tags in a text, without those that it mentions as code: `<think>`.

    Code may also end right before a tag and begin right after it. So a tag between backticks is
    mentioned only if those before it on its line have opened code and not closed it.
    """
    place, runs = 0, 0
    for tag in _TAG.finditer(text):
        if line := text.rfind("\n", place, tag.start()) + 1:
            place, runs = line, 0
        runs += len(_BACKTICKS.findall(text, place, tag.start()))
        place = tag.start()
        within = text.endswith("`", 0, tag.start()) and text.startswith("`", tag.end())
        if not (within and runs % 2):
            yield tag

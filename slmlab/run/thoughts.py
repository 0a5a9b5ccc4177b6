"""What a model wrote of its thoughts (``<think>…</think>``), apart from its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = "think|thinking|thought|reasoning"
# Not where a text mentions it as code: `<think>`. A thought that ends with code ends all the same.
_TAG = re.compile(
    rf"(?:(?<!`)|(?=</?(?:{_NAMES})>(?!`)))<(?P<end>/?)(?P<name>{_NAMES})>", re.IGNORECASE
)
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
    tags = list(_TAG.finditer(text))
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

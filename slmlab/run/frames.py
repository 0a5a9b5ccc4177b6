"""The columns that a table of results needs, and which of its rows belong to one prompt."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError, SlmlabError, did_you_mean
from slmlab.run.cells import plain
from slmlab.run.options import Prompt
from slmlab.run.prompts import fill, variables
from slmlab.run.record import Generation

if TYPE_CHECKING:
    import pandas as pd

# The columns of every comparison.
COMPARED = {one.name for one in fields(Generation)} | {
    *("repeat", "prompt_id", "tokens_per_s", "prompt_tokens_per_s", "cut", "flags"),
}
# The columns of ways to put one prompt.
WAYS = ("template", "system", "variant")


def need(frame: object, *columns: str) -> None:
    """Check that ``frame`` is a table with these columns.

    Raises:
        SlmlabError: it is not, and the message says how to get such a column.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        got = textwrap.shorten(repr(frame), 60, placeholder=" …")
        raise SlmlabError(f"This takes a table, such as slmlab.compare(…) returns; got {got}.")
    for column in columns:
        if column not in frame:
            hint = did_you_mean(column, map(str, frame.columns))
            if column == "score":
                hint = " Score the answers first: slmlab.score(frame)."
            elif column in COMPARED:
                hint = " slmlab.compare(…) returns a table that has it."
            raise SlmlabError(f"The table has no column {column!r}.{hint}")


def prompt_keys(frame: pd.DataFrame, *, as_sent: bool = False) -> list[str]:
    """For each row a key that is the same for all rows of one prompt.

    ``prompt_id`` counts within one comparison. In a table that joins several comparisons two
    prompts may share a number, so their texts are part of the key. Where the table has templates,
    system prompts or a widget's columns (``variant``), which make several texts of one prompt, a
    number that stands for several texts in one of these ways is told apart by what was asked.

    Args:
        frame: what ``slmlab.compare`` returned, or several of these in one.
        as_sent: whether the texts that a template or system prompt makes of one prompt count as
            different prompts.
    """
    names = [name for name in ("task", "prompt_id") if name in frame]
    ways = [name for name in WAYS if name in frame]
    if as_sent or not ways:
        sent = [name for name in ("template", "system", "prompt") if name in frame]
        return [key_of(row) for row in frame[names + sent].to_dict("records")]
    rows = frame.to_dict("records")
    numbers = [key_of([row[name] for name in names]) for row in rows]
    texts: dict[tuple[str, str], set[str]] = {}
    for number, row in zip(numbers, rows, strict=True):
        way = key_of([row[name] for name in ways])
        texts.setdefault((number, way), set()).add(key_of(row.get("prompt")))
    shared = {number for (number, _), several in texts.items() if len(several) > 1}
    return [
        key_of([number, bare_prompt(row)]) if number in shared else number
        for number, row in zip(numbers, rows, strict=True)
    ]


def bare_prompt(row: Mapping[str, Any]) -> Any:
    """What a row of a comparison asked: its prompt without template and system prompt.

    A widget's columns (``variant``) have histories of their own, so of their conversations only
    what the user said counts. None where the template's text cannot be found in the prompt.
    """
    prompt = row.get("prompt")
    if "variant" in row and not isinstance(prompt, str):
        prompt = [one["content"] for one in prompt or () if one["role"] == "user"]
    elif prompt is not None:
        prompt = without_system(row)
    template = plain(row.get("template"))
    if not template:
        return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    if isinstance(prompt, str):
        return unfilled(template, prompt, row)
    return [
        unfilled(template, str(one), row) if not place else one
        for place, one in enumerate(prompt or ())
    ]


def without_system(row: Mapping[str, Any]) -> Prompt:
    """A row's prompt without the system prompt that compare() added."""
    prompt: Prompt = row["prompt"]
    if isinstance(prompt, str) or plain(row.get("system")) is None:
        return prompt
    rest = [dict(message) for message in prompt[1:]]
    return rest[0]["content"] if [one["role"] for one in rest] == ["user"] else rest


def unfilled(template: str, text: str, row: Mapping[str, Any]) -> Any:
    """What filled a template: the text of its only variable, or the row's columns of its variables.

    None where neither can be known.
    """
    mark = "\0"
    try:
        names = variables(template)
        before, _, after = fill(template, **dict.fromkeys(names, mark)).partition(mark)
    except PromptError:
        return None
    if len(names) == 1 and text.startswith(before) and text.endswith(after):
        return text[len(before) : len(text) - len(after)]
    columns = [f"given_{name}" if name in COMPARED else name for name in names]
    return [plain(row[name]) for name in columns] if all(map(row.__contains__, columns)) else None


def prompt_text(prompt: Any) -> str:
    """A prompt as text; a conversation with the speaker before each message.

    Examples:
        >>> prompt_text([{"role": "system", "content": "Be brief."}])
        'system: Be brief.'
    """
    given = plain(prompt)
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        return str(prompt)
    return "\n".join(f"{one['role']}: {one['content']}{_seen(one)}" for one in given)


def _seen(message: Mapping[str, Any]) -> str:
    """The images of a message in words, by the beginning of their digests."""
    return "".join(f" [image {name[7:19]}]" for name in message.get("images") or ())


def key_of(value: Any) -> str:
    """A text that is equal for equal values, for grouping by values that are not hashable."""
    return json.dumps(plain(value), default=str)

"""The columns that a table of results needs, and which of its rows belong to one prompt."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError, did_you_mean
from slmlab.run.cells import plain
from slmlab.run.record import Generation

if TYPE_CHECKING:
    import pandas as pd

# The columns of every comparison.
COMPARED = {one.name for one in fields(Generation)} | {
    *("repeat", "prompt_id", "tokens_per_s", "prompt_tokens_per_s", "cut", "flags"),
}


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
    prompts may share a number, so their texts are part of the key, unless the table has templates,
    system prompts, or a widget's columns with settings and histories of their own (``variant``),
    which make several texts of one prompt.

    Args:
        frame: what ``slmlab.compare`` returned, or several of these in one.
        as_sent: whether the texts that a template or system prompt makes of one prompt count as
            different prompts.
    """
    names = ["task", "prompt_id"]
    if as_sent:
        names += ["template", "system", "prompt"]
    elif not any(name in frame for name in ("template", "system", "variant")):
        names.append("prompt")
    return [key_of(row) for row in frame[[one for one in names if one in frame]].to_dict("records")]


def key_of(value: Any) -> str:
    """A text that is equal for equal values, for grouping by values that are not hashable."""
    return json.dumps(plain(value), default=str)

"""What a table of results must have, and which of its rows belong to one prompt."""

from __future__ import annotations

import json
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError, did_you_mean
from slmlab.run.record import Generation

if TYPE_CHECKING:
    import pandas as pd

# The columns of every comparison.
COMPARED = {one.name for one in fields(Generation)} | {
    *("repeat", "prompt_id", "tokens_per_s", "prompt_tokens_per_s", "cut", "flags"),
}


def need(frame: object, *columns: str) -> None:
    """Nothing, where ``frame`` is a table with these columns.

    Raises:
        SlmlabError: it is no table, or lacks one of them; the message says where that comes from.
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
    """For each row, what tells its prompt from others.

    ``prompt_id`` counts within one comparison, so in a table that joins several, two prompts may
    share a number: their texts tell them apart. A template or system prompt makes several texts of
    one prompt.

    Args:
        frame: what ``slmlab.compare`` returned, or several of these in one.
        as_sent: tell these texts apart too; otherwise, where the table has templates or system
            prompts, the numbers have to do.
    """
    names = ["task", "prompt_id"]
    if as_sent:
        names += ["template", "system", "prompt"]
    elif not any(name in frame for name in ("template", "system")):
        names.append("prompt")
    return [key_of(row) for row in frame[[one for one in names if one in frame]].to_dict("records")]


def key_of(value: Any) -> str:
    """A text that is the same for equal values, and can be grouped by where they cannot."""
    if isinstance(value, dict):
        value = {name: known(one) for name, one in value.items()}
    return json.dumps(known(value), default=str)


def known(value: Any) -> Any:
    """A table's cell as a plain value; None where it is empty."""
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    return None if value is None or value != value else value

"""The answers of a widget as a table, to look at and to work with in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.run import results
from slmlab.run.options import Prompt
from slmlab.run.streaming import Answer
from slmlab.widgets import markup

if TYPE_CHECKING:
    import pandas as pd


def to_frame(answers: Iterable[Answer]) -> pd.DataFrame:
    """Answers as a table like that of ``slmlab.compare``: to score, test, plot and report.

    Prompts are numbered in the order in which they were first sent (``prompt_id``), and so are a
    model's answers to each prompt (``repeat``). Prompts that were never sent are left out.

    Raises:
        SlmlabError: there is no answer yet.
    """
    records = [answer.record for answer in answers if answer.record]
    if not records:
        raise SlmlabError("There is no answer yet: press Run first.")
    prompts: list[Prompt] = []
    count: dict[tuple[int, str], int] = {}
    columns = []
    for record in records:
        if record.prompt not in prompts:
            prompts.append(record.prompt)
        case = (prompts.index(record.prompt), record.model)
        columns.append({"prompt_id": case[0], "repeat": count.get(case, 0)})
        count[case] = count.get(case, 0) + 1
    return results.to_frame(records, columns)


def frame_html(frame: pd.DataFrame) -> Markup:
    """The most important columns, as HTML."""
    short = results.table(frame).astype(object).where(lambda cells: cells.notna(), None)
    return markup.table_html(
        short.values.tolist(), list(short.columns), f"All {len(frame)} answers"
    )

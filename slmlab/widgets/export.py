"""The answers of a widget as a table: to look at, and to go on with in a notebook."""

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
    """Answers as ``slmlab.compare`` gives them: to score, test, plot and report.

    The prompts are numbered in the order in which they were first sent (``prompt_id``), and so are
    a model's answers to each (``repeat``). What was never sent is left out.

    Raises:
        SlmlabError: nothing was answered yet.
    """
    records = [answer.record for answer in answers if answer.record]
    if not records:
        raise SlmlabError("Nothing was answered yet: press Run first.")
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
    """The columns that people read."""
    short = results.table(frame).astype(object).where(lambda cells: cells.notna(), None)
    return markup.table_html(
        short.values.tolist(), list(short.columns), f"All {len(frame)} answers"
    )

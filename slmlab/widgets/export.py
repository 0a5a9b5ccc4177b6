"""The answers of a widget as a table, to look at and to work with in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from slmlab.errors import SlmlabError
from slmlab.run import results
from slmlab.run.options import Prompt
from slmlab.run.store import write
from slmlab.run.streaming import Answer
from slmlab.widgets import controls, markup
from slmlab.widgets.conversation import Turn, to_rows, variant, varied_settings

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


def turns_to_frame(turns: Sequence[Turn]) -> pd.DataFrame:
    """The answers of conversations as a table like that of ``slmlab.compare``.

    Turns with the same texts, and the same ones before them, share a ``prompt_id``. Where columns
    differ in more than their models, or histories differ, ``variant`` names a column by its model
    and what differs; ``template`` and ``system`` are there if they vary.

    Raises:
        SlmlabError: there is no answer yet.
    """
    rows = [
        (turn, answer.record, setup)
        for turn in turns
        for answer, setup in zip(turn.answers, turn.setups, strict=True)
        if answer.record
    ]
    if not rows:
        raise SlmlabError("There is no answer yet: press Run first.")
    varied = dict.fromkeys(name for turn in turns for name in varied_settings(turn.setups))
    over_time = varied_settings(setup for _, _, setup in rows)
    named = [name for name in ("template", "system") if name in over_time]
    to_name = bool(varied) or any(record.turn > 1 for _, record, _ in rows)
    paths = [*dict.fromkeys(turn.path for turn, _, _ in rows)]
    count: dict[tuple[Any, ...], int] = {}
    columns = []
    for turn, record, setup in rows:
        options = {name: value for name, value in record.options.items() if name != "seed"}
        case = (turn.path, record.model, setup.template, setup.system, record.think, str(options))
        more: dict[str, Any] = {"prompt_id": paths.index(turn.path), "repeat": count.get(case, 0)}
        more |= {name: getattr(setup, name) or None for name in named}
        more |= {"variant": variant(record.model, setup, varied)} if to_name else {}
        columns.append(more)
        count[case] = count.get(case, 0) + 1
    return results.to_frame([record for _, record, _ in rows], columns)


def save_frame(frame: pd.DataFrame) -> str:
    """Write a table to a CSV file in the current folder; returns a message that says so.

    Raises:
        ResultsError: the file cannot be written.
    """
    path = controls.new_file("side-by-side", "csv")
    results.to_csv(frame, path)
    return (
        f"Written to {path.resolve()}\nAs a DataFrame: lab = slmlab.side_by_side() in a "
        "cell, and lab.frame in another."
    )


def conversations(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """A conversation's messages, a row for each column, as ``slmlab.compare`` takes them.

    Raises:
        SlmlabError: there is no answer yet.
    """
    if not turns:
        raise SlmlabError("There is no answer yet: press Run first.")
    return to_rows(turns)


def save_conversations(turns: Sequence[Turn]) -> str:
    """Write a conversation to a JSON file in the current folder; returns a message that says so.

    Raises:
        SlmlabError: there is no answer yet, or the file cannot be written.
    """
    path = controls.new_file("conversation", "json")
    write(path, json.dumps(conversations(turns), indent=2, ensure_ascii=False))
    return (
        f"Written to {path.resolve()}\nTo put its last question to other models: "
        f"slmlab.compare(models, {str(path)!r})"
    )


def frame_html(frame: pd.DataFrame) -> Markup:
    """The most important columns, as HTML."""
    short = results.table(frame)
    if "variant" in frame:
        short["model"] = frame["variant"]
    if "turn" in frame and (frame["turn"] > 1).any():
        short.insert(0, "turn", frame["turn"])
    short = short.astype(object).where(lambda cells: cells.notna(), None)
    return markup.table_html(
        short.values.tolist(), list(short.columns), f"All {len(frame)} answers"
    )

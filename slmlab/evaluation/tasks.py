"""Small sets of tasks with known answers, written for slmlab, that a class can run in minutes.

Each has 20 to 24 items: enough to see large differences, too few for small ones (see
``slmlab.statistics``). They are not a benchmark, so results cannot be compared with those published
elsewhere. They are in English (``translation`` from it). The clinical notes are invented.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from slmlab import hardware
from slmlab.errors import TaskError, did_you_mean
from slmlab.evaluation import benchmarks, harness
from slmlab.run.files import ENDINGS, ending
from slmlab.run.tables import frame_of, read_table, records

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)
# The sets for models that can call tools.
WITH_TOOLS = ("calls",)
FOLDER = Path(__file__).parent.parent / "data" / "tasks"


def names() -> list[str]:
    """The names of the task sets that come with slmlab, and that any model can answer.

    One more, ``calls``, is for models that can call tools (see ``slmlab.models.capabilities``).

    Examples:
        >>> "sentiment" in slmlab.tasks.names()
        True
    """
    return sorted({file.stem for file in FOLDER.glob("*.jsonl")} - {*WITH_TOOLS})


def load(
    name: str | Path | Iterable[str | Path],
    items: int | None = None,
    *,
    seed: int | None = None,
    split: str = "test",
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A task set as a table that ``slmlab.compare`` takes as its prompts.

    In a JSON or Parquet file every value has its own type. In CSV, TSV and Excel every cell is a
    text, except lists, objects and numbers in columns where the row's ``scorer`` takes them:
    ``labels``, ``schema``, ``max_words``, ``tolerance``, and ``expected`` for ``contains``,
    ``facts``, ``json_fields`` and ``number``; and except ``num_predict``. A conversation is a JSON
    list of messages.

    Args:
        name: a set's name (see ``names``), the path of your own file with a column ``prompt``
            (``.csv``, ``.tsv``, ``.json``, ``.jsonl``, each also with ``.gz``; ``.parquet``;
            ``.xlsx``), ``hf:owner/name`` for a dataset on the Hugging Face hub (by the package
            ``datasets``), a task of lm-evaluation-harness (``.yaml``; a line on stderr says what of
            it is not read), or several of these. Files and datasets in the columns of GSM8K, ARC,
            MMLU and IFEval need no columns of ours.
        items: how many items of each set to take, from the first on or by ``seed``. The environment
            variable ``SLMLAB_ITEMS`` caps it, for runs that only have to show that everything
            works; a line on stderr says so.
        seed: draw the items at random; a line on stderr says what so many are worth.
        split: which split of a dataset on the hub.
        columns: under the names that slmlab reads, those that the file has:
            ``{"prompt": "question", "expected": "answer"}``.

    Returns:
        One row for each item: ``id``, ``prompt``, ``scorer`` (see ``slmlab.scorers``), ``expected``
        and other columns for the scorer, ``num_predict`` (how many tokens ``slmlab.compare`` lets
        the answer have: what such an answer takes) and ``task`` (the set's name, if the file has no
        such column).

    Raises:
        TaskError: there is no such set, or a file has no column ``prompt``.
        FileError: a task in YAML cannot be read; the message names the line.
        PromptError: a file cannot be read.

    Examples:
        >>> slmlab.tasks.load(["sentiment", "arithmetic"], items=2)["task"].tolist()
        ['sentiment', 'sentiment', 'arithmetic', 'arithmetic']
    """
    if items is not None and (isinstance(items, bool) or not isinstance(items, int) or items < 1):
        raise TaskError(f"items is a positive whole number; got {items!r}.")
    if (most := hardware.env_number("SLMLAB_ITEMS")) and (items is None or items > most):
        items = most
        _tell(f"SLMLAB_ITEMS={most}: only the first {most} items of each task set.")
    if isinstance(name, (str, Path, Mapping)) or not isinstance(name, Iterable):
        name = [cast(str, name)]
    given = [*name]
    if not given:
        raise TaskError("Name at least one task set.")
    rows: list[dict[str, Any]] = []
    for one in given:
        table, task, note = _table(one, split)
        _tell(note)
        if columns:
            table = benchmarks.renamed(table, columns, task)
        if benchmarks.INSTRUCTIONS in table:
            table, note = benchmarks.with_rules(table, task, str(one))
            _tell(note)
        if "prompt" not in table:
            if hint := did_you_mean("prompt", map(str, table.columns)):
                has = ", ".join(map(str, table.columns))
                raise TaskError(f"{one} has no column `prompt`; it has {has}.{hint}")
            table = benchmarks.as_tasks(table, task, str(one))
        if seed is not None and items is not None:
            table, note = benchmarks.drawn(table, items, seed, task)
            _tell(note)
        for row in records(table.head(items or len(table))):
            rows.append({**row, "task": row.get("task") or task})
    return frame_of(rows)


def _tell(note: str) -> None:
    if note:
        log.info(note)
        print(note, file=sys.stderr)


def _table(name: Any, split: str) -> tuple[pd.DataFrame, str, str]:
    """A set's table and name, and a sentence on what was not read."""
    if isinstance(name, str) and name.startswith(benchmarks.HUB):
        return benchmarks.from_hub(name, split), name, ""
    if isinstance(name, (str, os.PathLike)) and str(name).endswith((".yaml", ".yml")):
        return harness.load(Path(name).expanduser())
    path = _path(name)
    return read_table(path), path.name[: -len(ending(path))], ""


def _path(name: Any) -> Path:
    """The file of a set."""
    if isinstance(name, (str, os.PathLike)) and ending(name):
        return Path(name).expanduser()
    sets = [*names(), *WITH_TOOLS]
    if name not in sets:
        raise TaskError(
            f"There is no task set {str(name)!r}.{did_you_mean(str(name), sets)} "
            f"Sets: {', '.join(sets)}; or give the path of a file that ends in "
            f"{', '.join(ENDINGS)}."
        )
    return FOLDER / f"{name}.jsonl"

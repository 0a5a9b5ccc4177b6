"""Small sets of tasks with known answers, written for this suite, so that a class can run them.

Each has 20 to 24 items: enough to see large differences, too few for small ones (see
``slmlab.statistics``). They are no benchmark that results elsewhere could be compared with, and
they are in English (``translation`` from it). The clinical notes are invented.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import hardware
from slmlab.errors import TaskError, did_you_mean
from slmlab.run.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent.parent / "data" / "tasks"


def names() -> list[str]:
    """The names of the task sets that come with slmlab.

    Examples:
        >>> "sentiment" in slmlab.tasks.names()
        True
    """
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def load(name: str | Path | Iterable[str | Path], items: int | None = None) -> pd.DataFrame:
    """A task set as a table that ``slmlab.compare`` takes as its prompts.

    Args:
        name: a set's name (see ``names``), the path of your own ``.csv`` or ``.jsonl`` file with a
            column ``prompt``, or several of these.
        items: only the first so many of each set. The environment's ``SLMLAB_ITEMS`` caps it, for
            runs that only have to show that everything works; a line on stderr says so.

    Returns:
        One row for each item: ``task`` (the set's name), ``id``, ``prompt``, ``scorer`` (see
        ``slmlab.scorers``), ``expected`` and what else the scorer needs.

    Raises:
        TaskError: there is no such set, or a file has no column ``prompt``.
        PromptError: a file cannot be read.

    Examples:
        >>> slmlab.tasks.load(["sentiment", "arithmetic"], items=2)["task"].tolist()
        ['sentiment', 'sentiment', 'arithmetic', 'arithmetic']
    """
    import pandas as pd

    if (most := hardware.env_number("SLMLAB_ITEMS")) and (items is None or items > most):
        items = most
        note = f"SLMLAB_ITEMS={most}: only the first {most} items of each task set."
        log.info(note)
        print(note, file=sys.stderr)
    tables = []
    for one in [name] if isinstance(name, (str, Path)) else name:
        path = Path(one)
        if path.suffix not in (".csv", ".jsonl"):
            if one not in names():
                raise TaskError(
                    f"There is no task set {one!r}.{did_you_mean(str(one), names())} "
                    f"Sets: {', '.join(names())}; or give the path of a .csv or .jsonl file."
                )
            path = FOLDER / f"{one}.jsonl"
        table = read_table(path)
        if "prompt" not in table:
            raise TaskError(
                f"{path.name} has no column `prompt`; it has {', '.join(map(str, table.columns))}."
            )
        tables.append(table.head(items or len(table)).assign(task=path.stem))
    if not tables:
        raise TaskError("Name at least one task set.")
    return pd.concat(tables, ignore_index=True)

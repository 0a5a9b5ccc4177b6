"""Small sets of tasks with known answers, written for this suite, so that a class can run them.

Each has 20 to 24 items: enough to see large differences, too few for small ones (see
``slmlab.statistics``). They are no benchmark that results elsewhere could be compared with, and
they are in English (``translation`` from it). The clinical notes are invented.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import hardware
from slmlab.errors import PromptError, did_you_mean
from slmlab.run.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


FOLDER = Path(__file__).parent.parent / "data" / "tasks"


def names() -> list[str]:
    """The names of the task sets that come with slmlab."""
    return sorted(file.stem for file in FOLDER.glob("*.jsonl"))


def load(name: str | Path | Iterable[str | Path], items: int | None = None) -> pd.DataFrame:
    """A task set as a table that ``slmlab.compare`` takes as its prompts.

    Args:
        name: a set's name (see ``names``), the path of your own ``.csv`` or ``.jsonl`` file with a
            column ``prompt``, or several of these.
        items: only the first so many of each set. The environment's ``SLMLAB_ITEMS`` caps it, for
            runs that only have to show that everything works.

    Returns:
        One row for each item: ``task`` (the set's name), ``id``, ``prompt``, ``scorer`` (see
        ``slmlab.scorers``), ``expected`` and what else the scorer needs.

    Raises:
        PromptError: there is no such set or file, or it has no column ``prompt``.
    """
    import pandas as pd

    if most := hardware.env_number("SLMLAB_ITEMS"):
        items = min(items or most, most)
    tables = []
    for one in [name] if isinstance(name, (str, Path)) else name:
        path = Path(one)
        if path.suffix not in (".csv", ".jsonl"):
            if one not in names():
                raise PromptError(
                    f"There is no task set {one!r}.{did_you_mean(str(one), names())} "
                    f"Sets: {', '.join(names())}; or give the path of a .csv or .jsonl file."
                )
            path = FOLDER / f"{one}.jsonl"
        table = read_table(path)
        if "prompt" not in table:
            raise PromptError(
                f"{path.name} has no column `prompt`; it has {', '.join(map(str, table.columns))}."
            )
        tables.append(table.head(items or len(table)).assign(task=path.stem))
    if not tables:
        raise PromptError("Name at least one task set.")
    return pd.concat(tables, ignore_index=True)

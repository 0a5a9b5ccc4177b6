"""Read what people give as prompts: texts, conversations, tables, files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError
from slmlab.run.options import Prompt

if TYPE_CHECKING:
    import pandas as pd


def rows(prompts: Any) -> list[Prompt | dict[str, Any]]:
    """What the user gave as a list: texts, conversations, or rows of a table."""
    if isinstance(prompts, (str, Path)) and str(prompts).endswith((".csv", ".jsonl")):
        prompts = read_table(Path(prompts))
    if isinstance(prompts, str):
        return [prompts]
    if hasattr(prompts, "to_pandas"):  # datasets.Dataset, polars.DataFrame
        prompts = prompts.to_pandas()
    if hasattr(prompts, "to_dict"):
        prompts = prompts.to_dict("records")
    if not isinstance(prompts, Iterable):
        raise PromptError(
            f"Prompts are a text, a list of texts or conversations, or a table; got {prompts!r}."
        )
    rows = list(prompts)
    if rows and all(isinstance(row, Mapping) and "role" in row for row in rows):
        return [rows]
    return rows


def read_table(path: Path) -> pd.DataFrame:
    """A table of prompts or tasks from a CSV or JSON-lines file, one row for each.

    Raises:
        PromptError: there is no such file, or it is no such table.
    """
    import pandas as pd

    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path)
        else:
            lines = path.read_text(encoding="utf-8").split("\n")
            table = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
    except OSError as error:
        raise PromptError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # what pandas and json raise for bad text
        raise PromptError(f"{path} is no table that can be read: {error}.") from error
    if table.empty:
        raise PromptError(f"{path} has no rows.")
    return table

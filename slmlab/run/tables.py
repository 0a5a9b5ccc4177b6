"""Everything that is accepted as prompts: texts, conversations, tables of many kinds, files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import PromptError
from slmlab.run import cells, files

if TYPE_CHECKING:
    import pandas as pd

KINDS = "Prompts are a text, a list of texts or conversations, a table, or a table's file"
_FILES = f"table files end in {', '.join(files.ENDINGS)}"


def rows(prompts: Any) -> list[Any]:
    """The given prompts as a list of texts, conversations, or table rows as dicts.

    Raises:
        PromptError: it is none of these, or a file that cannot be read.
    """
    if (path := file_of(prompts)) is not None:
        return read_rows(path)
    if isinstance(prompts, str):
        return [prompts]
    if prompts is None or isinstance(prompts, (bytes, set, frozenset)):
        raise PromptError(f"{KINDS}; got {repr(prompts)[:200]}.")
    if isinstance(prompts, Mapping):
        return _of_mapping(prompts)
    if hasattr(prompts, "columns") and hasattr(prompts, "iloc"):
        return records(prompts)
    if "prompt" in list(getattr(getattr(prompts, "index", None), "values", ())):
        return [cells.plain(prompts.to_dict())]  # one row of a pandas table
    to_list = next((one for one in ("to_pylist", "to_dicts") if hasattr(prompts, one)), None)
    given = getattr(prompts, to_list)() if to_list else prompts
    if not isinstance(given, Iterable):
        raise PromptError(f"{KINDS}; got {prompts!r}.")
    found = list(given)
    if found and all(isinstance(row, Mapping) and {"role", "content"} <= {*row} for row in found):
        return [found] if not any("prompt" in row for row in found) else found
    for number, row in enumerate(found, 1):
        if isinstance(row, os.PathLike) or (isinstance(row, str) and files.is_file(row)):
            raise PromptError(
                f"Item {number} of the list of prompts, {str(row)!r}, is a file. Give a file "
                "alone, or several as slmlab.tasks.load([…])."
            )
    found = [cells.plain(row) for row in found]
    # In datasets, pyarrow and polars all objects of a column have the same fields, so that fields
    # that were missing are present and empty.
    columnar = to_list or hasattr(prompts, "column_names")
    return [cells.without_empty_fields(row) for row in found] if columnar else found


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts of plain values: None where a cell is empty.

    Whole numbers that became floats (4.0), because another cell of their column is empty, become
    whole numbers again.

    Raises:
        PromptError: two columns have one name.
    """
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PromptError(f"The table has the column {twice[0]!r} twice; rename one of them.")
    columns = []
    for position in range(len(names)):
        values = [cells.plain(value) for value in frame.iloc[:, position].tolist()]
        numbers = [value for value in values if value is not None]
        floats = bool(numbers) and all(isinstance(value, float) for value in numbers)
        if floats and len(numbers) < len(values) and all(value.is_integer() for value in numbers):
            values = [None if value is None else int(value) for value in values]
        columns.append(values)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def frame_of(rows: Iterable[Mapping[str, Any]], floats: Collection[str] = ()) -> pd.DataFrame:
    """A table of rows in which whole numbers stay whole numbers, even beside empty cells.

    ``floats`` are columns of measurements, for which that does not matter.
    """
    import pandas as pd

    rows = list(rows)
    try:
        frame = pd.DataFrame(rows)
    except UnicodeEncodeError:  # a lone surrogate in a text
        frame = pd.DataFrame(rows, dtype=object)
    for name in [one for one in frame if frame[one].dtype.kind == "f" and one not in floats]:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, int) for value in values):
            frame[name] = pd.Series(values, dtype=object)
    return frame


def file_of(prompts: Any) -> Path | None:
    """The path of a table file, if that is what was given; else None.

    A text counts as a path if it has the extension of a table file, and the file exists or the text
    has no spaces.

    Raises:
        PromptError: it is a file, but not a table file.
    """
    if isinstance(prompts, os.PathLike):
        path = Path(prompts)
        if not files.ending(path):
            raise PromptError(f"{path} is not a table file; {_FILES}.")
        return path.expanduser()
    if not isinstance(prompts, str) or "\n" in prompts:
        return None
    if files.ending(prompts):
        with contextlib.suppress(RuntimeError):  # no such user
            prompts = str(Path(prompts).expanduser())
        folder = Path(prompts).parent
        there = files.is_file(prompts) or (str(folder) != "." and files.holds(folder.is_dir))
        return Path(prompts) if there or len(prompts.split()) == 1 else None
    if files.is_file(prompts):
        raise PromptError(
            f"{prompts!r} is a file, but not a table; {_FILES}. To send its text, give "
            f"Path({prompts!r}).read_text()."
        )
    return None


def _of_mapping(prompts: Mapping[Any, Any]) -> list[Any]:
    """Prompts from a dict: a message, a row, or columns by name; several tables are refused."""
    names = [str(name) for name in prompts]
    if {"role", "content"} <= set(names):
        return [[dict(prompts)]]
    values = list(prompts.values())
    if any(hasattr(value, "columns") or hasattr(value, "column_names") for value in values):
        raise PromptError(
            f"These are several tables: {', '.join(names)}. Give one of them, such as "
            f"data[{names[0]!r}]."
        )
    values = [_column(value) for value in values]
    several = [value for value in values if isinstance(value, list)]
    of_row = cells.is_conversation(cells.plain(prompts.get("prompt")))
    if of_row or not several or isinstance(prompts.get("prompt"), str):
        return [cells.plain(prompts)]
    lengths = [len(one) if isinstance(one, list) else "no list" for one in values]
    if len(set(lengths)) > 1:
        found = ", ".join(f"{name}: {one}" for name, one in zip(names, lengths, strict=True))
        raise PromptError(
            f"A dict of columns needs lists of the same length; got {found}. For one prompt, "
            'give a list: [{"prompt": …}].'
        )
    return [cells.plain(dict(zip(names, row, strict=True))) for row in zip(*several, strict=True)]


def _column(value: Any) -> Any:
    """A column as a list, even from a dict by row number, as pandas' ``to_dict`` makes it."""
    if isinstance(value, Mapping):
        return list(value.values()) if all(str(one).isdecimal() for one in value) else value
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return list(value)
    return value


def read_rows(path: Path) -> list[Any]:
    """The prompts in a file (see ``files.ENDINGS``): rows of a table, texts or conversations.

    Raises:
        PromptError: there is no such file, or it is not a table; the message names the line.
    """
    content = files.content(path)
    try:
        found = rows(content)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error
    if not found:
        raise PromptError(f"{path} has no rows.")
    return found


def read_table(path: Path) -> pd.DataFrame:
    """A table of prompts or tasks from a file, one row for each.

    Raises:
        PromptError: there is no such file, or it is not such a table.
    """
    return frame_of(one if isinstance(one, dict) else {"prompt": one} for one in read_rows(path))

"""Read files of prompts and tasks: CSV, TSV, JSON, JSON lines, Parquet and Excel.

A file that cannot be read raises an error that names the line.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from slmlab.errors import PromptError
from slmlab.run import cells

PLAIN_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
ENDINGS = (*PLAIN_ENDINGS, *(f"{one}.gz" for one in PLAIN_ENDINGS), ".parquet", ".xlsx")


def ending(path: str | os.PathLike[str]) -> str:
    """Which of ``ENDINGS`` a file's name has; empty for any other."""
    name = os.fspath(path).lower()
    return max((one for one in ENDINGS if name.endswith(one)), key=len, default="")


def is_file(text: str) -> bool:
    """Whether a text is the path of a file; a word without an extension never is."""
    return len(text) < 1000 and "." in text.strip(".") and holds(Path(text).is_file)


def holds(check: Callable[[], bool]) -> bool:
    """The result of a check on a path; False if the text cannot be a path."""
    with contextlib.suppress(OSError, ValueError):  # too long, or a NUL in it
        return check()
    return False


def content(path: Path) -> Any:
    """The content of a file (see ``ENDINGS``): rows of a table as dicts, or a JSON value.

    Raises:
        PromptError: there is no such file, or it is not a table; the message names the line.
    """
    kind = ending(path).removesuffix(".gz")
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):  # whatever its name says: browsers unpack and keep it
            data = gzip.decompress(data)
    except OSError as error:
        why = error.strerror or str(error)
        raise PromptError(f"{path} cannot be read: {why}.") from error
    except (EOFError, zlib.error) as error:
        raise PromptError(f"{path} cannot be read: it is incomplete ({error}).") from error
    if kind == ".parquet":
        return _parquet(data, path)
    if kind == ".xlsx":
        return _from_cells(_sheet(data, path), path, "row")
    if kind in (".csv", ".tsv"):
        return _from_cells(_separated(text_of(data, path), path, kind), path, "line")
    if kind in (".jsonl", ".ndjson"):
        return _from_lines(text_of(data, path), path)
    return _from_json(text_of(data, path), path)


def text_of(data: bytes, path: Path) -> str:
    """A file's text, without a byte-order mark.

    Raises:
        PromptError: it is not in UTF-8 (nor marked as UTF-16).
    """
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
        if "\0" in text:  # UTF-16 without its mark, UTF-32
            raise UnicodeDecodeError("utf-8", data, data.find(b"\0"), len(data), "NUL")
        return text
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptError(
            f"{path}, line {line}, cannot be read as a table: it is not in UTF-8. If Excel "
            'wrote it, save it there as "CSV UTF-8"; if you know its encoding, read it with '
            f'pandas.read_csv({path.name!r}, encoding="cp1252", dtype=str) and give the table.'
        ) from error


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """The line numbers and values of JSON lines; a ValueError as value where a line is not JSON."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.strip():
            try:
                yield number, _loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(str(error))


def _loads(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"an object has the field {twice!r} twice")
        return found

    return json.loads(text, object_pairs_hook=once)


def _from_lines(text: str, path: Path) -> Any:
    if text.lstrip().startswith("["):  # a list, whatever the file's name says
        return _from_json(text, path)
    rows = []
    for number, value in json_lines(text):
        place = f"{path}, line {number}, cannot be read as a table"
        if isinstance(value, ValueError):
            raise PromptError(f"{place}: it is not JSON ({value}).") from value
        if not isinstance(value, dict):
            raise PromptError(f'{place}: it is not a JSON object, such as {{"prompt": "…"}}.')
        rows.append(value)
    return rows


def _from_json(text: str, path: Path) -> Any:
    try:
        value = _loads(text)
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):
            return _from_lines(text, path)
        raise PromptError(f"{path} cannot be read as a table: {error}.") from error
    if not isinstance(value, (list, dict)):
        raise PromptError(f"{path} cannot be read as a table: it is not a list of rows.")
    return value


def _parquet(data: bytes, path: Path) -> list[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PromptError(f"To read {path}, install pyarrow: pip install pyarrow.") from error
    try:
        table = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PromptError(f"{path} cannot be read as a table: {error}.") from error
    index = "__index_level_"
    kept = [{n: v for n, v in row.items() if not n.startswith(index)} for row in table]
    return [cells.without_empty_fields(cells.plain(row)) for row in kept]


def _sheet(data: bytes, path: Path) -> list[tuple[int, list[str]]]:
    """The numbered rows of a workbook's only sheet, with cells as texts."""
    import pandas as pd

    try:
        sheets = pd.read_excel(
            io.BytesIO(data), sheet_name=None, header=None, dtype=str, na_filter=False
        )
    except ImportError as error:
        raise PromptError(f"To read {path}, install openpyxl: pip install openpyxl.") from error
    except Exception as error:  # openpyxl raises many kinds for what is not a workbook
        raise PromptError(f"{path} cannot be read as a table: {error}.") from error
    filled = {name: sheet for name, sheet in sheets.items() if len(sheet)}
    if len(filled) > 1:
        names = ", ".join(map(str, filled))
        raise PromptError(
            f"{path} has several sheets: {names}. Read one, with pandas.read_excel({path.name!r}, "
            f"sheet_name={next(iter(filled))!r}, dtype=str), and give that table."
        )
    table = next(iter(filled.values())).to_numpy().tolist() if filled else []
    texts = [["" if one is None else str(one) for one in row] for row in table]
    return list(enumerate(texts, 1))


def _separated(text: str, path: Path, kind: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV or TSV file, each with the number of the line where it begins."""
    first, _, rest = text.partition("\n")
    mark, skipped = "", 0
    if re.fullmatch("sep=.", first.strip(), re.IGNORECASE):  # a line that Excel writes for itself
        mark, text, skipped = first.strip()[-1], rest, 1
    header = re.sub('"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    mark = mark or ("\t" if kind == ".tsv" and "\t" in header else max(",;\t|", key=header.count))
    rows = []
    limit = csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=mark,
        strict=True,
        skipinitialspace=f"{mark} " in header,
    )
    begin = 1
    try:
        for row in reader:
            rows.append((begin + skipped, row))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise PromptError(
            f"{path}, line {begin + skipped}, cannot be read as a table: {error}. A text that "
            'contains quotes is written in quotes, with its own doubled: "She said ""yes""."'
        ) from error
    finally:
        csv.field_size_limit(limit)
    return rows


def _from_cells(
    numbered: Sequence[tuple[int, list[str]]], path: Path, unit: str
) -> list[dict[str, Any]]:
    """The rows of a table of texts whose first row has the column names."""
    lines = [(number, row) for number, row in numbered if any(cell.strip() for cell in row)]
    if not lines:
        return []
    names = [cells.unguarded(name.strip()) for name in lines[0][1]]
    body = [(number, [*map(cells.unguarded, row)]) for number, row in lines[1:]]
    kept = list(range(len(names)))
    if names[0] == "" and all(row[0].isdecimal() for _, row in body):
        kept.remove(0)  # the numbers that pandas puts before the rows
    while kept and names[kept[-1]] == "" and not any(_cell(row, kept[-1]) for _, row in body):
        kept.pop()  # a comma at the end of each line
    for position in kept:
        if names[position] == "":
            raise PromptError(f"{path}: column {position + 1} has values but no name.")
        if names.count(names[position]) > 1:
            raise PromptError(f"{path} has the column {names[position]!r} twice; rename one.")
    rows = []
    for number, row in body:
        spare = row[len(names) :]
        if len(row) < kept[-1] + 1 or any(cell.strip() for cell in spare):
            raise PromptError(
                f"{path}, {unit} {number}, cannot be read as a table: it has {len(row)} cells, "
                f"and the header has {len(names)}. A text with the separator in it is written in "
                'quotes: "Yes, please."'
            )
        converted = cells.from_text({names[position]: row[position] for position in kept})
        if wrong := cells.complaint(converted):
            raise PromptError(f"{path}, {unit} {number}: {wrong}")
        rows.append(converted)
    return rows


def _cell(row: list[str], position: int) -> str:
    return row[position].strip() if position < len(row) else ""

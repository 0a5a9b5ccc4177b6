"""Files of tables, each with its expected rows, or with the expected error."""

from __future__ import annotations

import gzip
import json

import pytest

from slmlab.errors import PromptError
from slmlab.run import files, tables
from tests.support.paths import ROOT

CORPUS = (ROOT / "tests/corpus/tables.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in CORPUS]


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_a_file_is_read_as_it_was_meant_or_refused(case, tmp_path):
    data = case["text"].encode(case.get("encoding", "utf-8"))
    path = tmp_path / case["file"]
    path.write_bytes(gzip.compress(data) if case.get("gz") else data)
    if "rows" in case:
        found = tables.rows(path)
        # As JSON, since 4 == 4.0 == True.
        assert json.dumps(found) == json.dumps(case["rows"])
        return
    with pytest.raises(PromptError) as error:
        tables.rows(path)
    for words in case["says"]:
        assert words in str(error.value)


def test_a_long_cell_is_read_whole(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text('prompt\n"' + "long, " * 50_000 + '"\n')
    assert len(tables.rows(path)[0]["prompt"]) == 300_000


def test_parquet_keeps_types_and_drops_what_is_only_padding(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"prompt": "a", "expected": {"age": 4}, "n": 2**60 + 1, "labels": ["x"]},
        {"prompt": "b", "expected": {"name": "Ada"}, "n": None, "labels": []},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    assert tables.rows(tmp_path / "q.parquet") == rows
    assert tables.rows(pyarrow.Table.from_pylist(rows)) == rows


def test_a_workbook(tmp_path):
    pytest.importorskip("openpyxl")
    import pandas as pd

    path = tmp_path / "q.xlsx"
    table = pd.DataFrame({"prompt": ["a, b", "NA"], "expected": [4, None], "id": ["007", "None"]})
    table.to_excel(path, index=False)
    assert tables.rows(path) == [
        {"prompt": "a, b", "expected": "4", "id": "007"},
        {"prompt": "NA", "expected": None, "id": "None"},
    ]
    with pd.ExcelWriter(path) as book:
        table.to_excel(book, sheet_name="one")
        table.to_excel(book, sheet_name="two")
    with pytest.raises(PromptError, match="several sheets: one, two"):
        tables.rows(path)


def test_json_lines_may_begin_with_a_byte_order_mark():
    assert [*files.json_lines("\ufeff[1]\n\n2\n")] == [(1, [1]), (3, 2)]

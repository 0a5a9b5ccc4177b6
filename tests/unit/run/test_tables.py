"""What is taken for prompts, and as what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slmlab.errors import PromptError
from slmlab.run import grid, tables

CHAT = [{"role": "user", "content": "Hi"}]
TWO = [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]


class Columns:
    """What polars and pyarrow have: columns, and a way to rows."""

    def to_dicts(self):
        return [{"prompt": "a", "expected": {"x": 1, "y": None}}]


def splits(**tables_by_name):
    datasets = pytest.importorskip("datasets")
    return datasets.DatasetDict(
        {name: datasets.Dataset.from_list(rows) for name, rows in tables_by_name.items()}
    )


GIVEN = {
    "a text": ("Hi", ["Hi"]),
    "a text that ends like a file": ("Summarize sales.csv", ["Summarize sales.csv"]),
    "a text with a path in it": ("Summarize data/sales.csv", ["Summarize data/sales.csv"]),
    "a text of lines": ("Read\nsales.csv", ["Read\nsales.csv"]),
    "a long text": ("x" * 5000 + ".csv " * 9, ["x" * 5000 + ".csv " * 9]),
    "a NUL": ("a.b\0 c.csv", ["a.b\0 c.csv"]),
    "texts": (("a", "b"), ["a", "b"]),
    "a generator": ((text for text in "ab"), ["a", "b"]),
    "an array": (np.array(["a", "b"]), ["a", "b"]),
    "a column": (pd.Series(["a", "b"], index=["x", "y"]), ["a", "b"]),
    "an index": (pd.Index(["a", "b"]), ["a", "b"]),
    "a row of a table": (pd.DataFrame(TWO).iloc[1], [TWO[1]]),
    "a table": (pd.DataFrame(TWO, index=[7, 7]), TWO),
    "rows": (TWO, TWO),
    "a row": (TWO[0], [TWO[0]]),
    "columns": ({"prompt": ["a", "b"], "n": [1, 2]}, TWO),
    "columns as arrays": ({"prompt": np.array(["a", "b"]), "n": pd.Series([1, 2])}, TWO),
    "columns as pandas has them": (pd.DataFrame(TWO).to_dict(), TWO),
    "a message": (CHAT[0], [CHAT]),
    "a conversation": (CHAT, [CHAT]),
    "conversations": ([CHAT, "b"], [CHAT, "b"]),
    "a row with a conversation": (
        {"prompt": CHAT, "labels": ["x"]},
        [{"prompt": CHAT, "labels": ["x"]}],
    ),
    "roles that are a column": ([{"role": "x", "content": "y", "prompt": "z"}],) * 2,
    "columns of one type each": (Columns(), [{"prompt": "a", "expected": {"x": 1}}]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_people_give(name):
    given, wanted = GIVEN[name]
    found = tables.rows(given)
    assert json.dumps(found) == json.dumps(wanted)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "Prompts are a text, a list"),
        (5, "Prompts are a text, a list"),
        (b"Hi", "Prompts are a text, a list"),
        ({"a", "b"}, "Prompts are a text, a list"),
        ("no_such.csv", "no_such.csv cannot be read: No such file"),
        (Path("x.txt"), "x.txt is not a table file; table files end in .csv, .tsv"),
        ({"train": pd.DataFrame(TWO), "test": pd.DataFrame(TWO)}, r"train, test.*data\['train'\]"),
        ({"prompt": ["a", "b"], "n": [1]}, "prompt: 2, n: 1"),
        ({"prompt": ["a", "b"], "scorer": "exact"}, "prompt: 2, scorer: no list"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "column 'prompt' twice"),
    ],
)
def test_what_is_no_prompt_is_refused(given, words):
    with pytest.raises(PromptError, match=words):
        tables.rows(given)


def test_splits_are_named():
    with pytest.raises(PromptError, match=r"several tables: train, test.*data\['train'\]"):
        tables.rows(splits(train=TWO, test=TWO))
    assert tables.rows(splits(train=TWO)["train"]) == TWO


def test_files_that_are_no_tables_are_not_sent_as_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("q.txt", "q 1.md", "q.csv", "two words.csv", "README"):
        Path(name).write_text("prompt\nx\n")
    for text in ("q.txt", "q 1.md", str(tmp_path / "q.txt")):
        with pytest.raises(PromptError, match=r"is a file.*read_text"):
            tables.rows(text)
    for text in ("q.csv", "two words.csv", Path("q.csv"), "./q.csv"):
        assert tables.rows(text) == [{"prompt": "x"}]
    for item in ("q.csv", Path("q.csv"), "q.txt"):
        with pytest.raises(PromptError, match=r"Item 2 .* is a file\. Give a file alone"):
            tables.rows(["a", item])
    assert tables.rows("README") == ["README"], "a word is a word"
    with pytest.raises(PromptError, match="cannot be read"):
        tables.rows(str(tmp_path / "no such.csv"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tables.rows("~/q.csv") == [{"prompt": "x"}]


def test_values_are_what_they_were():
    """Whole numbers beside a gap, and types of numpy and pandas."""
    table = pd.DataFrame(
        {
            "prompt": ["a", "b", "c"],
            "gap": [4, None, 7],
            "float": [4.0, 5.0, 7.0],
            "half": [4.5, None, 7.0],
            "known": pd.array([2**60 + 1, None, 3], dtype="Int64"),
            "yes": [True, None, False],
            "array": [np.array(["x", "y"]), (1, 2), [np.float64("nan")]],
            "dict": [{"a": np.int64(4)}, None, {}],
            "time": [pd.NaT] * 3,
            "kind": pd.Categorical(["x", None, "y"]),
        }
    )
    assert json.dumps(tables.records(table)) == json.dumps(
        [
            {
                "prompt": "a",
                "gap": 4,
                "float": 4.0,
                "half": 4.5,
                "known": 2**60 + 1,
                "yes": True,
                "array": ["x", "y"],
                "dict": {"a": 4},
                "time": None,
                "kind": "x",
            },
            {
                "prompt": "b",
                "gap": None,
                "float": 5.0,
                "half": None,
                "known": None,
                "yes": None,
                "array": [1, 2],
                "dict": None,
                "time": None,
                "kind": None,
            },
            {
                "prompt": "c",
                "gap": 7,
                "float": 7.0,
                "half": 7.0,
                "known": 3,
                "yes": False,
                "array": [None],
                "dict": {},
                "time": None,
                "kind": "y",
            },
        ]
    )
    rows = [{"n": 4}, {"n": None}, {"n": 7.5}, {}]
    assert tables.frame_of(rows)["n"].tolist()[:3] == [4, None, 7.5]
    assert [type(one) for one in tables.frame_of(rows)["n"][:3]] == [int, type(None), float]


def test_a_gap_in_a_table_fills_nothing_into_a_template():
    table = pd.DataFrame({"question": ["a", "b"], "n": [4, None], "context": ["x", None]})
    cells = grid.plan("m", table, template="{question} {n} ({context})")
    assert [cell.prompt for cell in cells] == ["a 4 (x)", "b  ()"]

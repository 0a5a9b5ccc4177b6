"""Benchmarks in their own columns, and from the hub; all questions were written for these tests."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from slmlab.errors import TaskError
from slmlab.evaluation import scorers, tasks

GSM8K = [
    {"question": "Ada has 3 eggs and buys 4. How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
    {"question": "A car costs 9,500. Two cost?", "answer": "2 × 9,500.\n#### 19,000"},
]
ARC = [
    {
        "id": "arc-1",
        "question": "What melts ice?",
        "choices": {"text": ["heat", "dark", "noise"], "label": ["A", "B", "C"]},
        "answerKey": "A",
    },
    {
        "id": "arc-2",
        "question": "Which is a metal?",
        "choices": {"text": ["wood", "iron"], "label": ["1", "2"]},
        "answerKey": "2",
    },
]
ARC_FILE = [
    {
        "id": "x",
        "question": {
            "stem": "What melts ice?",
            "choices": [{"text": "dark", "label": "A"}, {"text": "heat", "label": "B"}],
        },
        "answerKey": "B",
    }
]
MMLU = [
    {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "sums"},
    {"question": "3 + 3?", "choices": ["3", "4", "5", "6"], "answer": "D", "subject": "sums"},
]


@pytest.fixture
def load(tmp_path):
    def written(rows: list[dict], items: int | None = None, **more) -> pd.DataFrame:
        path = tmp_path / "bench.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tasks.load(path, items, **more)

    return written


def score(row: dict, text: str) -> float:
    return float(scorers.SCORERS[row["scorer"]](text, row))


def test_calculations(load):
    first, second = load(GSM8K).to_dict("records")
    assert (first["expected"], second["expected"]) == ("7", "19000")
    assert score(first, "3 + 4 = 7 eggs, so 7.") == 1
    assert score(second, "That is 19,000.") == 1
    assert score(second, "That is 19.") == 0
    assert (first["task"], first["num_predict"]) == ("bench", 400)


@pytest.mark.parametrize(
    ("rows", "right"), [(ARC, ["A", "B"]), (ARC_FILE, ["B"]), (MMLU, ["B", "D"])]
)
def test_choices(load, rows, right):
    found = load(rows).to_dict("records")
    assert [row["expected"] for row in found] == right
    for row, letter in zip(found, right, strict=True):
        assert score(row, f"{letter}) {row['choices'][ord(letter) - 65]}") == 1
        wrong = next(one for one in row["labels"] if one != letter)
        assert score(row, wrong) == 0
    assert "A) " in found[0]["prompt"]


def test_subjects_are_tasks(load):
    assert set(load(MMLU)["task"]) == {"sums"}


def test_other_columns_are_named(load):
    rows = [{"Q": "Say yes.", "gold": "yes", "prompt": "an older prompt"}]
    found = load(rows, columns={"prompt": "Q", "expected": "gold"})
    assert found[["prompt", "expected"]].values.tolist() == [["Say yes.", "yes"]]
    with pytest.raises(TaskError, match="bench has no column 'nope'; it has Q, gold, prompt"):
        load(rows, columns={"prompt": "nope"})


def test_a_subset_drawn_by_a_seed(load, capsys):
    rows = [{"prompt": f"P{number}"} for number in range(500)]
    first = load(rows, 100, seed=1)
    assert capsys.readouterr().err == (
        "100 of 500 items of bench, drawn with seed 1: a rate measured on them is known to about "
        "±10 percentage points.\n"
    )
    assert len(set(first["prompt"])) == 100
    assert first["prompt"].tolist() == load(rows, 100, seed=1)["prompt"].tolist()
    assert first["prompt"].tolist() != load(rows, 100, seed=2)["prompt"].tolist()
    assert load(rows, 100)["prompt"].tolist() == [f"P{number}" for number in range(100)]
    assert len(load(rows, 900, seed=1)) == 500


def test_a_broken_row_is_named(load):
    with pytest.raises(TaskError, match=r"bench\.jsonl, row 2, is broken .*no number after ####"):
        load([GSM8K[0], {"question": "x", "answer": "no result"}])
    with pytest.raises(TaskError, match="row 2, is broken"):
        load([GSM8K[0], {"question": "x", "answer": "#### 1.2.3"}])
    with pytest.raises(TaskError, match="row 2, is broken"):
        load([MMLU[0], {**MMLU[1], "answer": True}])
    with pytest.raises(
        TaskError, match=r"row 2, is broken .*the answer 4 is none of its 4 choices"
    ):
        load([MMLU[0], {**MMLU[1], "answer": 4}])
    with pytest.raises(TaskError, match=r"row 1, is broken .*answer 4 .* say columns=\{…\}"):
        load([{**MMLU[1], "answer": 4}])
    with pytest.raises(TaskError, match=r"row 1, is broken .*it has no 'answer'"):
        load([{name: MMLU[1][name] for name in ("question", "choices")}])
    with pytest.raises(TaskError, match="row 2, is broken"):
        load([ARC[0], {**ARC[1], "answerKey": "C"}])


def test_unknown_columns(load):
    with pytest.raises(TaskError, match="no column `prompt`; it has frage, antwort, which are"):
        load([{"frage": "x", "antwort": "y"}])


def test_a_dataset_by_the_package_datasets(tmp_path, monkeypatch):
    """From a folder as the hub has it, since tests reach no hub."""
    (tmp_path / "me").mkdir()
    folder = tmp_path / "me" / "bench"
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in GSM8K))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    found = tasks.load("hf:me/bench")
    assert found["task"].tolist() == ["hf:me/bench"] * 2
    with pytest.raises(TaskError, match="hf:me/bench cannot be loaded, split 'train': "):
        tasks.load("hf:me/bench", split="train")


def test_a_dataset_that_is_not_there(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(TaskError, match="hf:nobody/nothing cannot be loaded, split 'test': "):
        tasks.load("hf:nobody/nothing")

"""Tables that are saved and read again are what they were, and so are their scores."""

from __future__ import annotations

import csv
import json
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slmlab
from slmlab.errors import SlmlabError
from slmlab.evaluation import scorers, tasks
from slmlab.run import grid, results, tables
from tests.support.properties import MANY
from tests.support.records import record


def answer(row) -> str:
    """A right answer to every second item, a wrong one to the others."""
    if int(row["id"].rpartition("-")[2]) % 2:
        return "Hm, 99 or so; positive."
    expected = row.get("expected")
    if isinstance(expected, list):
        return " ".join(fact.split("|")[0] for fact in expected)
    return json.dumps(expected) if isinstance(expected, dict) else f"{expected}"


def comparison(prompts, text_of=answer) -> pd.DataFrame:
    """What compare() gives for a table, with made answers."""
    cells = grid.plan("m", prompts)
    made = [
        record(prompt=cell.prompt, options=cell.options, text=text_of(cell.columns))
        for cell in cells
    ]
    return results.to_frame(made, [{"repeat": cell.repeat, **cell.columns} for cell in cells])


def scores(frame) -> list:
    return [None if value != value else value for value in scorers.score(frame)["score"]]


def written(frame: pd.DataFrame, folder, name: str):
    """A task set saved in one of the ways that people have, as compare() and load() take it."""
    path = folder / f"set.{name.rpartition(' ')[2]}"
    if name == "pandas' csv":
        frame.to_csv(path, index=False)
    elif name == "with numbers csv":
        frame.to_csv(path)
    elif name == "our csv":
        results.to_csv(frame, path)
    elif name == "pandas' json":
        frame.to_json(path, orient="records")
    elif name == "pandas' jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif name == "our json":
        results.to_json(frame, path)
    elif name == "parquet":
        frame.to_parquet(path)
    return path


WAYS = [
    "pandas' csv",
    "with numbers csv",
    "our csv",
    "pandas' json",
    "pandas' jsonl",
    "our json",
    "parquet",
]
# Arrow has no columns of objects and texts.
MIXED = ("health_notes",)


@pytest.mark.parametrize("way", WAYS)
def test_every_task_set_comes_back(way, tmp_path):
    for name in tasks.names():
        if way == "parquet" and name in MIXED:
            continue
        frame = tasks.load(name)
        path = written(frame, tmp_path, way)
        again = tasks.load(path)
        assert json.dumps(tables.records(again)) == json.dumps(tables.records(frame)), name
        if name != "code":
            assert scores(comparison(path)) == scores(comparison(frame)), name


def test_every_task_set_comes_back_from_datasets():
    datasets = pytest.importorskip("datasets")
    for name in sorted({*tasks.names()} - {*MIXED, "code"}):
        frame = tasks.load(name)
        for public in (
            datasets.Dataset.from_pandas(frame),
            datasets.Dataset.from_list(frame.to_dict("records")),
        ):
            assert json.dumps(tables.rows(public)) == json.dumps(tables.records(frame)), name
            assert scores(comparison(public)) == scores(comparison(frame)), name


def test_sets_that_are_shuffled_joined_and_saved_keep_their_scores(tmp_path):
    names = [name for name in tasks.names() if name != "code"]
    alone = {}
    for name in names:
        frame = comparison(tasks.load(name))
        alone |= dict(zip(frame["id"], scores(frame), strict=True))
    joined = tasks.load(names)
    by_pandas = pd.concat([tasks.load(name) for name in names])
    results.to_csv(by_pandas, tmp_path / "joined.csv")
    frames = [comparison(tasks.load(name)) for name in names]
    for frame in (
        comparison(joined),
        comparison(joined.sample(frac=1, random_state=1)),
        comparison(by_pandas),
        comparison(tmp_path / "joined.csv"),
        pd.concat(frames),
        pd.concat(frames[::-1], ignore_index=True).sample(frac=1, random_state=2),
    ):
        assert dict(zip(frame["id"], scores(frame), strict=True)) == alone
    assert set(alone.values()) >= {0, 1}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_scored_comparison_comes_back_whole(ending, tmp_path):
    chat = [{"role": "user", "content": "Hé\r\n"}]
    prompts = [
        {"prompt": chat, "expected": ["Hé", "x"], "scorer": "contains"},
        {"prompt": "42", "expected": 42, "scorer": "number", "note": "a"},
        {"prompt": json.dumps(chat), "expected": {"a": None}, "scorer": "json_fields", "note": "b"},
    ]
    frame = scorers.score(comparison(prompts, lambda row: '{"a": 1}, or 42\r\n'))
    failed = results.to_frame([record(error="no", ttft_s=None, stop_reason=None)])
    options = {"stop": ["\n", "x"], "num_gpu": 1}
    more = results.to_frame([record(options=record().options | options, ttft_s=1 / 3)])
    frame = pd.concat([frame, failed, more], ignore_index=True).fillna({"note": ""})
    path = tmp_path / f"frame.{ending}"
    (results.to_csv if ending == "csv" else results.to_json)(frame, path)
    again = results.read(path)
    pd.testing.assert_frame_equal(again, results.read(path))
    assert list(again.columns) == list(frame.columns)
    assert json.dumps(tables.records(again)) == json.dumps(tables.records(frame))
    assert scores(again[:3]) == scores(frame[:3])
    assert slmlab.results.summary(again).equals(slmlab.results.summary(frame))
    (results.to_csv if ending == "csv" else results.to_json)(again, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_comparison_without_gaps_has_the_types_it_had(tmp_path):
    frame = comparison(tasks.load(["arithmetic"]))
    for save in (results.to_csv, results.to_json):
        save(frame, tmp_path / "x.json" if save is results.to_json else tmp_path / "x.csv")
    pd.testing.assert_frame_equal(results.read(tmp_path / "x.csv"), frame)
    pd.testing.assert_frame_equal(results.read(tmp_path / "x.json"), frame)


def test_excel_opens_it_with_its_letters_whole(tmp_path):
    results.to_csv(comparison([{"prompt": "Wie heißt „é“?", "id": "1-1"}]), tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert pd.read_csv(tmp_path / "x.csv")["prompt"][0] == "Wie heißt „é“?"


FORMULAS = [
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "- a list",
    "＝1",
    "\u2060=1",
]


def test_a_spreadsheet_finds_no_formula_in_it(tmp_path):
    names = ["prompt", "=1"]
    frame = pd.DataFrame([[one, one] for one in [*FORMULAS, "-5", "+3.5e-7", "a=1"]], columns=names)
    results.to_csv(frame, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    numbers = {"-5", "+3.5e-7"}
    assert [one for one in cells if one[0] in "=+-@\t\r＝" and one not in numbers] == []
    assert numbers < set(cells)
    assert tasks.load(tmp_path / "x.csv")[names].equals(frame)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
CHAT = json.dumps([{"role": "user", "content": "x"}])
LISTS = ['["a"]', "['a', 'b']", '{"a": 1}', '"x"', '"[1]"', CHAT]
ODD = st.sampled_from([*LISTS, "None", "nan", "007", "1e5", "", " ", "4.0", "a,b;c", '"', "x\r\ny"])
CELLS = TEXTS | ODD | st.sampled_from(FORMULAS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=5,
)
CHATS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": CELLS}),
    min_size=1,
    max_size=3,
)
EXPECTED = {
    "contains": CELLS | st.lists(CELLS, min_size=1, max_size=3),
    "facts": CELLS | st.lists(CELLS, min_size=1, max_size=3),
    "json_fields": st.dictionaries(CELLS, JSON, min_size=1, max_size=3),
    "number": st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CELLS,
    "exact": CELLS,
    "regex": CELLS,
    "label": st.sampled_from(["a", "b", "1"]),
}
ROWS = st.sampled_from(sorted(EXPECTED)).flatmap(
    lambda scorer: st.fixed_dictionaries(
        {
            "prompt": CHATS | CELLS.filter(str.strip),
            "expected": EXPECTED[scorer],
            "labels": st.just(["a", "b", "1"]),
            "note": CELLS,
            "scorer": st.just(scorer),
            "max_words": st.none() | st.integers(1, 5),
        }
    )
)


@MANY
@given(st.lists(ROWS, min_size=1, max_size=4), st.sampled_from(["csv", "json"]))
def test_any_table_comes_back_with_its_scores(tmp_path, rows, ending):
    path = tmp_path / f"any.{ending}"
    (results.to_csv if ending == "csv" else results.to_json)(tables.frame_of(rows), path)
    assert json.dumps(tables.rows(path), sort_keys=True) == json.dumps(rows, sort_keys=True)
    texts = iter(['a [1] "x" 4.0', "a", '{"a": 1}', "007"] * 4)
    frame = comparison(rows, lambda row: next(texts))
    (results.to_csv if ending == "csv" else results.to_json)(frame, path)
    assert scores(results.read(path)) == scores(frame)
    order = random.Random(len(rows)).sample(range(len(frame)), len(frame))
    assert scores(frame.iloc[order]) == [scores(frame)[place] for place in order]


HOSTILE = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    JSON,
    st.binary(max_size=9),
    st.lists(st.dictionaries(st.sampled_from(["prompt", "role", "content", "text", "x"]), JSON)),
    st.dictionaries(
        st.sampled_from(["prompt", "role", "content", "x"]), st.lists(JSON, max_size=2)
    ),
)


@MANY
@given(HOSTILE, st.sampled_from([None, "{prompt}", "{{x}}", "plain", "{x:d}", "}"]))
def test_whatever_is_given_is_planned_or_refused(thing, template):
    try:
        cells = grid.plan("m", thing, template=template)
    except SlmlabError as error:
        assert str(error)
        return
    frame = results.to_frame(
        [record(prompt=cell.prompt, options=cell.options, text="x") for cell in cells],
        [dict(cell.columns) for cell in cells],
    )
    try:
        for scorer in scorers.SCORERS:
            scorers.score(frame, scorer)
    except SlmlabError as error:
        assert str(error)


@MANY
@given(
    st.binary(max_size=200) | TEXTS.map(str.encode),
    st.sampled_from(["csv", "tsv", "json", "jsonl", "json.gz", "parquet"]),
)
def test_any_bytes_are_a_table_or_refused(tmp_path, data, ending):
    path = tmp_path / f"any.{ending}"
    path.write_bytes(data)
    for read in (tables.rows, results.read, tasks.load, lambda path: grid.plan("m", path)):
        try:
            read(path)
        except SlmlabError as error:
            assert f"any.{ending}" in str(error)

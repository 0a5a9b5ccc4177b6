"""The records of several machines in one table."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import slmlab
from slmlab.errors import ResultsError
from slmlab.run import store
from slmlab.run.options import full_options
from slmlab.run.store import RecordStore
from tests.support.records import record


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """Writes records as a laptop of that name would, into a folder of its own."""

    def write(name: str, *records, cores: int = 4, drawn: str = "", folder: str = "", again=()):
        machine = {"id": drawn or name, "name": name, "cpu": "C", "cores": cores, "gpu": None}
        monkeypatch.setattr(store, "this_machine", lambda: machine)
        place = tmp_path / "class" / (folder or drawn or name) / "results"
        records_of = RecordStore(place)
        for one in [*records, *again]:
            question = f"{one.prompt}{one.model}{one.options['num_predict']}{one.seed}"
            name = store.hashlib.sha256(question.encode()).hexdigest()
            records_of.add(name, one, asked_again=one in again)
        return place

    return write


def answer(prompt: str, text: str = "yes", at: str = "2026-01-01T10:00", **more):
    options = full_options({"num_predict": more.pop("num_predict", 8), "seed": more.pop("seed", 0)})
    return record(prompt=prompt, text=text, started=at, options=options, **more)


def test_each_machine_has_its_rows_and_its_columns(laptop, tmp_path):
    laptop("ada", answer("P", "a"), answer("Q", "b"), cores=8)
    laptop("ben", answer("Q", "c"), answer("P", "d"), cores=2)
    frame = slmlab.results.load(tmp_path / "class")
    assert frame[["machine", "cores", "prompt", "prompt_id", "text"]].to_numpy().tolist() == [
        ["ada", 8, "P", 0, "a"],
        ["ada", 8, "Q", 1, "b"],
        ["ben", 2, "P", 0, "d"],
        ["ben", 2, "Q", 1, "c"],
    ]
    assert frame["cpu"].tolist() == ["C"] * 4


def test_nothing_counts_twice(laptop, tmp_path):
    place = laptop("ada", answer("P", "old"), answer("Q"))
    laptop("ada", answer("P", "new", at="2026-01-02T10:00"))
    shutil.copytree(place, tmp_path / "class" / "a copy" / "results")
    frame = slmlab.results.load(tmp_path / "class", place)
    assert sorted(frame["text"]) == ["new", "yes"]


def test_an_answer_that_was_asked_for_again_counts_with_the_longer_one(laptop, tmp_path):
    short = answer("P", "so", stop_reason="length")
    longer = answer("P", "so it is 5", num_predict=32)
    laptop("ada", short, answer("Q", stop_reason="length"), again=[longer])
    frame = slmlab.results.load(tmp_path)
    assert sorted(frame["text"]) == ["so it is 5", "yes"]


def test_an_axis_of_limits_is_not_taken_for_asking_again(laptop, tmp_path):
    cut = answer("P", "so", stop_reason="length")
    laptop("ada", cut, answer("P", "so it is 5", num_predict=32))
    assert sorted(slmlab.results.load(tmp_path)["num_predict"]) == [8, 32]


def test_an_axis_that_finds_an_answer_that_was_asked_for_again_has_all_its_rows(laptop, tmp_path):
    """compare(ask_again=True) first, then compare(num_predict=[8, 32]) with the same store."""
    cut, whole = answer("P", "so", stop_reason="length"), answer("Q", "5", num_predict=32)
    longer = answer("P", "so it is 5", num_predict=32)
    laptop("ada", cut, answer("Q", "5"), whole, again=[longer])
    assert sorted(slmlab.results.load(tmp_path)["num_predict"]) == [8, 8, 32, 32]


def test_two_laptops_of_one_name_are_two(laptop, tmp_path):
    laptop("mac.local", answer("P", "a"), drawn="11")
    laptop("mac.local", answer("P", "b"), drawn="22")
    frame = slmlab.results.load(tmp_path)
    assert frame[["machine", "text"]].to_numpy().tolist() == [
        ["mac.local (1)", "a"],
        ["mac.local (2)", "b"],
    ]


def test_repeats_are_told_by_their_seeds(laptop, tmp_path):
    laptop("ada", *(answer("P", str(seed), seed=seed) for seed in (7, 8)))
    laptop("ben", answer("P", "ben", seed=8))
    frame = slmlab.results.load(tmp_path)
    assert frame[["text", "repeat"]].to_numpy().tolist() == [["7", 0], ["8", 1], ["ben", 1]]


def test_a_seed_that_failed_for_a_prompt_leaves_no_hole(laptop, tmp_path):
    others = (answer("Q", seed=seed) for seed in (1, 2, 3))
    other_model = answer("P", "other", seed=3, model="other")
    laptop("ada", *others, *(answer("P", str(seed), seed=seed) for seed in (1, 3)), other_model)
    frame = slmlab.results.load(tmp_path)
    found = frame[frame["prompt"] == "P"].set_index("text")["repeat"]
    assert found.to_dict() == {"1": 0, "3": 2, "other": 2}


def test_an_answer_that_was_asked_for_again_is_a_repeat_too(laptop, tmp_path):
    first = [answer("P", str(seed), seed=seed) for seed in (0, 2)]
    again = [answer("P", "long", seed=1, num_predict=32)]
    laptop("ada", *first, again=again)
    frame = slmlab.results.load(tmp_path)
    assert frame.set_index("text")["repeat"].to_dict() == {"0": 0, "long": 1, "2": 2}


def test_seeds_far_apart_are_no_repeats(laptop, tmp_path):
    laptop("ada", *(answer("P", str(seed), seed=seed) for seed in (1, 2, 100)))
    assert slmlab.results.load(tmp_path)["repeat"].tolist() == [0, 1, 0]


def test_with_the_prompts_they_can_be_scored_and_reported(laptop, tmp_path):
    laptop("ada", answer("P", "yes"), answer("Q", "no"), answer("Else"))
    laptop("ben", answer("P", "no"), answer("Q", "no"))
    prompts = [{"prompt": one, "expected": "yes", "scorer": "exact", "task": "t"} for one in "QP"]
    frame = slmlab.score(slmlab.results.load(tmp_path, prompts=prompts))
    assert frame["prompt_id"].tolist() == [0, 1, 0, 1]
    means = slmlab.statistics.means(frame, by="machine").set_index("machine")["mean"]
    assert means.to_dict() == {"ada": 0.5, "ben": 0.0}
    page = slmlab.report(frame, tmp_path / "r.html").read_text()
    assert "m · ada" in page and "m · ben" in page
    with pytest.raises(ResultsError, match="None of the records answers one of these prompts"):
        slmlab.results.load(tmp_path, prompts=["R"])


def test_columns_of_the_prompts_never_replace_what_was_measured(laptop, tmp_path):
    laptop("ada", answer("P", "yes"))
    prompts = [{"prompt": "P", "text": "mine", "seed": "s", "machine": "x", "level": 3}]
    (row,) = slmlab.results.load(tmp_path, prompts=prompts).to_dict("records")
    assert (row["text"], row["seed"], row["machine"], row["level"]) == ("yes", 0, "ada", 3)
    assert (row["given_text"], row["given_machine"]) == ("mine", "x")


def test_a_thinking_answer_is_not_the_longer_one_of_another(laptop, tmp_path):
    short = answer("P", "so", stop_reason="length")
    laptop("ada", short, again=[answer("P", "<think>", num_predict=32, think=True)])
    assert sorted(slmlab.results.load(tmp_path)["text"]) == ["<think>", "so"]


def test_a_longer_answer_elsewhere_or_of_another_file_replaces_none(laptop, tmp_path):
    """Ben asked again and Ada did not; and Ada's model has been pulled anew since."""
    short, longer = answer("P", "so", stop_reason="length"), answer("P", "long", num_predict=32)
    laptop("ada", short)
    laptop("ben", again=[longer])
    assert sorted(slmlab.results.load(tmp_path)["text"]) == ["long", "so"]
    laptop("ada", again=[replace(longer, digest="e" * 64)])
    assert sorted(slmlab.results.load(tmp_path)["text"]) == ["long", "long", "so"]


def test_records_of_earlier_versions_are_told_by_their_files(laptop, tmp_path):
    place = laptop("ada", answer("P"))
    (file,) = place.iterdir()
    before = file.read_text()
    start, end = before.index('"machine"'), before.index('"record"')
    (place / "old-laptop-12-345.jsonl").write_text(before[:start] + before[end:])
    frame = slmlab.results.load(tmp_path)
    assert sorted(frame["machine"]) == ["ada", "old-laptop"]
    assert frame["cores"].isna().sum() == 1


def test_foreign_lines_are_passed_over(laptop, tmp_path):
    place = laptop("ada", answer("P"))
    (place / "tasks.jsonl").write_text('{"prompt": "x"}\n{"key":"x"}\n[1]\n')
    (file,) = place.glob("*-*.jsonl")
    text = file.read_text()
    start, end = text.index('"machine"'), text.index('"record"')
    (place / "odd-1-2.jsonl").write_text(text[:start] + '"machine":7,' + text[end:])
    assert sorted(slmlab.results.load(tmp_path)["machine"]) == ["ada", "odd"]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ResultsError, match=r"There is no folder .*nowhere with records"):
        slmlab.results.load(tmp_path / "nowhere")
    with pytest.raises(ResultsError, match="There are no records in"):
        slmlab.results.load(tmp_path)


def test_a_machine_keeps_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))
    store.this_machine.cache_clear()
    try:
        first = store.this_machine()
        store.this_machine.cache_clear()
        assert store.this_machine() == first
        assert len(first["id"]) == 16
        assert first["cores"] >= 1
        RecordStore(tmp_path / "x").add("a" * 64, record())
        assert slmlab.results.load(tmp_path / "x")["machine"].tolist() == [first["name"]]
    finally:
        store.this_machine.cache_clear()

"""Files for other programs, read as these read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import slmlab
from slmlab.errors import ResultsError
from slmlab.evaluation import exports, votes
from tests.support.records import comparison


def frame(*models: str):
    return comparison(
        [
            {"model": model, "prompt": prompt, "prompt_id": number, "repeat": 0, "task": "t"}
            | {"text": f"{model} {number}", "score": float(place == number), "tokens": 3}
            for place, model in enumerate(models)
            for number, prompt in enumerate(
                ["P", [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]]
            )
        ]
    )


def test_llm_comparator_reads_two_models(tmp_path):
    path = slmlab.exports.llm_comparator(frame("a", "b"), tmp_path / "x.json")
    data = json.loads(path.read_text())
    assert data["metadata"]["source_path"] == "x"
    assert data["models"] == [{"name": "a"}, {"name": "b"}]
    first, second = data["examples"]
    assert first == {
        "input_text": "P",
        "tags": ["t"],
        "output_text_a": "a 0",
        "output_text_b": "b 0",
        "score": 1.5,
        "individual_rater_scores": [],
        "custom_fields": {"tokens": [3, 3], "own_score": [1.0, 0.0]},
    }
    assert (second["input_text"], second["score"]) == ("system: S\nuser: Q", -1.5)


def test_scores_of_another_scale_stay_in_llm_comparators(tmp_path):
    """A scorer of one's own may count words."""
    table = frame("a", "b").assign(score=[10.0, 40.0, 20.0, 0.0])
    data = json.loads(exports.llm_comparator(table, tmp_path / "x.json").read_text())
    assert [one["score"] for one in data["examples"]] == [-0.375, 1.5]
    assert data["examples"][0]["custom_fields"]["own_score"] == [10.0, 20.0]


def test_inspects_package_writes_its_log(tmp_path, monkeypatch):
    """By the example in docs/comparing.md; the package is too large for the tests to install it."""
    log = pytest.importorskip("inspect_ai.log", reason="inspect_ai is not installed")
    document = (Path(__file__).parents[3] / "docs" / "comparing.md").read_text()
    (code,) = [
        one for one in re.findall(r"```python\n(.*?)```", document, re.S) if "EvalLog" in one
    ]
    monkeypatch.chdir(tmp_path)
    table = frame("a:1b", "b").assign(expected="a:1b 0", scorer="exact", started="2026-11-26")
    exec(code, {"slmlab": slmlab, "frame": table.drop(columns="score")})
    found = log.read_eval_log("a-1b.eval")
    assert (found.status, found.eval.model, len(found.samples)) == ("success", "a:1b", 2)
    assert [one.scores["exact"].value for one in found.samples] == [1.0, 0.0]
    assert [one.output.completion for one in found.samples] == ["a:1b 0", "a:1b 1"]
    assert [message.role for message in found.samples[1].input] == ["system", "user"]
    assert log.read_eval_log("b.eval").samples[0].scores["exact"].value == 0.0


def test_two_of_several_and_in_their_order(tmp_path):
    table = frame("a", "b", "c").drop(columns="score")
    path = exports.llm_comparator(table, tmp_path / "x.json", models=["c", "a"])
    data = json.loads(path.read_text())
    assert [one["name"] for one in data["models"]] == ["c", "a"]
    assert data["examples"][0]["output_text_a"] == "c 0"
    assert data["examples"][0]["score"] == 0
    for wrong in (None, ["a"], ["a", "z"]):
        with pytest.raises(ResultsError, match="LLM Comparator shows two models"):
            exports.llm_comparator(table, tmp_path / "y.json", models=wrong)


def test_models_without_a_prompt_in_common_write_no_empty_file(tmp_path):
    table = frame("a", "b")
    table.loc[table["model"] == "b", "prompt"] = "Else"
    with pytest.raises(ResultsError, match="no prompt with answers of a and b"):
        exports.llm_comparator(table, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_votes_have_the_arenas_winners(tmp_path):
    file = tmp_path / "votes.jsonl"
    for winner in votes.WINNERS:
        votes.add_vote(file, voter="Ada", prompt="Hi!", model_a="x", model_b="y", winner=winner)
    path = exports.arena_votes(votes.read_votes(file), tmp_path / "arena.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["winner"] for one in lines] == ["model_a", "model_b", "tie", "tie (bothbad)"]
    assert {one["model_a"] for one in lines} == {"x"}
    assert lines[0]["conversation_a"] == [{"role": "user", "content": "Hi!"}]
    assert lines[0]["tstamp"] > 1.7e9

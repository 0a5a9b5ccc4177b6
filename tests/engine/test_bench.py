"""Speeds on real servers: what is measured is what was asked for, or it is not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import slmlab
from slmlab import hardware, models, weights
from slmlab.devices import energy_j
from slmlab.errors import ModelError, PromptError
from slmlab.run.timed_requests import TOO_SHORT
from tests.support.engines import MINILM, SHALLOW, Engine

FEW = {"prompt_tokens": 64, "tokens": 32, "repeats": 2}


@pytest.fixture(scope="module")
def quick(embedded: Engine, smol_gguf: Path, tmp_path_factory: pytest.TempPathFactory):
    """Two layers of SmolLM2 with all its tokens, so that a word is rarely more than one."""
    whole = weights.read(smol_gguf)
    file = tmp_path_factory.mktemp("quick") / "model.gguf"
    weights.write(weights.drop_layers(whole, range(2, whole.layers)), file, "Q8_0")
    models.add("quick", file, host=embedded.url)
    yield "quick:latest"
    models.remove("quick", host=embedded.url)


def test_by_depth_threads_and_requests_at_once(here, quick, capsys):
    found = slmlab.bench(quick, depth=(0, 400), threads=1, at_once=(1, 2), students_at=0.001, **FEW)
    table = found.frame
    alone = table[table["at_once"] == 1].set_index("test")
    short = [] if energy_j() is None else [TOO_SHORT]
    assert alone["note"].isin(["", *short]).all(), str(found)
    assert (alone["n"] == 2).all() and (alone["p10"] <= alone["tokens_per_s"]).all()
    assert (table["threads"] == 1).all()
    # The prompt is as long as it was asked to be, after as much as was read before.
    shallow, deep = alone.loc["prefill", ["tokens", "depth"]].to_numpy().tolist()
    assert shallow == [64, 0]
    assert 60 <= deep[0] <= 80 and 380 <= deep[1] <= 400
    assert alone.loc["decode", "tokens"].tolist() == [32, 32]
    # On a busy machine one of several requests may end before another begins; then it says so.
    for row in table[table["at_once"] > 1].to_dict("records"):
        left_out = {"": 0, "1 of 2": 1, "2 of 2": 2}[row["note"][:6]]
        assert row["n"] == (2 - left_out) * row["at_once"]
    assert any(one.startswith("No joules: ") for one in found.notes) == (energy_j() is None)
    assert all(one in str(found) for one in found.notes)
    assert "student" in found.students and "0.001 tokens/s" in found.students
    assert found.cold[0].startswith("Cold, 1 thread: the first token came after ")
    rows = [json.loads(line) for line in found.jsonl().splitlines()]
    assert [(row["n_prompt"] > 0, row["n_threads"]) for row in rows] == [(True, 1), (False, 1)] * 2
    assert rows[0]["model_filename"] == quick
    # Each line came as soon as it was measured.
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith(("prefill", "decode"))]) == len(table)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"depth": 1_000_000}, "context holds .* too few for depth=1000000"),
        ({"depth": 64}, "too little beside prompt_tokens=64"),
        ({"at_once": 5}, "runs 4 requests at once for a model, and queues the others"),
        ({"threads": hardware.usable_cores() + 1}, "takes no more threads than that"),
    ],
)
def test_what_would_not_be_measured_as_asked_is_refused(here, more, said):
    with pytest.raises(PromptError, match=said):
        slmlab.bench(SHALLOW, **FEW | more)


def test_a_model_that_is_not_there_or_does_not_write(here):
    with pytest.raises(ModelError, match="There is no model 'nobody'"):
        slmlab.bench("nobody")
    with pytest.raises(ModelError, match="does not write"):
        slmlab.bench(MINILM)

"""Votes and ratings."""

from __future__ import annotations

import json
import random

import numpy as np
import pandas as pd
import pytest

from slmlab.errors import ResultsError, SlmlabError
from slmlab.evaluation import votes
from slmlab.run import results
from slmlab.show import plots
from tests.support.records import record, vote


class TestVotes:
    def test_ratings_find_the_strengths_that_votes_were_drawn_from(self):
        rng, true = random.Random(5), {"a": 1200, "b": 1000, "c": 800}
        drawn = []
        for _ in range(600):
            one, two = rng.sample(sorted(true), 2)
            chance = 1 / (1 + 10 ** ((true[two] - true[one]) / 400))
            drawn.append(vote(one, two, "a" if rng.random() < chance else "b"))
        table = votes.ratings(pd.DataFrame(drawn)).set_index("model")
        assert list(table.index) == ["a", "b", "c"]
        for name, rating in true.items():
            assert table.loc[name, "low"] - 15 <= rating <= table.loc[name, "high"] + 15
        assert table["rating"].mean() == pytest.approx(1000)
        assert table["votes"].sum() == 1200

    def test_ties_count_half_and_winners_stay_finite(self):
        tied = votes.ratings(pd.DataFrame([vote("a", "b", "tie")] * 5))
        assert tied["rating"].tolist() == pytest.approx([1000, 1000])
        swept = votes.ratings(pd.DataFrame([vote("a", "b", "a")] * 5))
        assert np.isfinite(swept[["rating", "low", "high"]].to_numpy()).all()
        assert swept["model"][0] == "a"
        figure = plots.ratings(swept)
        assert "n = 5 votes" in figure._supxlabel.get_text()

    def test_models_that_never_met_have_no_common_scale(self):
        apart = pd.DataFrame([vote("a", "b", "a"), vote("c", "d", "b")])
        with pytest.raises(SlmlabError, match=r"never compared .*: a, b \| c, d"):
            votes.ratings(apart)
        with pytest.raises(SlmlabError, match="no votes yet"):
            votes.ratings(pd.DataFrame(columns=["model_a", "model_b", "winner"]))

    def test_files_of_several_students_are_merged(self, tmp_path):
        ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"
        fields = {"prompt": "x\ny", "model_a": "a", "model_b": "b"}
        votes.add_vote(ours, voter="Ö", winner="a", **fields)
        votes.add_vote(theirs, voter="M", winner="tie", **fields)
        theirs.write_bytes(theirs.read_bytes() + ours.read_bytes())
        merged = votes.read_votes(ours, theirs)
        assert sorted(merged["voter"]) == ["M", "Ö"], "each vote once"
        assert votes.ratings(merged)["votes"].tolist() == [2, 2]

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("{", "not JSON"),
            ("[]", "no object"),
            ('{"id": 1}', "no text 'id'"),
            ("[" * 100_000, "not JSON"),
            (json.dumps({n: "x" for n in votes.COLUMNS}), "the winner is 'x'"),
            (json.dumps({n: "a" for n in votes.COLUMNS}), "both models are the same"),
        ],
        ids=["torn", "list", "wrong type", "deep", "winner", "one model"],
    )
    def test_a_bad_file_is_named_with_its_line(self, tmp_path, line, why):
        path = tmp_path / "votes.jsonl"
        path.write_text("\n" + line + "\n")
        with pytest.raises(ResultsError, match=rf"votes\.jsonl, line 2 is no vote: .*{why}"):
            votes.read_votes(path)

    def test_what_is_no_vote_is_not_written(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        with pytest.raises(ResultsError, match="winner is 'c'"):
            votes.add_vote(path, voter="x", prompt="p", model_a="a", model_b="b", winner="c")
        assert not path.exists()
        with pytest.raises(ResultsError, match="cannot be written"):
            votes.add_vote(tmp_path, voter="x", prompt="p", model_a="a", model_b="b", winner="a")

    def test_pairs_are_shuffled_and_blind_to_order(self):
        rows = [record(model=name, text=name) for name in "abc" for _ in range(20)]
        ids = [{"prompt_id": index % 20, "repeat": 0} for index in range(60)]
        pairs = votes.blind_pairs(results.to_frame(rows, ids))
        assert len(pairs) == 20 * 3
        first = [one["model"] < two["model"] for one, two in pairs]
        assert 15 < sum(first) < 45
        assert [one["prompt_id"] for one, _ in pairs] != sorted(
            one["prompt_id"] for one, _ in pairs
        )

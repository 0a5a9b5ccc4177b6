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


class TestPublishedRatings:
    TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
    # Agresti, Categorical Data Analysis: American League East 1987, wins of row over column, and
    # the log strengths of the Bradley-Terry model against Baltimore.
    WINS = (
        (0, 7, 9, 7, 7, 9, 11),
        (6, 0, 7, 5, 11, 9, 9),
        (4, 6, 0, 7, 7, 8, 12),
        (6, 8, 6, 0, 6, 7, 10),
        (6, 2, 6, 7, 0, 7, 12),
        (4, 4, 5, 6, 6, 0, 6),
        (2, 4, 1, 3, 1, 7, 0),
    )
    STRENGTHS = (1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0)

    def test_bradley_terry(self):
        games = [
            vote(one, two, "a")
            for one, wins in zip(self.TEAMS, self.WINS, strict=True)
            for two, count in zip(self.TEAMS, wins, strict=True)
            for _ in range(count * 20)  # so many that the prior hardly counts
        ]
        table = votes.ratings(pd.DataFrame(games), resamples=2).set_index("model")
        strengths = (table["rating"] - table["rating"]["Baltimore"]) * np.log(10) / 400
        assert strengths[list(self.TEAMS)].tolist() == pytest.approx(self.STRENGTHS, abs=0.005)

    def test_intervals_are_as_wide_as_the_normal_approximation_says(self):
        cast = pd.DataFrame([vote("a", "b", "a")] * 60 + [vote("a", "b", "b")] * 40)
        best = votes.ratings(cast).iloc[0]
        error = 400 / np.log(10) / 2 * np.sqrt(1 / 60 + 1 / 40)
        assert best["high"] - best["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("text", "verdict"),
        [
            ("1", "a"),
            (" 2.\n", "b"),
            ("**Tie**", "tie"),
            ("Answer 1", "a"),
            ("Answer: 2", "b"),
            ('"1"', "a"),
            ("Answer 2 is better.", "b"),
            ("The better answer is 1.", "a"),
            ("I prefer answer 2", "b"),
            ("It's a tie.", "tie"),
            ("2, because it is clearer than 1", "b"),
            ("1\n\nBecause it is correct", "a"),
        ],
    )
    def test_a_clear_one_is_read(self, text, verdict):
        assert votes._verdict(text) == verdict

    @pytest.mark.parametrize(
        "text",
        [
            "Answer 1 is worse than 2",
            "Answer 1 is not better than answer 2",
            "1 is worse, because 2 is right",
            "Both 1 and 2 are good",
            "Answer 1 or 2?",
            "1\n2",
            "1. Answer 2 is more",
            "Answer 1:\nParis",
            "Not 1",
            "11",
            "tie-break",
            "I have 2 remarks",
            "",
        ],
    )
    def test_all_else_is_none(self, text):
        assert votes._verdict(text) is None


class TestJudge:
    """Judges whose minds we know: what they are asked, and what their verdicts count."""

    def judged(self, monkeypatch, verdict) -> list[dict[str, object]]:
        def compare(model, questions, **more):
            return pd.DataFrame({"text": [verdict(one["one"], one["two"]) for one in questions]})

        monkeypatch.setattr(votes, "compare", compare)
        rows = [record(model="x", text="good"), record(model="y", text="bad")]
        frame = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
        table = votes.judge(frame, "m")
        (row,) = table.to_dict("records")
        assert (row["model_a"], row["model_b"]) == ("x", "y")
        assert votes.judge_consistency(table).value == row["consistent"]
        return row

    def test_one_that_sees_the_better_answer(self, monkeypatch):
        row = self.judged(monkeypatch, lambda one, two: "1" if one == "good" else "2")
        assert (row["first"], row["second"]) == ("a", "a")
        assert row["consistent"]
        assert row["winner"] == "a"

    def test_one_that_sees_the_worse(self, monkeypatch):
        row = self.judged(monkeypatch, lambda one, two: "2" if one == "good" else "1")
        assert (row["first"], row["second"], row["winner"]) == ("b", "b", "b")

    def test_one_that_always_prefers_the_first(self, monkeypatch):
        row = self.judged(monkeypatch, lambda one, two: "1")
        assert (row["first"], row["second"]) == ("a", "b")
        assert not row["consistent"]
        assert row["winner"] == "tie"

    def test_one_that_sees_no_difference(self, monkeypatch):
        row = self.judged(monkeypatch, lambda one, two: "tie")
        assert row["consistent"]
        assert row["winner"] == "tie"

    def test_one_that_cannot_be_understood(self, monkeypatch):
        row = self.judged(monkeypatch, lambda one, two: "Well.")
        assert row["first"] is None
        assert row["second"] is None
        assert not row["consistent"]

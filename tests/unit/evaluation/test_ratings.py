"""Ratings from votes."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from slmlab.errors import SlmlabError
from slmlab.evaluation.ratings import ratings, ratings_by_tag
from slmlab.show import plots
from tests.support.records import vote


class TestRatings:
    def test_ratings_find_the_strengths_that_votes_were_drawn_from(self):
        rng, true = random.Random(5), {"a": 1200, "b": 1000, "c": 800}
        drawn = []
        for _ in range(600):
            one, two = rng.sample(sorted(true), 2)
            chance = 1 / (1 + 10 ** ((true[two] - true[one]) / 400))
            drawn.append(vote(one, two, "a" if rng.random() < chance else "b"))
        table = ratings(pd.DataFrame(drawn)).set_index("model")
        assert list(table.index) == ["a", "b", "c"]
        for name, rating in true.items():
            assert table.loc[name, "low"] - 15 <= rating <= table.loc[name, "high"] + 15
        assert table["rating"].mean() == pytest.approx(1000)
        assert table["votes"].sum() == 1200

    def test_ties_count_half_and_winners_stay_finite(self):
        tied = ratings(pd.DataFrame([vote("a", "b", "tie")] * 5))
        assert tied["rating"].tolist() == pytest.approx([1000, 1000])
        swept = ratings(pd.DataFrame([vote("a", "b", "a")] * 5))
        assert np.isfinite(swept[["rating", "low", "high"]].to_numpy()).all()
        assert swept["model"][0] == "a"
        # The prior, by hand: 5 votes and a fifth against a fifth.
        ahead = swept["rating"][0] - swept["rating"][1]
        assert 10 ** (ahead / 400) == pytest.approx(5.2 / 0.2)
        figure = plots.ratings(swept)
        assert "n = 5 votes" in figure._supxlabel.get_text()

    def test_both_bad_counts_as_a_tie_and_is_counted_apart(self):
        cast = [vote("a", "b", "a"), vote("b", "a", "both bad"), vote("a", "b", "tie")]
        table = ratings(pd.DataFrame(cast)).set_index("model")
        counts = ["wins", "losses", "ties", "both_bad", "votes"]
        assert table.loc["a", counts].tolist() == [1, 0, 1, 1, 3]
        assert table.loc["b", counts].tolist() == [0, 1, 1, 1, 3]
        as_ties = ratings(pd.DataFrame(cast).replace("both bad", "tie")).set_index("model")
        assert table["rating"].equals(as_ties["rating"])
        with pytest.raises(SlmlabError, match="A winner is one of a, b, tie, both bad; got 'c'"):
            ratings(pd.DataFrame([vote("a", "b", "c")]))

    def test_by_tag_a_vote_counts_for_each_of_its_tags(self):
        cast = [
            *[vote("a", "b", "a", tags=["maths", "short"])] * 3,
            *[vote("a", "b", "b", tags=["poems"])] * 2,
            vote("a", "b", "b", tags=[]),
            vote("c", "d", "a", tags=["poems"]),
        ]
        table = ratings_by_tag(pd.DataFrame(cast), resamples=20)
        best = table.groupby("tag")["model"].first()
        assert (best["maths"], best["short"]) == ("a", "a")
        poems = table[table["tag"] == "poems"].set_index("model")
        assert poems["rating"].isna().all(), "a and c were never compared"
        assert poems["wins"].to_dict() == {"a": 0, "b": 2, "c": 1, "d": 0}
        assert list(table.columns[:5]) == ["tag", "model", "rating", "low", "high"]
        with pytest.raises(SlmlabError, match="No vote has a tag"):
            ratings_by_tag(pd.DataFrame(cast[5:6]))

    def test_models_that_never_met_have_no_common_scale(self):
        apart = pd.DataFrame([vote("a", "b", "a"), vote("c", "d", "b")])
        with pytest.raises(SlmlabError, match=r"never compared .*: a, b \| c, d"):
            ratings(apart)
        with pytest.raises(SlmlabError, match="no votes yet"):
            ratings(pd.DataFrame(columns=["model_a", "model_b", "winner"]))


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
        table = ratings(pd.DataFrame(games), resamples=2).set_index("model")
        strengths = (table["rating"] - table["rating"]["Baltimore"]) * np.log(10) / 400
        assert strengths[list(self.TEAMS)].tolist() == pytest.approx(self.STRENGTHS, abs=0.005)

    def test_intervals_are_as_wide_as_the_normal_approximation_says(self):
        cast = pd.DataFrame([vote("a", "b", "a")] * 60 + [vote("a", "b", "b")] * 40)
        best = ratings(cast).iloc[0]
        error = 400 / np.log(10) / 2 * np.sqrt(1 / 60 + 1 / 40)
        assert best["high"] - best["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)

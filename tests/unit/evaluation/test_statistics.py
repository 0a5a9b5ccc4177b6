"""Intervals, tests, and the number of prompts needed."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as some

from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from tests.support.records import scored


class TestStatistics:
    def test_rates_are_exact(self):
        found = statistics.interval([1] * 8 + [0] * 2)
        # R: binom.test(8, 10)
        assert (found.low, found.high) == pytest.approx((0.4439045, 0.9747893), abs=1e-6)
        assert str(found) == "0.80 (95 % interval 0.44 to 0.97, n = 10)"

    def test_means_are_bootstrapped(self):
        values = np.random.default_rng(1).normal(0.5, 0.1, 100)
        found = statistics.interval(values)
        assert found.low < values.mean() < found.high
        half = 1.96 * values.std() / 10
        assert found.high - found.low == pytest.approx(2 * half, rel=0.1)

    @pytest.mark.parametrize("draw", ["random", "standard_cauchy"])
    @pytest.mark.parametrize("n", [2, 7, 300])
    def test_it_is_the_bootstrap_of_scipy(self, n, draw):
        values = getattr(np.random.default_rng(n), draw)(n)
        wanted = scipy.stats.bootstrap(
            (values,), np.mean, method="BCa", rng=np.random.default_rng(0), batch=1_000
        ).confidence_interval
        found = statistics.interval(values)
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9)

    @pytest.mark.parametrize(
        ("k", "n"), [(0, 1), (1, 1), (3, 3), (1, 100), (80, 100), (5_000, 10_000), (1, 50_000)]
    )
    def test_rates_and_the_sign_test_are_those_of_scipy(self, k, n):
        wanted = scipy.stats.binomtest(k, n).proportion_ci()
        found = statistics.interval([1] * k + [0] * (n - k))
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-7)
        tested = statistics.sign_tests([("a", "b", [1] * n, [0] * k + [2] * (n - k))])
        p_value = scipy.stats.binomtest(k, n).pvalue
        assert tested["p"].item() == pytest.approx(p_value, rel=1e-7, abs=1e-300)

    def test_the_interval_covers_as_often_as_it_says(self):
        rng = np.random.default_rng(2)
        hits = [
            found.low <= 0.3 <= found.high
            for found in (statistics.interval(rng.random(20) < 0.3) for _ in range(400))
        ]
        assert np.mean(hits) >= 0.93

    @pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5]])
    def test_without_spread_there_is_no_interval(self, values):
        assert math.isnan(statistics.interval(values).low)
        assert "no interval" in str(statistics.interval(values))

    def test_no_values(self):
        with pytest.raises(SlmlabError, match="no values"):
            statistics.interval([None, float("nan")])

    def test_a_sure_difference_is_said(self):
        frame = scored(a=[1] * 17 + [0] * 3, b=[0] * 17 + [1] * 3)
        (row,) = statistics.paired(frame).to_dict("records")
        assert row["sentence"] == "a did better on 17 of 20 prompts, b on 3 (sign test, p = 0.003)."
        assert row["difference"] == pytest.approx(0.7)
        assert row["low"] > 0

    def test_an_unsure_one_too(self):
        frame = scored(a=[1, 1, 1, 0, *[1] * 16], b=[0, 0, 1, 1, *[1] * 16])
        (sentence,) = statistics.paired(frame)["sentence"]
        assert sentence.startswith("These 20 prompts can't tell a and b apart (a did better on 2")
        assert "could, if the shares stay" in sentence
        frame = scored(a=[1, 0], b=[0, 1])
        assert "no number of prompts would" in statistics.paired(frame)["sentence"][0]

    def test_repeats_are_averaged_and_missing_ones_left_out(self):
        frame = pd.concat([scored(a=[1, 0, 1], b=[0, 0, 0]), scored(a=[0, 0], b=[0, 1])])
        (row,) = statistics.paired(frame).to_dict("records")
        assert (row["n"], row["a_better"], row["b_better"], row["same"]) == (3, 2, 1, 0)

    def test_many_comparisons_are_corrected(self):
        rng = np.random.default_rng(0)
        frame = scored(**{f"m{i}": rng.random(15) for i in range(8)})
        pairs = statistics.paired(frame)
        assert len(pairs) == 28
        assert (pairs["p_adjusted"] >= pairs["p"]).all()
        assert "corrected for 28 comparisons" in pairs["sentence"][0]

    def test_planned_comparisons_are_fewer_and_need_less_of_a_correction(self):
        won = [1] * 8
        frame = scored(b=won, a=[0] * 8, c=[0, 1] * 4, d=won)
        planned = statistics.paired(frame, against="a")
        assert planned[["a", "b"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["a", "d"]]
        assert planned["difference"].tolist() == [-1, -0.5, -1]
        assert "corrected for 3 comparisons" in planned["sentence"][0]
        every = statistics.paired(frame)
        assert len(every) == 6
        assert planned["p_adjusted"][0] < every["p_adjusted"][0]
        with pytest.raises(SlmlabError, match="No row has 'A' in the column 'model'"):
            statistics.paired(frame, against="A")

    def test_other_things_than_models(self):
        frame = scored(a=[1, 1, 1, 1, 1, 1, 1], b=[0, 0, 0, 0, 0, 0, 0]).rename(
            columns={"model": "template"}
        )
        assert "a did better on 7 of 7" in statistics.paired(frame, by="template")["sentence"][0]

    def test_the_number_of_prompts_needed_gives_the_power(self):
        needed = statistics.prompts_needed(12, 6, 2)
        rng = random.Random(0)
        share, decided = 12.5 / 19, round(needed * 18 / 20)
        power = np.mean(
            [
                scipy.stats.binomtest(
                    sum(rng.random() < share for _ in range(decided)), decided
                ).pvalue
                < 0.05
                for _ in range(500)
            ]
        )
        assert 0.7 < power < 0.92
        assert statistics.prompts_needed(3, 3, 0) is None

    def test_mistakes_are_sentences(self):
        with pytest.raises(SlmlabError, match=r"no column 'score'\. Score the answers first"):
            statistics.paired(pd.DataFrame({"model": ["a"]}))
        with pytest.raises(SlmlabError, match="nothing to compare: `model` is 'a' in all rows"):
            statistics.paired(scored(a=[1, 0]))

    @given(some.lists(some.floats(0, 1), min_size=1, max_size=30))
    def test_an_interval_holds_its_mean(self, values):
        found = statistics.interval(values)
        assert math.isnan(found.low) or found.low - 1e-9 <= found.value <= found.high + 1e-9


class TestDifference:
    """Intervals of differences are two-sided, whatever the differences are."""

    @given(
        some.lists(
            some.tuples(some.sampled_from([0, 0.25, 1]), some.sampled_from([0, 0.25, 1])),
            min_size=1,
            max_size=40,
        ),
        some.booleans(),
    )
    def test_it_holds_its_mean_and_is_turned_by_turning_the_two(self, pairs, rates):
        a, b = zip(*((int(x), int(y)) if rates else (x, y) for x, y in pairs), strict=True)
        found, turned = statistics.difference(a, b), statistics.difference(b, a)
        assert turned.value == pytest.approx(-found.value)
        if not math.isnan(found.low):
            assert found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9
            assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
        if rates:
            assert -1 - 1e-9 <= found.low < found.high <= 1 + 1e-9
        if rates and a == b:
            assert found.low < 0 < found.high, "ties prove nothing, in neither direction"

    @pytest.mark.parametrize(
        ("both", "only_a", "only_b", "neither", "low", "high"),
        [
            # An example of the paper: Newcombe 1998, Statistics in Medicine 17, 2635-2650.
            (36, 12, 2, 0, 0.0569, 0.3404),
            # What another implementation gives.
            (89, 82, 21, 8, 0.2118, 0.3911),
        ],
    )
    def test_published_values(self, both, only_a, only_b, neither, low, high):
        a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
        b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
        found = statistics.difference(a, b)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
        turned = statistics.difference(b, a)
        assert (turned.low, turned.high) == pytest.approx((-high, -low), abs=1e-4)
        assert found.method == turned.method == "Newcombe"

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ([1] + [0] * 9, [0] * 10),
            ([0] * 10, [0] * 10),
            ([1] * 10, [1] * 10),
            ([0.5, 1] + [0.5] * 8, [0.5] * 10),
        ],
        ids=["one win in ten", "ten ties at 0", "ten ties at 1", "shares"],
    )
    def test_what_proves_nothing_holds_zero_inside(self, a, b):
        found = statistics.difference(a, b)
        assert found.low < 0 < found.high
        (row,) = statistics.paired(scored(a=a, b=b)).to_dict("records")
        assert (row["low"], row["high"], row["method"]) == (found.low, found.high, found.method)
        assert row["p"] == 1

    def test_shares_are_those_of_the_paired_t_test(self):
        rng = np.random.default_rng(0)
        a, b = rng.random(30), rng.random(30)
        right = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
        found = statistics.difference(a, b)
        assert (found.low, found.high) == pytest.approx((right.low, right.high))
        assert found.method == "t"

    def test_without_spread_there_is_no_interval(self):
        found = statistics.difference([0.5, 0.7], [0.4, 0.6])
        assert found.value == pytest.approx(0.1)
        assert math.isnan(found.low)
        with pytest.raises(SlmlabError, match="in pairs"):
            statistics.difference([1], [])

    def test_it_covers_as_often_as_it_says(self):
        rng, hits = np.random.default_rng(1), []
        for _ in range(300):
            # The harder a prompt is, the likelier both fail: 70 % and 40 % right, not independent.
            difficulty = rng.random(20)
            found = statistics.difference(difficulty < 0.7, difficulty < 0.4)
            hits.append(found.low <= 0.3 <= found.high)
        assert np.mean(hits) >= 0.92


class TestMeans:
    def test_repeats_are_no_prompts(self):
        frame = pd.DataFrame(
            [
                {"model": "a", "prompt_id": prompt, "repeat": repeat, "score": float(prompt < 3)}
                for prompt in range(4)
                for repeat in range(10)
            ]
        )
        (row,) = statistics.means(frame).to_dict("records")
        assert row["n"] == 4
        right = scipy.stats.binomtest(3, 4).proportion_ci(0.95)
        assert (row["low"], row["high"]) == pytest.approx((right.low, right.high))


class TestCorrection:
    # Benjamini and Hochberg 1995, their example: at 5 % their procedure rejects the first four.
    PUBLISHED = (
        *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
        *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
    )

    def test_published_values_and_their_sentences(self, monkeypatch):
        p_values = iter(self.PUBLISHED)
        monkeypatch.setattr(statistics, "_sign_test", lambda better, worse: next(p_values))
        rng = np.random.default_rng(0)
        pairs = statistics.paired(scored(**{name: rng.random(9) for name in "abcdef"}))
        assert pairs["p"].tolist() == list(self.PUBLISHED)
        assert (pairs["p_adjusted"] < 0.05).tolist() == [True] * 4 + [False] * 11
        assert pairs["p_adjusted"][:4].tolist() == pytest.approx(
            [0.0015, 0.0030, 0.0095, 0.0095 * 15 / 4]
        )
        unsure = pairs["sentence"].str.startswith("These 9 prompts can't tell")
        assert unsure.tolist() == [False] * 4 + [True] * 11
        assert "p = 0.060" in pairs["sentence"][4], "the corrected one, where 0.0201 was not"


def test_two_without_prompts_in_common_leave_the_other_pairs():
    rows = [("a", 0, 1), ("b", 1, 0), ("c", 0, 0), ("c", 1, 1)]
    frame = pd.DataFrame(rows, columns=["model", "prompt_id", "score"])
    assert statistics.paired(frame)[["a", "b"]].to_numpy().tolist() == [["a", "c"], ["b", "c"]]


class TestPower:
    @pytest.mark.parametrize("comparisons", [1, 10])
    @pytest.mark.parametrize("split", [(12, 6, 2), (12, 6, 18), (14, 4, 60)])
    def test_so_many_prompts_give_80_percent_with_ties(self, split, comparisons):
        better, worse, same = split
        needed = statistics.prompts_needed(better, worse, same, comparisons)
        decided = better + worse
        share = (better + 0.5) / (decided + 1)
        rng = np.random.default_rng(0)
        n = rng.binomial(needed, decided / (decided + same), 4000)
        wins = rng.binomial(n, share)
        p = np.minimum(1, 2 * scipy.stats.binom.sf(np.maximum(wins, n - wins) - 1, n, 0.5))
        power = (p < 0.05 / comparisons).mean()
        assert 0.75 < power < 0.87

    def test_more_comparisons_need_more_prompts_and_the_sentence_says_so(self):
        assert statistics.prompts_needed(12, 6, 2, 6) > statistics.prompts_needed(12, 6, 2)
        a, b = [1] * 12 + [0] * 6 + [1] * 2, [0] * 12 + [1] * 6 + [1] * 2
        alone = statistics.paired(scored(a=a, b=b))["sentence"][0]
        among = statistics.paired(scored(a=a, b=b, c=[0.5] * 20, d=[0.5] * 20))["sentence"][0]
        assert f"about {statistics.prompts_needed(12, 6, 2):,} could" in alone
        assert f"about {statistics.prompts_needed(12, 6, 2, 6):,} could" in among


class TestWaysToAsk:
    """Where what is compared makes the text, prompts are told apart by their numbers."""

    FRAME = pd.DataFrame(
        {
            "model": "m",
            "prompt_id": [0, 1, 2] * 2,
            "prompt": ["a", "b", "c", "Please: a", "Please: b", "Please: c"],
            "way": ["plain"] * 3 + ["polite"] * 3,
            "repeat": 0,
            "score": [0.0, 0.0, 1.0, 1.0, 1.0, 1.0],
        }
    )

    def test_a_column_of_ones_own(self):
        (row,) = statistics.paired(self.FRAME, by="way").to_dict("records")
        assert (row["n"], row["a_better"], row["b_better"], row["same"]) == (3, 0, 2, 1)

    def test_a_template(self):
        frame = self.FRAME.rename(columns={"way": "template"})
        assert statistics.paired(frame, by="template")["n"].tolist() == [3]

    def test_numbers_that_stand_for_several_prompts_are_not_guessed(self):
        other = self.FRAME.assign(prompt=self.FRAME["prompt"] + "!")
        joined = pd.concat([self.FRAME, other])
        with pytest.raises(SlmlabError, match="a column `task`"):
            statistics.paired(joined, by="way")
        tasks = pd.concat([self.FRAME.assign(task="one"), other.assign(task="two")])
        assert statistics.paired(tasks, by="way")["n"].tolist() == [6]

    def test_models_are_compared_on_the_same_texts_only(self):
        other = self.FRAME.assign(model="n", prompt=self.FRAME["prompt"] + "!")
        with pytest.raises(SlmlabError, match="nothing to compare"):
            statistics.paired(pd.concat([self.FRAME, other]))

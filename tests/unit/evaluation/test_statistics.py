"""Intervals, tests, and the number of prompts needed."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest
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
        assert "no number would" in statistics.paired(frame)["sentence"][0]

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

    def test_other_things_than_models(self):
        frame = scored(a=[1, 1, 1, 1, 1, 1, 1], b=[0, 0, 0, 0, 0, 0, 0]).rename(
            columns={"model": "template"}
        )
        assert "a did better on 7 of 7" in statistics.paired(frame, by="template")["sentence"][0]

    def test_the_number_of_prompts_needed_gives_the_power(self):
        needed = statistics.prompts_needed(12, 6, 2)
        rng = random.Random(0)
        share, decided = 12.5 / 19, round(needed * 18 / 20)
        from scipy import stats

        power = np.mean(
            [
                stats.binomtest(sum(rng.random() < share for _ in range(decided)), decided).pvalue
                < 0.05
                for _ in range(500)
            ]
        )
        assert 0.7 < power < 0.92
        assert statistics.prompts_needed(3, 3, 0) is None

    def test_mistakes_are_sentences(self):
        with pytest.raises(SlmlabError, match=r"no column 'score'\. Score the answers first"):
            statistics.paired(pd.DataFrame({"model": ["a"]}))
        with pytest.raises(SlmlabError, match="nothing to compare"):
            statistics.paired(scored(a=[1, 0]))

    @given(some.lists(some.floats(0, 1), min_size=1, max_size=30))
    def test_an_interval_holds_its_mean(self, values):
        found = statistics.interval(values)
        assert math.isnan(found.low) or found.low - 1e-9 <= found.value <= found.high + 1e-9

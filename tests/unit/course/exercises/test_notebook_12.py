"""The checks of notebook 12: right answers and wrong ones, in several forms."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmlab.course.exercises.notebook_12 import check_12_1, check_12_3
from slmlab.evaluation.evaluate import Evaluation
from slmlab.evaluation.statistics import interval
from tests.support.properties import MANY
from tests.support.records import comparison

PRICE = {"input": 0.20, "output": 1.25}
PRICES = st.fixed_dictionaries(
    {"input": st.floats(0.001, 100), "output": st.floats(0.001, 500)},
)


def evaluation(scores: list[int], model: str = "m", finished: bool = True, **more: object):
    """An evaluation of the items r0, r1, … with these scores."""
    rows = [
        {
            "model": model,
            "id": f"r{number}",
            "task": "danger",
            "prompt": f"P{number}",
            "text": f"{score} {more}",
            "score": float(score),
            "prompt_id": number,
            "repeat": 0,
            **more,
        }
        for number, score in enumerate(scores)
    ]
    return Evaluation("check", comparison(rows), pd.DataFrame(), [], [], finished)


class TestCosts:
    @MANY
    @given(PRICES)
    def test_any_prices(self, price):
        right = 60_000 * 600 / 1e6 * price["input"] + 60_000 * 2 / 1e6 * price["output"]
        for value in (
            right,
            np.float64(right),
            round(right, 4) if right > 1 else right,
            f"{right}",
        ):
            assert check_12_1(value, price) is None
        for wrong in (right * 1.05, right / 2, right * 1e6, -right, right * 1e3):
            assert check_12_1(wrong, price)

    def test_one_prompt_is_told_from_all(self, verdict, capsys):
        assert verdict("12.1", 7.35, PRICE)
        assert "there are 60,000" in str(check_12_1(7.35 / 60_000, PRICE))
        assert not verdict("12.1", "much", PRICE)


class TestOneChange:
    BEFORE = evaluation([1] * 12 + [0] * 4, template="long")

    @pytest.mark.parametrize("of", [list, tuple, set, np.array, pd.Series, dict.fromkeys])
    def test_what_got_worse(self, verdict, of):
        worse = evaluation([0] * 12 + [0] * 4, template="short")
        assert verdict("12.2", worse, of(["m"]), self.BEFORE)
        assert not verdict("12.2", worse, of(["n"]), self.BEFORE)

    def test_nothing_may_have_got_worse(self, verdict):
        for scores in ([1] * 16, [1] * 11 + [0] * 5, [1] * 12 + [0] * 4):
            mine = evaluation(scores, template="short")
            assert verdict("12.2", mine, [], self.BEFORE)
            assert verdict("12.2", mine, set(), self.BEFORE)
            assert not verdict("12.2", mine, ["m"], self.BEFORE)

    def test_a_name_is_no_list(self, verdict):
        worse = evaluation([0] * 16, template="short")
        assert not verdict("12.2", worse, "m", self.BEFORE)

    def test_one_of_several_models_is_enough(self, verdict):
        two = [self.BEFORE.frame, evaluation([1] * 16, "n", template="long").frame]
        before = replace(self.BEFORE, frame=pd.concat(two))
        assert verdict("12.2", evaluation([1] * 12 + [0] * 4, template="short"), [], before)
        assert verdict("12.2", evaluation([0] * 16, "n", template="short"), ["n"], before)
        assert not verdict("12.2", evaluation([0] * 16, "o", template="short"), [], before)
        assert not verdict("12.2", evaluation([0] * 5, "n", template="short"), [], before)

    def test_something_has_to_differ(self, verdict):
        assert not verdict("12.2", self.BEFORE, [], self.BEFORE)
        assert not verdict("12.2", evaluation([1] * 12 + [0] * 4, template="long"), [], self.BEFORE)

    def test_the_same_items_and_all_of_them(self, verdict):
        assert not verdict("12.2", evaluation([1] * 5, template="short"), [], self.BEFORE)
        stopped = evaluation([1] * 16, template="short", finished=False)
        assert not verdict("12.2", stopped, [], self.BEFORE)
        assert not verdict("12.2", self.BEFORE.frame, [], self.BEFORE)


class TestAThresholdFromCosts:
    def test_the_smallest_number_that_shows_it(self, verdict):
        needed = next(n for n in range(1, 1_000) if interval([1] * n).low >= 0.98)
        assert needed == 183
        for right in (needed, float(needed), np.int64(needed)):
            assert verdict("12.3", 0.98, right)
            assert verdict("12.3", 1 - 0.4 / 20, right)
        assert not verdict("12.3", 98, needed)
        assert not verdict("12.3", 0.02, needed)

    @MANY
    @given(st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=4)))
    def test_no_other_number(self, needed):
        # check() catches these, and tells what it expects.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            assert (check_12_3(0.98, needed) is None) == (needed == 183)

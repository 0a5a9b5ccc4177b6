"""Pass rates over repeats, and the shares of prompts and seeds in the spread of scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from slmlab.errors import SlmlabError
from slmlab.evaluation import repeats


def repeated(*cases: list[float], model: str = "a") -> pd.DataFrame:
    """The scores of a model, a list for each prompt."""
    return pd.DataFrame(
        [
            {"model": model, "prompt_id": p, "repeat": r, "score": float(value), "text": str(value)}
            for p, values in enumerate(cases)
            for r, value in enumerate(values)
        ]
    )


class TestPassRates:
    def test_one_of_k_and_all_of_k(self):
        found = repeats.pass_rates(repeated([1, 1, 0], [0, 0, 0], [1, 1, 1]), k=[1, 2, 3])
        assert found["any_right"].tolist() == pytest.approx([5 / 9, 2 / 3, 2 / 3])
        assert found["all_right"].tolist() == pytest.approx([5 / 9, (1 / 3 + 1) / 3, 1 / 3])
        assert found["n"].tolist() == [3, 3, 3]

    @given(
        right=some.lists(some.booleans(), min_size=1, max_size=7),
        k=some.integers(min_value=1, max_value=7),
    )
    def test_the_estimates_are_means_over_all_choices(self, right, k):
        k = min(k, len(right))
        found = repeats.pass_rates(repeated([float(one) for one in right]), k=k).iloc[0]
        chosen = list(itertools.combinations(right, k))
        assert found["any_right"] == pytest.approx(np.mean([any(one) for one in chosen]))
        assert found["all_right"] == pytest.approx(np.mean([all(one) for one in chosen]))

    def test_by_default_one_and_all(self):
        assert repeats.pass_rates(repeated([1, 0, 1], [1, 1, 1]))["k"].tolist() == [1, 3]

    def test_without_repeats_one_row(self):
        assert repeats.pass_rates(repeated([1], [0]))["k"].tolist() == [1]

    def test_only_prompts_with_enough_answers_count(self):
        found = repeats.pass_rates(repeated([1, 1, 1], [0, 0], [1, math.nan, 1]), k=3)
        assert found[["any_right", "n"]].values.tolist() == [[1.0, 1]]

    def test_what_counts_as_right(self):
        table = repeated([0.8, 0.5], [0.9, 0.7])
        assert repeats.pass_rates(table, k=2)["any_right"].item() == 0
        assert repeats.pass_rates(table, k=2, right=0.7)["all_right"].item() == 0.5

    def test_models_are_told_apart(self):
        both = pd.concat([repeated([1, 1]), repeated([0, 0], model="b")])
        assert repeats.pass_rates(both, k=2)["any_right"].tolist() == [1, 0]

    @pytest.mark.parametrize("k", [0, 4, True, 1.5, [1, 4], "2"])
    def test_an_impossible_k(self, k):
        with pytest.raises(SlmlabError, match="from 1 to 3, the number of scored answers"):
            repeats.pass_rates(repeated([1, 0, 1]), k=k)

    def test_no_scores(self):
        with pytest.raises(SlmlabError, match="score"):
            repeats.pass_rates(repeated([1]).drop(columns="score"))
        with pytest.raises(SlmlabError, match="no answer has a score"):
            repeats.pass_rates(repeated([math.nan, math.nan]))


class TestVariation:
    def test_all_from_the_prompts(self):
        (row,) = repeats.variation(repeated([1, 1, 1], [0, 0, 0])).to_dict("records")
        assert (row["seed_share"], row["prompt_share"], row["distinct"]) == (0, 1, 1)
        assert (row["prompts"], row["answers"]) == (2, 6)

    def test_all_from_the_seeds(self):
        (row,) = repeats.variation(repeated([1, 0], [0, 1])).to_dict("records")
        assert (row["seed_share"], row["prompt_share"], row["distinct"]) == (1, 0, 2)

    def test_shares_that_were_put_in_come_out(self):
        rng = np.random.default_rng(1)
        prompts = rng.normal(0, 2, (2_000, 1))
        found = repeats.variation(repeated(*(prompts + rng.normal(0, 1, (2_000, 5))).tolist()))
        assert found["seed_share"].item() == pytest.approx(1 / 5, abs=0.03)

    def test_prompts_with_unequal_numbers_of_answers(self):
        rng = np.random.default_rng(2)
        cases = [
            (rng.normal(0, 1) + rng.normal(0, 1, rng.integers(1, 6))).tolist() for _ in range(900)
        ]
        found = repeats.variation(repeated(*cases))
        assert found["seed_share"].item() == pytest.approx(1 / 2, abs=0.06)

    @pytest.mark.parametrize("cases", [([1, 1], [1, 1]), ([1, 0, 1],)])
    def test_shares_are_unknown_without_a_difference_or_a_second_prompt(self, cases):
        assert math.isnan(repeats.variation(repeated(*cases))["seed_share"].item())

    def test_thoughts_do_not_make_an_answer_another(self):
        table = repeated([1, 1])
        table["text"] = ["<think>Hm.</think>Yes.", " Yes.\n"]
        assert repeats.variation(table)["distinct"].item() == 1

    def test_no_repeats(self):
        with pytest.raises(SlmlabError, match="repeats=5"):
            repeats.variation(repeated([1], [0]))

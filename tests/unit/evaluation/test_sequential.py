"""The test that may be read after every prompt: its error rate, and how soon it ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy

import slmlab
from slmlab.errors import PromptError
from slmlab.evaluation import sequential
from slmlab.evaluation.sequential import DECISIVE, decide, evidence


def wins_until(share: float, runs: int, prompts: int, seed: int) -> np.ndarray:
    """In each of many comparisons, when the evidence first decides; 0 if it never does."""
    rng = np.random.default_rng(seed)
    won = np.cumsum(rng.random((runs, prompts)) < share, axis=1)
    asked = np.arange(1, prompts + 1)
    table = {
        (n, w): evidence(w, n - w) >= DECISIVE for n in range(1, prompts + 1) for w in range(n + 1)
    }
    decided = np.array([[table[n, w] for n, w in zip(asked, row, strict=True)] for row in won])
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, 0)


class TestEvidence:
    @pytest.mark.parametrize(("better", "worse"), [(0, 0), (8, 0), (3, 5), (20, 20)])
    def test_it_is_the_ratio_of_likelihoods(self, better, worse):
        shares = np.linspace(0, 1, 20_001)
        average = np.trapezoid(shares**better * (1 - shares) ** worse, shares)
        assert evidence(better, worse) == pytest.approx(average / 0.5 ** (better + worse), rel=1e-4)

    def test_it_does_not_matter_who_is_better(self):
        assert evidence(12, 3) == evidence(3, 12)

    def test_eight_wins_of_eight_decide_and_seven_do_not(self):
        assert evidence(7, 0) < DECISIVE <= evidence(8, 0)

    def test_many_prompts_are_no_overflow(self):
        assert evidence(1_000_000, 0) > 1e300
        assert evidence(500_000, 500_000) < 1

    def test_equal_models_are_told_apart_in_at_most_5_percent(self):
        """With a look after each of 300 prompts."""
        assert (wins_until(0.5, runs=2_000, prompts=300, seed=1) > 0).mean() <= 0.05

    def test_a_sign_test_read_after_every_prompt_is_wrong_far_more_often(self):
        """So the evidence is not needlessly strict."""
        rng = np.random.default_rng(2)
        won = np.cumsum(rng.random((300, 300)) < 0.5, axis=1)
        p = (
            scipy.stats.binom.cdf(np.minimum(won, np.arange(1, 301) - won), np.arange(1, 301), 0.5)
            * 2
        )
        assert (p < 0.05).any(axis=1).mean() > 0.2

    def test_a_clear_winner_takes_few_prompts(self):
        when = wins_until(0.9, runs=500, prompts=200, seed=3)
        assert (when > 0).mean() > 0.999
        assert np.median(when) <= 15


class TestDecide:
    @pytest.fixture
    def answers(self, monkeypatch):
        """Models whose answers are right by the prompt's number; how many prompts were asked."""
        asked: list[int] = []

        def given(right: dict[str, set[int]]):
            def compare(models, prompts, *, until, step, **_):
                for first in range(0, len(prompts), step):
                    some = list(enumerate(prompts))[first : first + step]
                    asked.append(some[-1][0] + 1)
                    if until(answers_to(models, some)):
                        return

            def answers_to(models, some):
                return pd.DataFrame(
                    [
                        {
                            "model": model,
                            "prompt_id": number,
                            "prompt": row["prompt"],
                            "text": row["expected"] if row["n"] in right[model] else "?",
                            "error": None,
                            "expected": row["expected"],
                            "scorer": "exact",
                        }
                        for model in models
                        for number, row in some
                    ]
                )

            monkeypatch.setattr(sequential, "compare", compare)
            return asked

        return given

    @staticmethod
    def prompts(count: int) -> list[dict]:
        return [{"n": n, "prompt": f"P{n}", "expected": f"E{n}"} for n in range(count)]

    def test_a_clear_winner_stops_it(self, answers):
        asked = answers({"a": set(range(200)), "b": set()})
        found = decide(["a", "b"], self.prompts(200), quiet=True)
        assert (found.better, asked) == ("a", [4, 8])
        assert str(found) == (
            "a is better: decided after 8 of 200 prompts, of which a did better on 8 and b on 0 "
            "(evidence 28.4; 20 decides)."
        )
        assert len(found.frame) == 16

    def test_the_second_may_be_the_better(self, answers):
        answers({"a": set(), "b": set(range(50))})
        assert decide(["a", "b"], self.prompts(50), quiet=True).better == "b"

    def test_it_ends_where_the_rest_cannot_decide(self, answers):
        asked = answers({"a": set(range(40)), "b": set(range(40))})
        found = decide(["a", "b"], self.prompts(40), quiet=True)
        assert found.better is None
        assert asked[-1] == 36  # 4 more wins could not decide
        assert "It is not decided after 36 of 40 prompts" in str(found)
        assert str(found).endswith("; the other 4 could not change that.")

    def test_the_order_is_random_and_always_the_same(self, answers):
        """The first half favours one model, the second the other: no early verdict."""
        asked = answers({"a": set(range(20)), "b": set(range(20, 40))})
        assert decide(["a", "b"], self.prompts(40), quiet=True).better is None
        first = list(asked)
        assert decide(["a", "b"], self.prompts(40), quiet=True).better is None
        assert asked == first * 2

    def test_it_says_where_it_stands(self, answers, capsys):
        answers({"a": set(range(9)), "b": set()})
        decide(["a", "b"], self.prompts(9))
        assert "8 prompts: a did better on 8, b on 0" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("option", "said"),
        [("timing", "no option 'timing'"), ("tempratur", "Did you mean 'temperature'")],
    )
    def test_what_it_does_not_take(self, option, said):
        with pytest.raises(PromptError, match=said):
            decide(["a", "b"], self.prompts(9), **{option: 1})

    @pytest.mark.parametrize(
        "several",
        [
            {"temperature": [0, 1]},
            {"stop": [["a"], ["b"]]},
            {"template": ["{prompt}!", "{prompt}?"]},
            {"system": ["Be brief.", None]},
        ],
    )
    def test_settings_are_not_averaged(self, several):
        (name,) = several
        with pytest.raises(PromptError, match=f"in one setting, and {name} has 2 values"):
            decide(["a", "b"], self.prompts(9), **several)

    @pytest.mark.parametrize("models", ["a", ["a", "a"], ["a", "b", "c"]])
    def test_two_models(self, models):
        with pytest.raises(PromptError, match="compares two models"):
            decide(models, ["x"], "exact")

    def test_no_prompts(self):
        with pytest.raises(PromptError):
            decide(["a", "b"], [], "exact")

    def test_a_prompt_that_is_there_twice_counts_once(self):
        rows = [{"id": number, "prompt": "A"} for number in range(20)]
        for same in (["A"] * 20, rows):
            with pytest.raises(PromptError, match="1 prompts can never decide"):
                slmlab.decide(["a", "b"], same, "exact")

    def test_too_few_prompts_are_told_before_anything_runs(self):
        with pytest.raises(PromptError, match="7 prompts can never decide; give at least 8"):
            decide(["a", "b"], self.prompts(7), "exact")


def test_it_is_public():
    assert slmlab.decide is decide

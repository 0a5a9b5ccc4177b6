"""Whether a judge can be trusted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from slmlab.errors import SlmlabError
from slmlab.evaluation import votes
from slmlab.evaluation.judge_checks import FEWEST
from slmlab.show import sanitize


def judged(rows, voter="m"):
    """Votes of a judge from its verdicts in each order and the lengths of both answers."""
    found = []
    for number, (first, second, length_a, length_b) in enumerate(rows):
        consistent = first is not None and first == second
        found.append(
            {
                "voter": voter,
                "prompt": str(number),
                "model_a": "x",
                "model_b": "y",
                "winner": first if consistent else "tie",
                "first": first,
                "second": second,
                "consistent": consistent,
                "length_a": length_a,
                "length_b": length_b,
            }
        )
    return pd.DataFrame(found)


def people(winners, turned=False):
    a, b = ("y", "x") if turned else ("x", "y")
    rows = [{"prompt": str(n), "model_a": a, "model_b": b} for n in range(len(winners))]
    return pd.DataFrame(rows).assign(winner=winners, voter="Ada")


class TestBias:
    def test_one_that_prefers_what_it_reads_first(self):
        # The first place means a in the first order, and b (as ours) in the second.
        (row,) = votes.judge_bias(judged([("a", "b", 5, 9)] * 12)).to_dict("records")
        assert (row["first"], row["consistent"], row["unread"]) == (1, 0, 0)
        assert row["first_low"] > 0.5
        assert "prefers the answer that it reads first (12 of 12 pairs" in row["sentence"]
        assert "it decided no pair" in row["sentence"]
        (row,) = votes.judge_bias(judged([("b", "a", 5, 9)] * 12)).to_dict("records")
        assert row["first"] == 0
        assert "reads second" in row["sentence"]

    def test_one_that_sees_answers_and_not_places(self):
        rows = [("a", "a", 9, 5), ("b", "b", 5, 9), ("a", "a", 5, 9), ("tie", "tie", 1, 2)] * 5
        (row,) = votes.judge_bias(judged(rows)).to_dict("records")
        assert (row["first"], row["consistent"]) == (0.5, 1)
        assert row["longer"] == pytest.approx(10 / 15)
        assert row["longer_low"] < row["longer"] < row["longer_high"]
        assert "no preference for a place" in row["sentence"]
        assert "the longer answer won 67% of 15 decided pairs" in row["sentence"]

    def test_several_judges_and_replies_without_a_verdict(self):
        both = pd.concat(
            [judged([(None, None, 1, 2)] * 3), judged([("a", None, 1, 2)] * 3, voter="n")]
        )
        table = votes.judge_bias(both)
        assert table["voter"].tolist() == ["m", "n"]
        assert table["unread"].tolist() == [1, 0.5]
        assert np.isnan(table["first"][0])
        assert "no verdict that can be read" in table["sentence"][0]
        with pytest.raises(SlmlabError, match="length_a"):
            votes.judge_bias(both.drop(columns="length_a"))


class TestCheckJudge:
    def test_one_that_agrees(self):
        winners = ["a", "b"] * 10
        table = judged([(one, one, 1, 2) for one in winners])
        for labels in (people(winners), people([{"a": "b", "b": "a"}[w] for w in winners], True)):
            (row,) = votes.check_judge(table, labels).to_dict("records")
            assert (row["n"], row["agreement"], row["kappa"]) == (20, 1, 1)
            assert row["chance"] == pytest.approx(0.5)
            assert row["better_than_chance"]
            assert "better than chance" in row["sentence"]

    def test_one_that_always_says_the_same_is_no_better_than_chance(self):
        winners = ["a"] * 15 + ["b"] * 5
        (row,) = votes.check_judge(judged([("a", "a", 1, 2)] * 20), people(winners)).to_dict(
            "records"
        )
        assert row["agreement"] == 0.75, "which looks good"
        assert (row["kappa"], row["p"]) == (pytest.approx(0), 1)
        assert "no better than chance" in row["sentence"]

    def test_coins_are_called_better_in_one_of_twenty_cases(self, monkeypatch):
        monkeypatch.setattr("slmlab.evaluation.judge_checks.PERMUTATIONS", 499)
        draw, called = np.random.default_rng(1), 0
        for _ in range(60):
            coins = draw.choice(["a", "b"], 20)
            table = judged([(one, one, 1, 2) for one in coins])
            called += votes.check_judge(table, people(draw.choice(["a", "b"], 20)))[
                "better_than_chance"
            ].item()
        assert called <= 8  # the probability of more, at a rate of 5 %, is below 0.01

    def test_several_people_and_too_few_pairs(self):
        table = judged([("a", "a", 1, 2)] * 12)
        three = pd.concat([people(["a"] * 12), people(["b"] * 12), people(["a"] * 12)])
        assert votes.check_judge(table, three)["agreement"].item() == 1
        two = pd.concat([people(["a"] * 12), people(["both bad"] * 12)])
        assert votes.check_judge(table, two)["agreement"].item() == 0, "a tie among people"
        with pytest.raises(SlmlabError, match="9 pairs in common"):
            votes.check_judge(table, people(["a"] * (FEWEST - 1)))

    def test_conversations_are_the_same_prompts_as_in_the_widgets_votes(self):
        said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        table = judged([("a", "a", 1, 2)] * 12)
        table["prompt"] = [[*said, {"role": "user", "content": n}] for n in table["prompt"]]
        human = people(["a"] * 12)
        human["prompt"] = [sanitize.prompt_text(one) for one in table["prompt"]]
        assert votes.check_judge(table, human)["n"].item() == 12


class TestCalibrate:
    @pytest.mark.parametrize(("noise", "labels"), [(0.1, 20), (0.1, 50), (3.0, 20), (3.0, 50)])
    def test_the_interval_holds_whatever_the_judge_is_worth(self, noise, labels, monkeypatch):
        """Of many drawn studies, about 95 % have the true mean within the interval."""
        monkeypatch.setattr("slmlab.evaluation.judge_checks.PERMUTATIONS", 1)
        draw, studies, held, widths = np.random.default_rng(0), 500, 0, []
        for _ in range(studies):
            true = draw.choice([0.0, 0.25, 0.5, 0.75, 1.0], 300, p=[0.1, 0.1, 0.2, 0.3, 0.3])
            scores = true + 0.3 + noise * draw.normal(size=300)
            found = votes.calibrate(scores, [*true[:labels], *[None] * (300 - labels)])
            held += found.estimate.low <= 0.65 <= found.estimate.high
            widths.append(
                (found.estimate.high - found.estimate.low) / (found.human.high - found.human.low)
            )
        # 0.95 less what a simulation of this size may be off, and what estimating the weight costs.
        assert held / studies >= 0.92
        assert np.mean(widths) < 0.7 if noise < 1 else 0.9 < np.mean(widths) < 1.02

    def test_a_judge_that_knows_nothing_is_called_so(self):
        draw = np.random.default_rng(3)
        labels = draw.integers(0, 2, 30).astype(float)
        found = votes.calibrate(draw.random(200), [*labels, *[None] * 170])
        assert not found.better_than_chance
        assert "no better than chance" in str(found)
        sure = votes.calibrate([*labels, *draw.random(170)], [*labels, *[None] * 170])
        assert sure.better_than_chance
        assert "the judge is better than chance" in str(sure)
        assert "narrower than by the 30 labels alone" in str(sure)

    def test_constant_and_missing_scores(self):
        labels = [0.0, 1.0] * 10 + [None] * 20
        found = votes.calibrate([1.0] * 40, labels)
        assert found.estimate == found.human
        assert (found.correlation, found.p, found.better_than_chance) == (0, 1, False)
        assert votes.calibrate([None, *[0.0, 1.0] * 19, 1.0], labels).estimate.n == 40
        everything = votes.calibrate([0.1] * 20, [1.0] * 20)
        assert "People would give 1.00" in str(everything)

    def test_labels_that_are_all_equal_are_not_sure_of_the_others(self):
        draw = np.random.default_rng(4)
        found = votes.calibrate(draw.random(40), [0.75] * 12 + [None] * 28)
        assert np.isnan(found.estimate.low)
        assert "as in all 12 labels, so there is no interval" in str(found)
        rate = votes.calibrate(draw.random(40), [1.0] * 12 + [None] * 28).estimate
        assert (round(rate.low, 2), rate.high) == (0.74, 1.0)

    @pytest.mark.parametrize(
        ("judge", "human", "said"),
        [
            ([1.0] * 20, [1.0] * 9 + [None] * 11, "9 labels"),
            ([1.0] * 19, [1.0] * 20, "19 scores, 20 places"),
            ([None] * 20, [1.0] * 20, "score by the judge"),
            (["good"] * 20, [1.0] * 20, "`judge` has something that is no score"),
            ([1.0] * 20, [math.inf] * 20, "`human` has something that is no score: inf"),
        ],
    )
    def test_what_cannot_be_calibrated(self, judge, human, said):
        with pytest.raises(SlmlabError, match=said):
            votes.calibrate(judge, human)

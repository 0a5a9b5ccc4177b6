"""Scores that need a model."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.errors import ModelError, SlmlabError
from slmlab.evaluation import judge, scorers, statistics, tasks, votes
from tests.support.engines import BASE, MINILM, SHALLOW, SMOL


class TestScorers:
    def test_similar_by_embeddings(self, here):
        near = scorers.similar(MINILM)
        row = {"expected": "The cat sleeps on the sofa."}
        same, other = near(row["expected"], row), near("Interest rates rose in March.", row)
        assert same == pytest.approx(1, abs=0.01)
        assert 0 <= other < same
        assert near(" ", row) == 0
        with pytest.raises(ModelError, match="no model 'nope'"):
            scorers.similar("nope")


class TestTasks:
    def test_models_run_them(self, here):
        frame = slmlab.score(
            slmlab.compare(
                [SHALLOW, BASE],
                tasks.load("sentiment", 6),
                num_predict=12,
                temperature=0,
                timing=False,
                quiet=True,
            )
        )
        assert frame["score"].between(0, 1).all()
        table = statistics.means(frame, by=["model", "task"])
        assert table["n"].tolist() == [6, 6]
        assert (table["low"] <= table["mean"]).all()
        assert "sign test" in statistics.paired(frame)["sentence"][0]


class TestVotes:
    def test_a_judge_is_asked_in_both_orders(self, here):
        frame = slmlab.compare(
            [SMOL, BASE], ["Name a colour.", "Name a fruit."], num_predict=12, quiet=True
        )
        verdicts = votes.judge(frame, SMOL, quiet=True)
        assert len(verdicts) == 2
        assert set(verdicts["winner"]) <= {"a", "b", "tie"}
        # The judge's own words, from the records of the same questions, read again here.
        texts = frame.groupby("prompt_id", sort=False)["text"].apply(list)
        questions = [
            {"question": question, "one": one, "two": two}
            for question, (x, y) in zip(frame["prompt"].unique(), texts, strict=True)
            for one, two in ((x, y), (y, x))
        ]
        replies = slmlab.compare(
            SMOL,
            questions,
            template=judge.JUDGE_TEMPLATE,
            num_predict=8,
            temperature=0,
            timing=False,
            quiet=True,
        )["text"]
        meant = {"1": "a", "2": "b", "tie": "tie"}
        for row, forward, turned in zip(
            verdicts.to_dict("records"), replies[::2], replies[1::2], strict=True
        ):
            first, second = (meant.get(text.strip(" .").lower()) for text in (forward, turned))
            second = {"a": "b", "b": "a"}.get(second, second)
            agreed = first is not None and first == second
            assert agreed <= row["consistent"], "a plain verdict in both orders counts"
            assert row["winner"] == (row["first"] if row["consistent"] else "tie")
            assert not agreed or row["winner"] == first
        assert 0 <= votes.judge_consistency(verdicts).value <= 1
        assert votes.agreement(verdicts["winner"], verdicts["winner"]).value == 1
        with pytest.raises(SlmlabError, match="answers of two models"):
            votes.judge(frame[frame["model"] == SMOL], SMOL)

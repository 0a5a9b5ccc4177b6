"""Real models as judges of answers that are known to be right or wrong."""

from __future__ import annotations

import pandas as pd
import pytest

from slmlab.evaluation import votes
from slmlab.run import results
from tests.support.engines import SMOL
from tests.support.records import record

# Questions, each with a right and a wrong answer; the right ones are now longer, now shorter.
ANSWERS = [
    ("What is 2 + 2?", "4", "It is 5, as everybody can count."),
    ("What is the capital of France?", "Paris is the capital of France.", "Lyon."),
    ("What colour is grass?", "Green.", "Grass is blue, like the sky."),
    ("How many legs has a spider?", "A spider has eight legs.", "Two."),
    ("What is frozen water called?", "Ice.", "Frozen water is called steam."),
    ("Who wrote Hamlet?", "It was written by William Shakespeare.", "Madonna."),
    ("What is 10 - 3?", "7", "The result is 13, without a doubt."),
    ("Which animal barks?", "The dog is the animal that barks.", "The fish."),
    ("How many days has a week?", "Seven.", "A week has exactly ten days."),
    ("What do bees make?", "Bees make honey from nectar.", "Milk."),
]


@pytest.fixture(scope="module")
def answers() -> pd.DataFrame:
    rows, columns = [], []
    for number, (question, right, wrong) in enumerate(ANSWERS):
        for model, text in (("right", right), ("wrong", wrong)):
            rows.append(record(model=model, prompt=question, text=text))
            columns.append({"prompt_id": number, "repeat": 0})
    return results.to_frame(rows, columns)


def test_a_small_judge_is_called_what_it_is(here, answers, capsys):
    judged = votes.judge(answers, SMOL, quiet=True)
    human = pd.DataFrame(
        [
            {"prompt": question, "model_a": "wrong", "model_b": "right", "winner": "b"}
            for question, _, _ in ANSWERS[:-1]
        ]
        + [{"prompt": ANSWERS[-1][0], "model_a": "right", "model_b": "wrong", "winner": "tie"}]
    )
    bias, checked = votes.judge_bias(judged), votes.check_judge(judged, human)
    assert checked["voter"].tolist() == [SMOL]
    assert (checked["n"] == len(ANSWERS)).all()
    for row in checked.to_dict("records"):
        own = judged[judged["voter"] == row["voter"]]
        said = (own["winner"] == "a").tolist()[:-1]  # model_a is the right one here
        assert row["agreement"] == pytest.approx(
            (sum(said) + (own["winner"].iloc[-1] == "tie")) / len(ANSWERS)
        )
        assert ("no better than chance" in row["sentence"]) == (row["p"] >= 0.05)
    # A judge of 135 million parameters is no judge.
    assert not checked["better_than_chance"][0]
    for row in bias.to_dict("records"):
        own = judged[judged["voter"] == row["voter"]]
        assert row["consistent"] == pytest.approx(own["consistent"].mean())
        assert row["voter"] in row["sentence"]
    unread = int(judged[["first", "second"]].isna().sum().sum())
    assert ("no verdict that can be read" in capsys.readouterr().err) == bool(unread)


def test_grades_are_held_to_the_rubric(here, answers, capsys):
    graded = votes.grade(answers.head(3), SMOL, "1 is wrong, 3 is right.", highest=3, quiet=True)
    assert graded["text"].tolist() == answers["text"].tolist()[:3]
    assert graded["grade"].isin([1, 2, 3]).all(), "what it says fits the schema"
    assert graded["judge_score"].tolist() == [(one - 1) / 2 for one in graded["grade"]]
    assert graded["reason"].str.len().le(200).all()
    assert not capsys.readouterr().err
    cut = votes.grade(answers.head(1), SMOL, num_predict=2, quiet=True)
    assert cut["grade"].isna().all()
    assert "no verdict that can be read in 1 of 1 replies" in capsys.readouterr().err

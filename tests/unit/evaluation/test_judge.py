"""A model as judge."""

from __future__ import annotations

import pandas as pd
import pytest

from slmlab.errors import PromptError
from slmlab.evaluation import judge
from slmlab.run import results
from tests.support.records import record


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
        assert judge.read_verdict(text) == verdict

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
        assert judge.read_verdict(text) is None


class TestJudge:
    """Stand-in judges with known preferences: their questions, and how their verdicts count."""

    def test_several_judges_and_what_is_no_verdict(self, monkeypatch, capsys):
        def compare(model, questions, **more):
            says = {"m": "1", "n": "I like\nboth."}[model]
            return pd.DataFrame({"text": [says] * len(questions)})

        monkeypatch.setattr(judge, "compare", compare)
        rows = [record(model="x", text="good"), record(model="y", text="better")]
        frame = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
        table = judge.judge(frame, ["m", "n"])
        assert table["voter"].tolist() == ["m", "n"]
        assert table[["length_a", "length_b"]].values.tolist() == [[4, 6]] * 2
        said = capsys.readouterr().err
        assert said == (
            "n gave no verdict that can be read in 2 of 2 replies, such as 'I like both.'.\n"
        )

    def test_a_judge_reads_a_conversation_as_text(self, monkeypatch):
        def compare(model, questions, **more):
            assert [one["question"] for one in questions] == ["system: Be kind.\nuser: Hi"] * 2
            return pd.DataFrame({"text": ["1", "2"]})

        monkeypatch.setattr(judge, "compare", compare)
        said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
        rows = [record(model=name, prompt=said, text="good") for name in "xy"]
        judge.judge(results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2), "m")

    def test_why_a_judge_failed_is_said(self, monkeypatch, capsys):
        def compare(model, questions, **more):
            return pd.DataFrame({"text": ["", "1"], "error": ["There is no memory left.", None]})

        monkeypatch.setattr(judge, "compare", compare)
        rows = [record(model="x", text="good"), record(model="y", text="better")]
        judge.judge(results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2), "m")
        said = capsys.readouterr().err
        assert "1 of 2 replies, of which 1 failed: There is no memory left." in said

    def judged(self, monkeypatch, verdict) -> list[dict[str, object]]:
        def compare(model, questions, **more):
            return pd.DataFrame({"text": [verdict(one["one"], one["two"]) for one in questions]})

        monkeypatch.setattr(judge, "compare", compare)
        rows = [record(model="x", text="good"), record(model="y", text="bad")]
        frame = results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)
        table = judge.judge(frame, "m")
        (row,) = table.to_dict("records")
        assert (row["model_a"], row["model_b"]) == ("x", "y")
        assert judge.judge_consistency(table).value == row["consistent"]
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

    def test_a_wrong_name_is_hinted_at_before_anything_runs(self):
        with pytest.raises(PromptError, match="Did you mean 'quiet'"):
            judge.judge(pd.DataFrame({"prompt": []}), "m", quite=True)

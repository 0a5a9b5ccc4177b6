"""Thresholds: what passes, what does not, and how it is told."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pandas as pd
import pytest

from slmlab.errors import FileError
from slmlab.evaluation.suite import Suite, Threshold
from slmlab.evaluation.thresholds import Check, check, earlier_answers, junit
from slmlab.evaluation.yaml_lines import Document
from slmlab.run import results
from tests.support.records import comparison


def answered(right: int, of: int, model: str = "a", **more: object) -> pd.DataFrame:
    """A model that is right on the first so many prompts; its words are its scores."""
    return comparison(
        [
            {
                "model": model,
                "prompt": f"P{number}",
                "text": "right" if number < right else "wrong",
                "prompt_id": number,
                "repeat": 0,
                "task": "sums",
                "score": float(number < right),
                **more,
            }
            for number in range(of)
        ]
    )


def judged(frame: pd.DataFrame, earlier: pd.DataFrame | None = None, **given) -> list[Check]:
    names = list(dict.fromkeys(frame["model"])) or ["a"]
    return check(frame, Threshold(**given), "score", names, {"old.json": earlier})


class TestAtLeast:
    def test_the_lower_end_counts_and_not_the_mean(self):
        (few,) = judged(answered(4, 5), at_least=0.7)
        (many,) = judged(answered(80, 100), at_least=0.7)
        assert (few.passed, many.passed) == (False, True)
        assert many.wanted == "score at least 0.7"
        assert many.found == "0.80 (95 % interval 0.71 to 0.87, n = 100)"

    def test_all_right_on_three_prompts_is_not_enough(self):
        (found,) = judged(answered(3, 3), at_least=0.5)
        assert not found.passed
        assert "0.29 to 1.00" in found.found

    def test_each_model_has_its_own(self):
        both = pd.concat([answered(20, 20), answered(0, 20, "b")])
        assert [one.passed for one in judged(both, at_least=0.5)] == [True, False]
        (only,) = judged(both, at_least=0.5, model="b")
        assert (only.model, only.passed) == ("b", False)

    def test_one_task(self):
        both = pd.concat([answered(20, 20), answered(0, 20).assign(task="words")])
        (found,) = judged(both, at_least=0.5, task="sums")
        assert (found.passed, found.wanted) == (True, "score on sums at least 0.5")
        (none,) = judged(both, at_least=0.5, task="translation")
        assert (none.passed, none.found) == (False, "there are no answers")

    def test_an_answer_without_a_score_is_not_passed_over(self):
        frame = answered(100, 100)
        frame.loc[3, "score"] = math.nan
        (found,) = judged(frame, at_least=0.1)
        assert (found.passed, found.found) == (False, "1 of 100 answers have no score")

    def test_equal_scores_have_no_interval_and_do_not_pass(self):
        (found,) = judged(answered(0, 9).assign(score=0.5), at_least=0.1)
        assert not found.passed
        assert "no interval" in found.found


class TestNotWorse:
    def test_without_a_margin_only_a_sure_regression_fails(self):
        before = answered(20, 20)
        slightly, clearly = answered(18, 20), answered(8, 20)
        (found,) = judged(slightly, before, not_worse_than="old.json")
        assert found.passed
        assert "can't tell" in found.found
        (found,) = judged(clearly, before, not_worse_than="old.json")
        assert not found.passed
        assert "the earlier run did better on 12 of 20 prompts" in found.found

    def test_with_a_margin_it_has_to_be_shown(self):
        before = answered(90, 100)
        (few,) = judged(answered(88, 100), before, not_worse_than="old.json", margin=0.02)
        (much,) = judged(answered(88, 100), before, not_worse_than="old.json", margin=0.2)
        assert (few.passed, much.passed) == (False, True)
        (between,) = judged(answered(88, 100), before, not_worse_than="old.json", margin=0.03)
        assert not between.passed, "the interval's lower end counts"
        assert much.wanted == "score not worse than in old.json by 0.2 or more"
        assert much.found.startswith("difference -0.02 (95 % interval")

    def test_the_same_answers_are_not_worse(self):
        frame = answered(3, 5).assign(score=0.5)
        (found,) = judged(frame, frame, not_worse_than="old.json", margin=0)
        assert (found.passed, found.found) == (True, "none of 5 answers has changed")

    def test_earlier_answers_without_scores(self):
        before = answered(20, 20).drop(columns="score").assign(text="other")
        (found,) = judged(answered(20, 20), before, not_worse_than="old.json")
        assert (found.passed, found.found) == (False, "the earlier answers have no such scores")

    def test_a_model_that_was_not_there_before(self):
        both = pd.concat([answered(20, 20), answered(20, 20, "b")])
        first, second = judged(both, both[both["model"] == "a"], not_worse_than="old.json")
        assert first.passed
        assert (second.passed, second.found) == (False, "the earlier run has no answers of it")

    def test_no_prompt_in_common(self):
        before = answered(5, 5).assign(prompt="another")
        (found,) = judged(answered(5, 5), before, not_worse_than="old.json")
        assert not found.passed
        assert "no prompt in common" in found.found

    def test_the_file_is_read_before_anything_runs(self, tmp_path):
        suite = Suite(models=["a"], tasks=["x"], thresholds=[Threshold(not_worse_than="old.json")])
        document = Document(tmp_path / "check.yaml", {}, {("thresholds", 0, "not_worse_than"): 7})
        with pytest.raises(FileError, match=r"line 7: .*old\.json cannot be read: No such file"):
            earlier_answers(suite, document)
        results.to_json(answered(1, 2), tmp_path / "old.json")
        assert len(earlier_answers(suite, document)["old.json"]) == 2


class TestJUnit:
    def test_it_has_a_test_for_each_check(self):
        checks = [Check("a", "x at least 1", "1.0", True), Check("b<", "x\0", "0 & less", False)]
        root = ElementTree.fromstring(junit("nightly", checks, "No.", finished=True))
        assert root.attrib == {"name": "nightly", "tests": "2", "failures": "1", "errors": "0"}
        first, second = root
        assert first.attrib == {"classname": "nightly.a", "name": "x at least 1"}
        assert len(first) == 0
        assert second.find("failure").get("message") == "0 & less"

    def test_stopped_is_an_error(self):
        root = ElementTree.fromstring(junit("nightly", [], "Stopped.", finished=False))
        assert root.find("testcase/error").get("message") == "Stopped."
        assert (root.get("tests"), root.get("errors")) == ("1", "1")

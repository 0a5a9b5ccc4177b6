"""Two runs of a comparison, paired prompt by prompt."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import slmlab
from slmlab.errors import SlmlabError
from slmlab.evaluation.runs import Changes, compare_runs
from slmlab.run import results
from tests.support.records import comparison


def run(scores: list[float | None], model: str = "a", **more: object) -> pd.DataFrame:
    """A scored run over the prompts P0, P1, …; the answers are the scores as texts."""
    rows = [
        {
            "model": model,
            "prompt": f"P{number}",
            "text": str(value),
            "error": None if value is not None else "it failed",
            "score": math.nan if value is None else value,
            "prompt_id": number,
            "repeat": 0,
            **{
                name: value[number] if isinstance(value, list) else value
                for name, value in more.items()
            },
        }
        for number, value in enumerate(scores)
    ]
    return comparison(rows)


class TestPairs:
    def test_each_kind_of_change(self):
        before = run([0, 1, 0.5, 0.5, None])
        after = run([1, 0, 0.5, 0.5, 1])
        after.loc[2, "text"] = "half"
        changes = compare_runs(before, after)
        kinds = ["better", "worse", "other words", "same", "no score"]
        assert changes.cases["change"].tolist() == kinds
        assert changes.cases["before"].tolist() == ["0", "1", "0.5", "0.5", "it failed"]
        (row,) = changes.summary.to_dict("records")
        assert [row[name] for name in kinds] == [1] * 5
        assert (row["a_better"], row["b_better"], row["n"]) == (1, 1, 4)

    def test_answers_that_were_asked_again_are_the_same_prompts(self):
        """Each run asks others again, with four times as many tokens: that is no other setting."""
        before = run([0, 1, 1], num_predict=[8, 32, 8], asked_again=[False, True, False])
        after = run([1, 1, 0], num_predict=[32, 8, 8], asked_again=[True, False, False])
        changes = compare_runs(before, after)
        assert changes.cases["change"].tolist() == ["better", "same", "worse"]
        assert changes.notes == []
        longer = run([1, 1, 0], num_predict=16, asked_again=False)
        assert "num_predict 8, later 16" in compare_runs(before, longer).notes[0]

    def test_the_order_of_prompts_does_not_matter(self):
        before = run([0, 1, 1])
        after = run([1, 1, 0]).iloc[::-1].assign(prompt_id=[0, 1, 2])
        assert dict(
            zip(*compare_runs(before, after).cases[["prompt", "change"]].T.values, strict=True)
        ) == {
            "P0": "better",
            "P1": "same",
            "P2": "worse",
        }

    def test_ids_pair_rewritten_prompts(self):
        after = run([1, 1], id=["x", "y"]).assign(prompt=["Please: P0", "Please: P1"])
        cases = compare_runs(run([1, 0], id=["x", "y"]), after).cases
        assert cases["change"].tolist() == ["same", "better"]
        assert cases["id"].tolist() == ["x", "y"]

    def test_blank_ids_do_not_pair_different_prompts(self):
        before, after = run([1, 0], id=["", None]), run([0, 1], id=[None, ""])
        assert compare_runs(before, after).cases["change"].tolist() == ["worse", "better"]

    def test_ids_are_the_same_after_a_file_made_texts_of_them(self):
        before, after = run([0, 1], id=[1, 2]), run([1, 1], id=["1", "2"])
        assert compare_runs(before, after).cases["change"].tolist() == ["better", "same"]

    def test_an_id_of_several_prompts_is_refused(self):
        before = run([0, 1], id=["x", "x"])
        with pytest.raises(SlmlabError, match="The id 'x' stands for several prompts"):
            compare_runs(before, before)
        apart = before.assign(task=["a", "b"])
        assert len(compare_runs(apart, apart).cases) == 2

    def test_a_score_that_is_none_is_refused(self):
        for wrong in ("x", math.inf):
            with pytest.raises(SlmlabError, match="'score' has something that is no score"):
                compare_runs(run([0]).astype({"score": object}).assign(score=[wrong]), run([0]))
        with pytest.raises(SlmlabError, match="no column 'points'"):
            compare_runs(run([0]), run([0]), score="points")

    def test_one_model_each_is_paired_whatever_its_name(self):
        changes = compare_runs(run([0], "old"), run([1], "new"))
        assert changes.cases[["model", "change"]].values.tolist() == [["new", "better"]]

    def test_models_are_paired_by_name(self):
        before = pd.concat([run([0, 0]), run([1, 1], "b")])
        after = pd.concat([run([1, 1], "b"), run([1, 1])])
        table = compare_runs(before, after).summary.set_index("model")
        assert table["better"].to_dict() == {"a": 2, "b": 0}

    def test_settings_within_a_run_are_paired(self):
        both = pd.concat([run([0, 0]), run([1, 1]).assign(temperature=0.2)])
        assert set(compare_runs(both, both.iloc[::-1]).cases["change"]) == {"same"}

    def test_repeats_are_averaged(self):
        before = pd.concat([run([0]), run([1]).assign(repeat=1)])
        (case,) = compare_runs(before, run([1])).cases.to_dict("records")
        assert (case["score_before"], case["score_after"], case["change"]) == (0.5, 1, "better")

    @pytest.mark.parametrize(
        ("old", "new", "shown", "change"),
        [
            ([1, 1, 1], [1, 1, 0], ("1", "0"), "worse"),
            ([1, 0, 0], [0, 1, 1], ("0", "1"), "better"),  # not the first, which got worse
            ([1, 1], [1, None], ("1", "it failed"), "other words"),
            ([1, 0], [1, 0], ("1", "1"), "same"),
        ],
    )
    def test_the_repeat_that_is_shown_changed_as_the_prompt_did(self, old, new, shown, change):
        before, after = (
            pd.concat([run([one]).assign(repeat=r, seed=r) for r, one in enumerate(scores)])
            for scores in (old, new)
        )
        (case,) = compare_runs(before, after).cases.to_dict("records")
        assert (case["before"], case["after"], case["change"]) == (*shown, change)

    def test_answers_of_one_seed_are_compared_even_if_their_repeats_are_not_known(self):
        rows = [{"prompt": "P", "text": str(seed), "options": {"seed": seed}} for seed in (1, 3)]
        before = comparison([{**row, "prompt_id": 0, "repeat": 0} for row in rows])
        after = before.assign(text=["other", "3"])
        assert compare_runs(before, before).cases["change"].tolist() == ["same"]
        assert compare_runs(before, after).cases["change"].tolist() == ["other words"]

    def test_a_run_without_scores_is_named(self):
        before, after = run([1.0, 0.0]), run([1.0, 0.0])
        (note,) = compare_runs(before, after.drop(columns="score")).notes
        assert note.startswith("Only the earlier run has scores ('score')")
        (note,) = compare_runs(before.assign(score=float("nan")), after).notes
        assert note.startswith("Only the later run has scores")

    def test_without_scores_the_words_are_compared(self):
        before, after = (run([0, 1]).drop(columns="score") for _ in range(2))
        after.loc[0, "text"] = "<think>Hm.</think>0"
        after.loc[1, "text"] = "one"
        changes = compare_runs(before, after)
        assert changes.cases["change"].tolist() == ["same", "other words"]
        assert "p" not in changes.summary
        assert changes.regressions == []
        assert str(changes) == "a: 1 other words, 1 same."


class TestFiles:
    @pytest.mark.parametrize("ending", ["json", "csv"])
    def test_a_run_is_the_same_after_reading(self, ending, tmp_path):
        one = pd.concat([run([0, 1]), run([1, 1]).assign(temperature=0.2)])
        path = tmp_path / f"run.{ending}"
        getattr(results, f"to_{ending}")(one, path)
        changes = compare_runs(path, one)
        assert changes.cases["change"].tolist() == ["same"] * 4
        assert not changes.notes

    def test_no_comparison(self, tmp_path):
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        with pytest.raises(SlmlabError, match="is not a comparison"):
            compare_runs(tmp_path / "x.csv", run([1]))
        with pytest.raises(SlmlabError, match="takes a table"):
            compare_runs(run([1]), 3)  # type: ignore[arg-type]


class TestSure:
    def test_a_regression_is_more_than_chance_explains(self):
        changes = compare_runs(run([1] * 20), run([0] * 12 + [1] * 8))
        assert changes.regressions == ["a"]
        assert "the earlier run did better on 12 of 20 prompts, the later run on 0" in str(changes)
        assert compare_runs(run([0] * 20), run([1] * 20)).regressions == []

    def test_a_few_worse_answers_are_none(self):
        changes = compare_runs(run([1] * 20), run([0] * 3 + [1] * 17))
        assert changes.regressions == []
        assert "can't tell the earlier run and the later run apart" in str(changes)

    def test_many_models_are_corrected_for(self):
        names = "abcdefgh"
        before = pd.concat([run([1] * 20, name) for name in names])
        worse = run([0] * 6 + [1] * 14, "a")  # p = 0.03 alone
        after = pd.concat([worse, *(run([1] * 20, name) for name in names[1:])])
        assert compare_runs(before, after).regressions == []
        assert compare_runs(before[before.model == "a"], worse).regressions == ["a"]


class TestNotes:
    def test_what_else_differs_is_said(self):
        after = run([1]).assign(temperature=0.7, engine_version="2", digest="e" * 64)
        (note,) = compare_runs(run([1]), after).notes
        assert "temperature 0.8, later 0.7" in note
        assert 'engine_version "1", later "2"' in note
        assert "a has another digest" in note

    def test_what_only_one_run_was_given_is_said(self):
        """A comparison has no column of what was not given."""
        sent = [{"role": "system", "content": "Sei höflich."}, {"role": "user", "content": "P0"}]
        after = run([1]).assign(system="Sei höflich.", format="json", stop=[["\n"]])
        after["prompt"] = [sent]
        changes = compare_runs(run([1]), after)
        assert changes.cases["change"].tolist() == ["same"], "it is the same prompt"
        (note,) = changes.notes
        assert 'system none, later "Sei höflich."' in note
        assert 'format none, later "json"' in note
        (note,) = compare_runs(run([1]).assign(template="{x} " * 99), run([1])).notes
        assert "{x} …, later none" in note or "{x} { …, later none" in note
        assert len(note) < 200

    def test_prompts_that_only_one_has(self):
        changes = compare_runs(run([1, 1, 1]), run([1]))
        assert changes.notes == [
            "2 of 3 prompts, counted for each model and setting, are only in the earlier run."
        ]

    def test_nothing_in_common(self):
        with pytest.raises(SlmlabError, match="no prompt in common: 1 prompt of a; 1 prompt of a"):
            compare_runs(run([1]), run([1]).assign(prompt="Q"))
        both = pd.concat([run([1]), run([1], "b")])
        with pytest.raises(SlmlabError, match="no model in common"):
            compare_runs(both, both.assign(model=["c", "d"]))


def test_it_is_shown_without_live_html():
    changes = compare_runs(run([1], "<b>a"), run([1], "<b>a"))
    assert isinstance(changes, Changes)
    assert "&lt;b&gt;a" in changes._repr_html_()
    assert "<b>" not in changes._repr_html_()
    assert slmlab.compare_runs is compare_runs

"""What a report says first."""

from __future__ import annotations

import pandas as pd
import pytest

from slmlab.evaluation import statistics
from slmlab.run.frames import prompt_keys
from slmlab.show import variants
from slmlab.show.report_lead import lead, sentences
from tests.support.records import comparison


def scored(scores: dict[str, list[float]], **more) -> pd.DataFrame:
    """Answers of models, or of variants of them (``model@temperature``), to the same prompts."""
    rows = []
    for speed, (name, values) in enumerate(scores.items(), 1):
        model, _, temperature = name.partition("@")
        for prompt, score in enumerate(values):
            row = {"model": model, "prompt": f"P{prompt}", "prompt_id": prompt, "repeat": 0}
            row |= {"tokens": 10 * speed, "generation_s": 1.0, "ttft_s": 0.5, "score": score}
            row |= {"temperature": float(temperature)} if temperature else {}
            rows.append(row | more)
    return comparison(rows)


def by_variant(frame: pd.DataFrame) -> pd.DataFrame:
    keys = prompt_keys(frame)
    return variants.as_models(frame.assign(variant=variants.names(frame, keys)), keys)


class TestHeadline:
    def test_one_that_did_better(self):
        found = lead(by_variant(scored({"a": [1.0] * 9, "b": [0.0] * 9})))
        assert found.headline == "a did better"
        assert found.sentences == [
            "a did better on 9 of 9 prompts, b on 0 (sign test, p = 0.004).",
            "b writes 2.0 times as fast as a: 20 against 10 tokens per second.",
        ]
        assert [row["mean_is_best"] for row in found.rows] == [True, False]
        assert [row["tokens_per_s_is_best"] for row in found.rows] == [False, True]
        assert not any(row["ttft_s_is_best"] for row in found.rows), "both took as long"

    @pytest.mark.parametrize(
        ("scores", "headline"),
        [
            ({"a": [1, 1, 0], "b": [1, 0, 0]}, "a scored highest, which may be chance"),
            ({"a": [1, 0], "b": [0, 1]}, "Neither did better"),
            ({"a": [1, 0], "b": [0, 1], "c": [1, 0]}, "None did better than the others"),
            ({"a": [1] * 9, "b": [0] * 9, "c": [0] * 9}, "a did better than all others"),
            ({"a": [1] * 9, "b": [0] * 9, "c": [1] * 9}, "a and c scored highest"),
            (
                {"a": [1] * 9, "b": [0] * 9, "c": [1] * 8 + [0]},
                "a scored highest, which may be chance",
            ),
            ({"a": [1, 0, 0, 1]}, "a has a mean score of 0.50 on 4 prompts"),
        ],
    )
    def test_it_claims_no_more_than_the_test(self, scores, headline):
        frame = scored({name: [float(one) for one in values] for name, values in scores.items()})
        assert lead(by_variant(frame)).headline == headline

    def test_without_scores_it_is_about_speed(self):
        frame = scored({"a": [0.0] * 3, "b": [0.0] * 3}).drop(columns="score")
        found = lead(by_variant(frame))
        assert found.headline == "b is the fastest"
        assert "These answers have no scores" in found.sentences[0]

    def test_a_speed_that_varies_by_more_than_it_differs_wins_nothing(self):
        """As on a machine that did other work meanwhile: the larger model came out ahead."""
        frame = scored({"a": [0.0] * 3, "b": [0.0] * 3}).drop(columns="score")
        speeds = {"a": [10.0, 10.0, 18.0], "b": [9.0, 13.0, 14.0]}
        for name, values in speeds.items():
            frame.loc[frame["model"] == name, "tokens_per_s"] = values
        found = lead(by_variant(frame))
        assert found.headline == "2 models answered"
        assert not any(row["tokens_per_s_is_best"] for row in found.rows)
        assert found.sentences[-1] == (
            "b writes 13 tokens per second and a 10, but from run to run the speeds differ by more "
            "than that."
        )
        steady = frame.assign(tokens_per_s=[10.0, 10.1, 9.9, 11.5, 11.6, 11.7])
        assert lead(by_variant(steady)).headline == "2 models answered", "not by a fifth"
        clear = frame.assign(tokens_per_s=[10.0, 10.1, 9.9, 12.5, 12.6, 12.7])
        assert lead(by_variant(clear)).headline == "b is the fastest"

    def test_where_all_failed_nothing_is_said_to_be_fast(self):
        frame = scored({"a": [0.0], "b": [0.0]}, error="it died").drop(columns="score")
        assert lead(by_variant(frame)).headline == "No answer came: 2 runs failed"

    def test_better_than_one_is_not_better_than_all(self):
        frame = scored({"a": [1.0] * 9, "b": [0.0] * 9, "c": [0.0] * 9})
        frame.loc[frame["model"] == "c", "prompt"] += " else"
        assert lead(by_variant(frame)).headline == "a scored highest, which may be chance"

    def test_answers_to_other_prompts_are_not_compared(self):
        frame = scored({"a": [1.0] * 3, "b": [0.0] * 3})
        frame.loc[frame["model"] == "b", "prompt"] += " else"
        found = lead(by_variant(frame))
        assert found.headline == "The scores cannot be compared"
        assert "nothing to compare" in found.sentences[0]


class TestVariants:
    def test_a_model_beside_itself(self):
        frame = scored({"a@0": [1.0] * 9, "a@1.5": [0.0] * 9})
        assert list(dict.fromkeys(by_variant(frame)["model"])) == [
            "a · temperature 0.0",
            "a · temperature 1.5",
        ]
        assert lead(by_variant(frame)).headline == "a · temperature 0.0 did better"

    def test_columns_with_names_of_their_own_keep_them(self):
        frame = scored({"a@0": [1.0] * 9, "b@1": [0.0] * 9})
        frame = frame.assign(variant=[f"{name}!" for name in frame["model"]])
        assert lead(by_variant(frame)).headline == "a! did better"
        (pair,) = statistics.paired(frame, by="variant").to_dict("records")
        assert (pair["n"], pair["a_better"]) == (9, 9)

    def test_what_differs_between_tasks_only_is_not_compared(self):
        one = scored({"a": [1.0] * 3, "b": [0.0] * 3}, num_predict=80, task="one")
        other = scored({"a": [1.0] * 2, "b": [0.0] * 2}, num_predict=160, task="two")
        joined = pd.concat([one, other], ignore_index=True)
        assert set(by_variant(joined)["model"]) == {"a", "b"}
        assert variants.compared(joined, prompt_keys(joined)) == []
        assert variants.differing(joined) == ["num_predict"]

    def test_settings_of_a_grid_are_also_compared_by_themselves(self):
        grid = [
            scored({"a": [1.0] * 6, "b": [0.0] * 6}, template=template)
            for template in ("plain", "short")
        ]
        joined = pd.concat(grid, ignore_index=True)
        found = " ".join(sentences(joined, by_variant(joined)))
        assert "a · template plain did better on 6 of 6 prompts" in found
        assert "plain and short apart" in found

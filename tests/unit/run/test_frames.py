"""Tables that are not those of a comparison, and prompts that share a number."""

from __future__ import annotations

import pandas as pd
import pytest

import slmlab
from slmlab import plots, results
from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics, votes
from slmlab.run.frames import need, prompt_keys
from slmlab.show.recipe import recipe

FOREIGN = pd.DataFrame({"name": ["x"], "value": [1.0]})
TAKERS = {
    "results.summary": results.summary,
    "results.table": results.table,
    "results.comparable": results.comparable,
    "results.warnings": results.warnings,
    "score": lambda frame: slmlab.score(frame, "exact"),
    "report": slmlab.report,
    "recipe": recipe,
    "speed": plots.speed,
    "quality_speed": plots.quality_speed,
    "heatmap": plots.heatmap,
    "scores": plots.scores,
    "ratings of plots": plots.ratings,
    "context_latency": plots.context_latency,
    "lines": lambda frame: plots.lines(frame, "x", "y", xlabel="x", ylabel="y"),
    "points": lambda frame: plots.points(frame, "x", "y", "z", xlabel="x", ylabel="y"),
    "means": statistics.means,
    "paired": statistics.paired,
    "blind_pairs": votes.blind_pairs,
    "judge": lambda frame: votes.judge(frame, "m"),
    "judge_consistency": votes.judge_consistency,
    "ratings": votes.ratings,
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_such_table_is_refused_with_a_sentence(take):
    for given in (5, None, [1], {"error": 1}):
        with pytest.raises(SlmlabError, match="takes a table"):
            take(given)
    with pytest.raises(SlmlabError, match="no column"):
        take(FOREIGN)


def test_other_arguments_that_are_not_what_they_should_be(tmp_path):
    for write in (results.to_csv, results.to_json):
        with pytest.raises(SlmlabError, match="takes a table"):
            write(5, tmp_path / "x")
    for given in (5, [5]):
        with pytest.raises(SlmlabError, match=r"will_it_fit\(…\) returns; got 5"):
            plots.memory(given)
    with pytest.raises(SlmlabError, match=r"variables is a dict.* got 5"):
        slmlab.ask("m", "x", variables=5)


def test_a_missing_column_says_where_it_comes_from():
    with pytest.raises(SlmlabError, match=r"'scor'. Did you mean 'score'\?"):
        need(pd.DataFrame({"score": [1]}), "scor")
    with pytest.raises(SlmlabError, match=r"'ttft_s'. slmlab.compare\(…\) returns"):
        need(FOREIGN, "ttft_s")
    with pytest.raises(SlmlabError, match=r"slmlab.score\(frame\)"):
        need(FOREIGN, "score")


def answers(prompt: object, scores: tuple[float, float], **more: object) -> pd.DataFrame:
    """The answers of models x and y to one prompt, as a comparison of their own."""
    rows = [
        {"model": model, "prompt": prompt, "prompt_id": 0, "repeat": 0, "error": None}
        | {"text": f"{model} on {prompt}", "score": score}
        for model, score in zip("xy", scores, strict=True)
    ]
    return pd.DataFrame([row | more for row in rows])


JOINED = {
    "texts": [{"prompt": "P1"}, {"prompt": "P2"}],
    "conversations": [
        {"prompt": [{"role": "user", "content": "P1"}]},
        {"prompt": [{"role": "user", "content": "P2"}]},
    ],
    "templates": [{"prompt": "P1", "template": "a"}, {"prompt": "P2", "template": "b"}],
    "one of them with a template": [{"prompt": "P1"}, {"prompt": "P2", "template": "b"}],
    "the same template, other texts": [
        {"prompt": "P1", "template": "a"},
        {"prompt": "P2", "template": "a"},
    ],
    "systems": [{"prompt": "P1", "system": "s"}, {"prompt": "P2", "system": None}],
    "tasks": [{"prompt": "P1", "task": "t"}, {"prompt": "P1", "task": "u"}],
}


@pytest.mark.parametrize("runs", JOINED.values(), ids=JOINED)
class TestJoinedTables:
    def test_votes_pair_answers_to_one_prompt(self, runs):
        one, other = runs
        joined = pd.concat(
            [answers(scores=(1, 0), **one), answers(scores=(1, 0), **other)], ignore_index=True
        )
        pairs = votes.blind_pairs(joined)
        assert len(pairs) == 2
        for a, b in pairs:
            assert a["prompt"] == b["prompt"]
            assert {a["model"], b["model"]} == {"x", "y"}

    def test_statistics_count_two_prompts(self, runs):
        one, other = runs
        joined = pd.concat(
            [answers(scores=(1, 0), **one), answers(scores=(0, 1), **other)], ignore_index=True
        )
        assert statistics.means(joined)["n"].tolist() == [2, 2]
        (pair,) = statistics.paired(joined).to_dict("records")
        assert (pair["n"], pair["a_better"], pair["b_better"]) == (2, 1, 1)


def test_two_prompts_of_one_text_are_two():
    one, other = answers("P", (1, 0)), answers("P", (0, 1)).assign(prompt_id=1)
    joined = pd.concat([one, other], ignore_index=True)
    assert statistics.means(joined)["n"].tolist() == [2, 2]
    assert len({*prompt_keys(joined)}) == len({*prompt_keys(joined, as_sent=True)}) == 2


def test_repeats_are_still_one_prompt():
    frame = pd.concat([answers("P", (1, 0)), answers("P", (0, 0), repeat=1)], ignore_index=True)
    assert statistics.means(frame)[["mean", "n"]].to_numpy().tolist() == [[0.5, 1], [0, 1]]
    assert len(votes.blind_pairs(frame)) == 2


def test_what_a_template_makes_of_a_prompt_is_compared_on_that_prompt():
    frame = pd.concat(
        [
            answers("short P", (1, 1), template="short"),
            answers("long P", (0, 0), template="long"),
        ],
        ignore_index=True,
    )
    (pair,) = statistics.paired(frame, by="template").to_dict("records")
    assert (pair["a"], pair["n"], pair["a_better"]) == ("short", 2, 2)


@pytest.mark.parametrize(
    ("template", "texts"),
    [
        ("short", ["One\n\nAnswer in one sentence.", "Two\n\nAnswer in one sentence."]),
        ("Say {word} in {language}.", ["Say yes in French.", "Say no in French."]),
    ],
)
def test_prompts_of_joined_tables_with_a_template_are_told_apart(template, texts):
    values = [{"word": word, "language": "French"} for word in ("yes", "no")]
    frames = [
        answers(text, (1, 0), template=template, **row)
        for text, row in zip(texts, values, strict=True)
    ]
    joined = pd.concat(frames, ignore_index=True)
    assert len({*prompt_keys(joined)}) == 2
    rerun = pd.concat([frames[0], frames[0]], ignore_index=True)
    assert len({*prompt_keys(rerun)}) == 1


def test_a_template_that_is_not_known_any_more_leaves_the_number():
    frame = pd.concat(
        [answers("A", (1, 0), template="mine"), answers("B", (1, 0), template="{x} {y}")],
        ignore_index=True,
    )
    assert len({*prompt_keys(frame)}) == 1

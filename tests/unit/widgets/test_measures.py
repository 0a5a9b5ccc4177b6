"""The numbers below answers, and which of them stand out."""

from __future__ import annotations

import re

import pytest

from slmlab.run.streaming import Answer
from slmlab.widgets.measures import MEASURES, metrics_html, standing_out, strips_html
from tests.support.records import record

SPEED, FIRST_TOKEN, WHOLE, LENGTH = MEASURES


def shares(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"width:(\d+)%", html)]


def quick(model="q", **more):
    """50 tokens/s."""
    given = {"text": "a", "ttft_s": 0.5, "tokens": 100, "generation_s": 2.0, "wall_s": 3.0}
    return record(**given | {"model": model} | more)


def slow(model="s", **more):
    """10 tokens/s."""
    given = {"text": "b", "ttft_s": 2.0, "tokens": 40, "generation_s": 4.0, "wall_s": 6.0}
    return record(**given | {"model": model} | more)


def test_bars_are_shares_of_the_longest_and_what_is_clearly_best_has_a_star():
    one, other, none = strips_html([quick(), slow(), None])
    assert shares(one) == [100, 25, 50, 100]
    assert shares(other) == [20, 100, 100, 40]
    assert none == ""
    assert one.count("★") == 2, "neither the length nor the whole time is a merit"
    assert "★" not in other
    assert "<strong>50.0</strong> tokens/s <span title" in one
    assert "<strong>40</strong> tokens" in other


def test_a_small_difference_stands_out_for_nobody():
    near = quick("n", generation_s=2.3, ttft_s=0.55)
    for measure in MEASURES:
        assert standing_out(measure, [quick(), near]) == [False, False]


def test_a_model_is_no_rival_of_itself():
    assert standing_out(SPEED, [quick("m"), slow("m")]) == [False, False]
    near = quick("m", generation_s=2.1)
    assert standing_out(SPEED, [quick("m"), near, slow()]) == [True, True, False]


@pytest.mark.parametrize(
    ("measure", "unlike"),
    [
        (SPEED, {"in_flight": 2}),
        (SPEED, {"error": "lost"}),
        (FIRST_TOKEN, {"in_flight": 2}),
        (FIRST_TOKEN, {"cold": True}),
        (FIRST_TOKEN, {"truncated": True}),
    ],
)
def test_what_was_not_measured_alike_is_not_compared(measure, unlike):
    assert standing_out(measure, [quick(), slow()]) == [True, False]
    assert standing_out(measure, [quick(), slow(**unlike)]) == [False, False]
    assert standing_out(measure, [quick(**unlike), slow(), slow("t")])[0] is False


def test_who_had_the_prompt_in_a_cache_is_not_compared_with_who_read_it():
    """As where all go on from one column's answer: that model has read it, the others have not."""
    read = {"prompt_tokens": 300, "cached_tokens": 24}
    had = {"prompt_tokens": 300, "cached_tokens": 290}
    assert standing_out(FIRST_TOKEN, [quick(**had), slow(**read)]) == [False, False]
    for both in (read, had):
        assert standing_out(FIRST_TOKEN, [quick(**both), slow(**both)]) == [True, False]
    assert standing_out(SPEED, [quick(**had), slow(**read)]) == [True, False]
    flagged = ["prompt cached" in one for one in strips_html([quick(**had), slow(**read)])]
    assert flagged == [True, False]
    assert "prompt cached" not in "".join(strips_html([quick(**had), slow(**had)])), (
        "as a turn does"
    )


def test_an_empty_answer_gets_no_star_and_takes_none_from_others():
    empty = record(model="e", ttft_s=None, tokens=1, generation_s=1e-6, wall_s=0.1)
    none, *others = strips_html([empty, slow(), quick()])
    assert "★" not in none
    assert "tokens/s" not in none
    assert [one.count("★") for one in others] == [0, 2]
    assert "★" not in "".join(strips_html([empty, slow()])), "one alone is no best"


def test_what_is_not_known_is_left_out():
    (alone,) = strips_html([record(ttft_s=None, tokens=0, generation_s=0.0, wall_s=1.0)])
    assert "first token" not in alone
    assert "tokens/s" not in alone
    assert "★" not in alone, "one alone is no best"


def test_one_answer_has_its_numbers_its_end_and_a_copy():
    answer = Answer("m", "p", "h", state="done", pieces=["<b>"])
    assert "data-text='&lt;b&gt;'" in metrics_html(answer)
    answer.record = quick(stop_reason="length", prompt_tokens=7)
    html = metrics_html(answer)
    assert "prompt 7 tokens · ended by the length limit" in html
    assert "<strong>50.0</strong> tokens/s" in html
    assert not shares(html), "there is nothing to compare it with"

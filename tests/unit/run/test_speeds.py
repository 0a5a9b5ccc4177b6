"""The spread of measured speeds, llama-bench's rows, how many students a host holds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from slmlab.run.speeds import Bench, Speed, Timing, largest, percentiles, students

ALONE = Speed(
    "decode",
    0,
    2,
    1,
    "2026-11-26T08:00:00Z",
    ((Timing(64, 2.0, 40),), (Timing(64, 1.6, 40),), (Timing(64, 1.0, 42),)),
)
PREFILL = replace(ALONE, test="prefill", repeats=((Timing(512, 2.0, 0),), (Timing(512, 4.0, 0),)))


def written(at_once: int, *each: float) -> Speed:
    """One repeat, in which the requests wrote so many tokens per second."""
    repeat = tuple(Timing(64, 64 / rate, 40) for rate in each)
    return replace(ALONE, at_once=at_once, repeats=(repeat,))


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_percentiles_are_those_of_numpy(count):
    values = list(np.random.default_rng(count).random(count))
    assert percentiles(values) == pytest.approx(tuple(np.percentile(values, [10, 50, 90])))


def test_one_value_has_no_spread_and_none_has_no_value():
    assert percentiles([3.0]) == (3.0, 3.0, 3.0)
    assert all(map(math.isnan, percentiles([])))


def test_a_row_has_the_median_and_what_the_context_really_held():
    row = ALONE.to_dict()
    assert (row["tokens_per_s"], row["depth"], row["n"]) == (40.0, 40, 3)
    assert str(ALONE) == (
        "decode at depth 40, 2 threads: 40.0 tokens/s (p10 33.6, p90 59.2, n = 3)"
    )


def test_the_slowest_is_the_slowest_request_of_the_median_repeat():
    repeats = written(2, 20, 8).repeats + written(2, 18, 12).repeats + written(2, 11, 16).repeats
    assert replace(ALONE, at_once=2, repeats=repeats).slowest == pytest.approx(11)


def test_rows_are_as_llama_bench_writes_them():
    found = Bench("some:1b", "embedded 1", "", (PREFILL, ALONE, written(2, 9, 9)), facts={"x": 1})
    prefill, decode = map(json.loads, found.jsonl().splitlines())
    assert (prefill["n_prompt"], prefill["n_gen"], prefill["n_depth"]) == (512, 0, 0)
    assert (decode["n_prompt"], decode["n_gen"], decode["n_depth"]) == (0, 64, 40)
    assert prefill["samples_ns"] == [2_000_000_000, 4_000_000_000]
    assert (prefill["avg_ns"], prefill["stddev_ns"]) == (3_000_000_000, 1_414_213_562)
    assert (prefill["avg_ts"], prefill["samples_ts"]) == (192.0, [256.0, 128.0])
    assert (decode["n_threads"], decode["test_time"], decode["x"]) == (2, "2026-11-26T08:00:00Z", 1)


def test_one_repeat_has_no_spread_and_a_test_without_any_no_row():
    once = replace(ALONE, repeats=ALONE.repeats[:1])
    found = Bench("some:1b", "embedded 1", "", (replace(ALONE, repeats=()), once))
    (row,) = map(json.loads, found.jsonl().splitlines())
    assert (row["avg_ts"], row["stddev_ts"], row["stddev_ns"]) == (32.0, 0, 0)


def test_what_was_measured_is_the_speed_of_one_request_alone():
    assert Bench("some:1b", "embedded 1", "", (written(2, 9, 9), ALONE)).measured == 40


def test_the_table_says_what_was_left_out():
    empty = replace(ALONE, depth=900, repeats=(), note="3 of 3 repeats left out: queued")
    text = str(Bench("some:1b", "embedded 1", "", (ALONE, empty), predicted=42.4))
    assert "left out: queued" in text
    assert "Predicted 42 tokens/s, measured 40." in text
    assert str(empty) == (
        "decode at depth 900, 2 threads: not measured; 3 of 3 repeats left out: queued"
    )


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_the_largest_number_is_found_wherever_it_is(limit):
    for most in range(limit + 1):
        assert largest(limit, lambda number, most=most: number <= most) == most


RATES = {1: (40.0,), 2: (22.0, 21.0), 3: (14.0, 12.0, 13.0), 4: (9.0, 11.0, 10.0, 10.0)}


@pytest.mark.parametrize(
    ("wanted", "limit", "said"),
    [
        (10, 4, "3 students at once can have 10 tokens/s here: the slowest gets 12.0"),
        (10, 4, ", with 4 at once 9.0 (measured at depth 40 with 64 tokens each, 2 threads, the"),
        (10, 2, "The engine takes no more at once (OLLAMA_NUM_PARALLEL)."),
        (30, 4, "1 student can have 30 tokens/s here: the slowest gets 40.0, with 2"),
        (50, 4, "Not one student gets 50 tokens/s here: alone 40.0 ("),
    ],
)
def test_students_are_counted_by_the_slowest_of_them(wanted, limit, said):
    known = {1: written(1, *RATES[1])}
    assert said in students(wanted, limit, known, lambda number: written(number, *RATES[number]))


def test_what_could_not_be_measured_holds_nobody():
    queued = replace(ALONE, at_once=2, repeats=(), note="3 of 3 repeats left out: queued")
    said = students(10, 2, {1: ALONE}, lambda _: queued)
    assert said.startswith("1 student can have") and "with 2 at once not measured (3 of 3" in said
    said = students(10, 1, {1: queued}, lambda _: queued)
    assert said == (
        "How many students this host holds was not measured: 3 of 3 repeats left out: queued."
    )

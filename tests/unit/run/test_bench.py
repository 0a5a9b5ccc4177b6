"""What is refused before anything is asked of a server."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import slmlab
from slmlab.errors import ModelError, PromptError
from slmlab.run.bench import _warning, _without_joules, numbers
from slmlab.run.speeds import Speed
from slmlab.run.timed_requests import TOO_SHORT, joules_of_a_token
from tests.support.processes import wait_for


def test_numbers_are_given_as_one_or_several():
    assert numbers("depth", 3, 0) == [3]
    assert numbers("depth", (8, 0, 8), 0) == [8, 0]
    assert numbers("depth", np.arange(1, 3), 0) == [1, 2]


@pytest.mark.parametrize("given", [[], -1, 1.5, True, None, "4", [1, "x"], [0, -1]])
def test_what_is_no_number_of_tokens_is_a_sentence(given):
    with pytest.raises(PromptError, match="depth is a whole number from 0 on; got "):
        numbers("depth", given, 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"repeats": 0}, "repeats is a whole number from 1 on; got 0"),
        ({"at_once": 0}, "at_once is a whole number from 1 on; got 0"),
        ({"threads": []}, "threads is a whole number from 1 on"),
        ({"tokens": 4}, "tokens is a whole number from 5 on; got 4"),
        ({"prompt_tokens": 1}, "prompt_tokens is a whole number from 16 on; got 1"),
        ({"students_at": 0}, "students_at is a number of tokens per second; got 0"),
        ({"students_at": "ten"}, "students_at is a number of tokens per second; got 'ten'"),
    ],
)
def test_no_server_is_needed_to_refuse_a_number(more, said):
    with pytest.raises(PromptError, match=said):
        slmlab.bench("some:1b", host="http://127.0.0.1:1", **more)


def test_a_busy_machine_is_warned_of():
    code = "while True: pass"
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            busy = subprocess.Popen([sys.executable, "-c", code])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        (said,) = wait_for(_warning, 60, "the warning")
    assert re.match(r"Before the start other programs used \d+% of this machine's", said)


def test_joules_need_a_second_of_work():
    """Over some answers of a tenth of a second the counter of an H100 did not move at all."""
    speed = Speed("decode", 0, None, 1, "", ())
    assert joules_of_a_token([], 0.0) == (None, "")
    assert joules_of_a_token([0.0, 0.2, 0.6], 0.3) == (None, TOO_SHORT)
    assert joules_of_a_token([0.2, 0.2, 0.5], 1.0) == (pytest.approx(0.3), "")
    assert "no energy counter" in _without_joules(True, [speed])[0]
    assert _without_joules(True, [replace(speed, note=f"x, {TOO_SHORT}")]) == []
    assert _without_joules(True, [speed, replace(speed, joules=0.3)]) == []


def test_a_server_of_openais_api_is_refused():
    with pytest.raises(PromptError, match=r"127\.0\.0\.1:1/v1 is used through .*llama-bench"):
        slmlab.bench("some:1b", host="http://127.0.0.1:1/v1")


def test_a_model_needs_a_name():
    with pytest.raises(ModelError, match="by their names"):
        slmlab.bench("")

"""What compare() refuses before it speaks to any server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import slmlab
from slmlab.errors import PromptError
from slmlab.run.compare import _executor, _servers
from slmlab.run.grid import GridOptions
from slmlab.run.options import Options


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"repeat": 3}, "no option 'repeat'. Did you mean 'repeats'"),
        ({"max_tokens": 3}, "Did you mean 'num_predict'"),
        ({"n_ctx": 3}, "Did you mean 'num_ctx'"),
        ({"tempratures": [0, 1]}, "Did you mean 'temperature'"),
        ({"time": True}, "Did you mean 'tim"),
        ({"host": "http://a:1", "hosts": ["http://b:1"]}, "mean the same; give only one"),
    ],
)
def test_wrong_arguments_are_a_sentence(wrong, words):
    with pytest.raises(PromptError, match=words):
        slmlab.compare("m", "Why?", **wrong)


def test_servers_come_under_either_name():
    two = ["http://a:1", "http://b:1"]
    assert _servers("http://a:1", None) == _servers(None, "http://a:1") == two[:1]
    assert _servers(two, None) == _servers(None, two) == _servers(None, [*two, *two]) == two


def test_an_executor_of_the_callers_is_not_shut_down():
    with ThreadPoolExecutor(1) as mine:
        with _executor(mine, 1) as used:
            assert used is mine
        assert mine.submit(int, "3").result() == 3


def test_every_option_can_be_an_axis():
    assert GridOptions.__annotations__.keys() == Options.__annotations__.keys()

"""What ``ask`` says before anything is sent."""

import pytest

import slmlab
from slmlab.errors import PromptError


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ({"max_tokens": 5}, "Did you mean 'num_predict'"),
        ({"question": "Why?"}, "Did you mean 'prompt'"),
        ({"hosts": "x"}, "Did you mean 'host'"),
        ({"templat": "short"}, "Did you mean 'template'"),
        ({"repeats": 3}, "There is no option 'repeats'. Options: "),
    ],
)
def test_a_wrong_name_is_hinted_and_nothing_is_shown(wrong, meant, capsys):
    with pytest.raises(PromptError, match=meant):
        slmlab.ask("some:1b", "Why?", host="http://127.0.0.1:9", **wrong)
    assert capsys.readouterr().out == ""

"""Downloads that cannot begin."""

import pytest

import slmlab
from slmlab.errors import ModelError


def test_each_model_that_cannot_be_had_gets_its_sentence():
    with pytest.raises(ModelError) as caught:
        slmlab.pull(["a", "b"], "a", host="http://127.0.0.1:9", quiet=True)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("No server answers at http://127.0.0.1:9") for line in lines)


def test_what_is_no_name_is_found_before_anything_is_asked():
    with pytest.raises(ModelError, match=r"given by their names.*got 5"):
        slmlab.pull(["a", 5], host="http://127.0.0.1:9")

"""The fields for sampling options."""

from __future__ import annotations

import pytest

from slmlab.errors import PromptError
from slmlab.run.options import DEFAULT_OPTIONS
from slmlab.widgets.option_fields import FIELDS, OptionFields


def test_fields_start_with_what_was_given_and_the_others_go_along():
    fields = OptionFields(["seed", "temperature"], {"seed": 3, "top_k": 5, "stop": ["."]}, [])
    assert fields.values == {"seed": 3, "temperature": DEFAULT_OPTIONS["temperature"]}
    fields.values = {"seed": 4}
    fields.fields["temperature"].value = 0.5
    assert fields.options == {"seed": 4, "temperature": 0.5, "top_k": 5, "stop": ["."]}


def test_every_field_takes_the_default():
    fields = OptionFields(list(FIELDS), {}, [])
    assert fields.options == {name: DEFAULT_OPTIONS[name] for name in FIELDS}


def test_every_field_is_an_option_and_takes_numbers_of_its_kind():
    assert list(FIELDS) == [name for name in DEFAULT_OPTIONS if name in FIELDS]
    for name, field in OptionFields(list(FIELDS), {}, []).fields.items():
        assert type(field.value) is type(DEFAULT_OPTIONS[name])


def test_a_wrong_name_is_hinted_at():
    with pytest.raises(PromptError, match="Did you mean 'voter'"):
        OptionFields([], {"votr": "Ada"}, ["voter"])

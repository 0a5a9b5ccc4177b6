"""Settings of all columns, and of one."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.errors import PromptError
from slmlab.widgets.column_settings import OWN, ColumnSettings, SettingsFields
from slmlab.widgets.conversation import Setup


def test_a_column_follows_the_others_until_it_has_settings_of_its_own():
    shared = SettingsFields(Setup(options={"temperature": 0.5, "top_k": 7}))
    column = ColumnSettings("A", shared)
    shared.system.value = "Be kind."
    assert column.setup == shared.setup
    column.own.value = True
    assert column.setup == shared.setup, "they start as those of all"
    assert column.fold.get_title(0) == "the same as for all"
    column.fields.options.fields["temperature"].value = 1.5
    assert column.fold.get_title(0) == "temperature 1.5"
    shared.system.value = "Be rude."
    column.name_difference()
    assert (column.setup.system, column.setup.options["temperature"]) == ("Be kind.", 1.5)
    assert column.fold.get_title(0) == "system “Be kind.” · temperature 1.5"
    assert column.setup.options["top_k"] == 7
    column.own.value = False
    assert (column.setup, column.children) == (shared.setup, (column.own,))
    column.own.value = True
    assert column.setup.options["temperature"] == 1.5, "what was typed is kept"


def test_a_template_of_ones_own():
    fields = SettingsFields(Setup("step_by_step"))
    assert fields.setup.template == "step_by_step"
    assert fields.text.layout.display == "none"
    fields.template.value = OWN
    assert fields.text.layout.display == ""
    fields.text.value = "Answer in French: {question}"
    assert fields.setup.prompt("Why?", []) == "Answer in French: Why?"
    assert SettingsFields(fields.setup).template.value == OWN


class TestArguments:
    def test_columns_start_with_settings_of_their_own(self):
        own = [{"temperature": 0.1}, {}, {"system": "Be kind.", "think": True, "top_k": 5}]
        panel = slmlab.side_by_side(["a", "a", "a"], "Why?", columns=own, temperature=0.4)
        first, second, third = panel.columns.setups
        assert [one.options["temperature"] for one in (first, second, third)] == [0.1, 0.4, 0.4]
        assert (third.system, third.think, third.options["top_k"]) == ("Be kind.", True, 5)
        assert [one.settings.own.value for one in panel.columns] == [True, False, True]

    @pytest.mark.parametrize(
        ("own", "said"),
        [
            ([{"temprature": 1}], "Did you mean 'temperature'"),
            ([{}, {}, {}], "at most one for each model"),
            ({"temperature": 1}, "columns is a list"),
            ([{"system": 5}], "system of a column"),
            ([{"template": "nosuch"}], "There is no template 'nosuch'"),
        ],
    )
    def test_wrong_ones_are_refused(self, own, said):
        with pytest.raises(PromptError, match=said):
            slmlab.side_by_side(["a", "b"], "Why?", columns=own)

    def test_blind_columns_exchange_models_with_their_settings(self):
        panel = slmlab.side_by_side(["a", "b"], columns=[{"temperature": 0.1}])
        one, two = panel.columns
        one.model.options = two.model.options = ["a", "b"]
        one.model.value, two.model.value = "a", "b"
        one.choice, two.choice = two.choice, one.choice
        assert (one.model.value, two.model.value) == ("b", "a")
        assert (one.settings.own.value, two.settings.own.value) == (False, True)
        assert two.settings.setup.options["temperature"] == 0.1
        two.hide(True)
        assert two.settings.layout.display == "none"

    def test_another_seed_is_another_one_for_all(self):
        panel = slmlab.side_by_side(["a", "b"], columns=[{"seed": 5}], seed=1)
        panel.columns.next_seed()
        assert [one.options["seed"] for one in panel.columns.setups] == [6, 2]

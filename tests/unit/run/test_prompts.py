"""Prompt templates."""

from __future__ import annotations

import pytest

from slmlab.errors import PromptError
from slmlab.run import prompts


class TestPrompts:
    def test_the_tutorials_template(self):
        text = prompts.fill("step_by_step", question="Why?")
        assert text == "Question: Why?\n\nAnswer: Let's think step by step."

    def test_every_template_has_variables_and_fills(self):
        for name in prompts.TEMPLATES:
            names = prompts.variables(name)
            assert names
            assert prompts.fill(name, **dict.fromkeys(names, "x"))

    @pytest.mark.parametrize(
        ("template", "values", "message"),
        [
            ("steps_by_step", {}, "Did you mean 'step_by_step'"),
            ("step_by_step", {}, "also needs question"),
            ("step_by_step", {"question": "x", "qestion": "y"}, "no variable 'qestion'. Did you"),
            ("Say {", {}, "not well formed"),
            ("Say {0}", {}, "no variable's name"),
        ],
    )
    def test_mistakes_are_named(self, template, values, message):
        with pytest.raises(PromptError, match=message):
            prompts.fill(template, **values)

    def test_doubled_braces_are_text(self):
        assert prompts.fill('Reply as {{"x": 1}} to {q}', q="hi") == 'Reply as {"x": 1} to hi'

"""Prompt templates, and chains as far as they go without a server."""

from __future__ import annotations

import pytest
from langchain_core.runnables import Runnable

from slmlab.errors import PromptError
from slmlab.run import prompts
from slmlab.run.options import DEFAULT_OPTIONS


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


def test_a_chain_is_a_prompt_template_before_an_ollama_llm():
    made = prompts.chain("some:1b", "explain", host="http://127.0.0.1:1", temperature=0)
    template, bound = made.first, made.last
    assert isinstance(made, Runnable)
    assert type(template).__name__ == "PromptTemplate"
    assert set(template.input_variables) == {"topic", "audience"}
    assert type(bound.bound).__name__ == "OllamaLLM"
    assert (bound.bound.model, bound.bound.base_url) == ("some:1b", "http://127.0.0.1:1")
    assert bound.kwargs["options"] == DEFAULT_OPTIONS | {"temperature": 0}


def test_what_is_wrong_with_a_chain_is_said_when_it_is_made():
    with pytest.raises(PromptError, match="Did you mean 'step_by_step'"):
        prompts.chain("some:1b", "step_by_stepp")
    with pytest.raises(PromptError, match="Did you mean 'num_predict'"):
        prompts.chain("some:1b", max_tokens=5)
    with pytest.raises(PromptError, match="Did you mean 'host'"):
        prompts.chain("some:1b", base_url="http://127.0.0.1:1")

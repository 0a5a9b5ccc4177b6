"""Prompt templates, and chains as far as they go without a server."""

from __future__ import annotations

import pytest
from langchain_core.runnables import Runnable

from slmlab.errors import ModelError, PromptError
from slmlab.run import prompts
from slmlab.run.generate import generate
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


@pytest.mark.parametrize("think", [False, True])
def test_a_chain_sends_what_ask_sends(wire, think):
    wire.thinking = "Let me see." if think else ""
    chain = prompts.chain("a:1b", "plain", host=wire.url, think=think, num_predict=9)
    text = chain.invoke({"question": "Hi"})
    record = generate("a:1b", "Hi", host=wire.url, think=think, num_predict=9)
    by_chain, by_generate = wire.sent("/api/generate")
    assert by_chain == by_generate
    assert by_chain["think"] is think
    assert text == record.text


def test_what_is_wrong_with_a_chain_is_said_when_it_is_made():
    with pytest.raises(PromptError, match="Did you mean 'step_by_step'"):
        prompts.chain("some:1b", "step_by_stepp")
    with pytest.raises(PromptError, match="Did you mean 'num_predict'"):
        prompts.chain("some:1b", max_tokens=5)
    with pytest.raises(PromptError, match="Did you mean 'host'"):
        prompts.chain("some:1b", base_url="http://127.0.0.1:1")
    with pytest.raises(ModelError, match="given by their names"):
        prompts.chain(["some:1b"])

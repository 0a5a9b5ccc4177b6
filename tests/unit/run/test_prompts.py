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
            ("step-by-step", {"question": "x"}, "Did you mean 'step_by_step'"),
            ("step_by_step", {}, "also needs question"),
            ("step_by_step", {"question": "x", "qestion": "y"}, "no variable 'qestion'. Did you"),
            ("Say {", {}, "not well-formed"),
            ("Say {0}", {}, "not a variable name"),
        ],
    )
    def test_mistakes_are_named(self, template, values, message):
        with pytest.raises(PromptError, match=message):
            prompts.fill(template, **values)

    def test_doubled_braces_are_text(self):
        assert prompts.fill('Reply as {{"x": 1}} to {q}', q="hi") == 'Reply as {"x": 1} to hi'


class TestVariables:
    @pytest.mark.parametrize(
        ("template", "values", "prompt"),
        [
            ("{{question}}", {"question": "Why?"}, "Why?"),
            ("Q: {{ question }}\nA:", {"question": "Why?"}, "Q: Why?\nA:"),
            ('Fill {"a": {{x}}} in {{y}}', {"x": 1, "y": 2}, 'Fill {"a": 1} in 2'),
            ('Like {{"x": 1}}: {q}', {"q": "hi"}, 'Like {"x": 1}: hi'),
            ("Say {{word}} or {word}", {"word": "hi"}, "Say {word} or hi"),
            ("{Standard Question} {n-1}", {"Standard Question": "Why?", "n-1": 3}, "Why? 3"),
            ("{{Standard Question}}", {"Standard Question": "Why?"}, "Why?"),
            ("{Frage (auf Deutsch)?}", {"Frage (auf Deutsch)?": "Wozu?"}, "Wozu?"),
            ("Use {template} here", {"template": "x"}, "Use x here"),
            ("{x:.2f} {y!r}", {"x": 1.234, "y": "a"}, "1.23 'a'"),
        ],
    )
    def test_they_are_filled(self, template, values, prompt):
        assert prompts.fill(template, **values) == prompt
        text = prompts.template_text(template)
        assert prompts.template_text(text) == text
        assert prompts.fill(text, **values) == prompt
        made = prompts.chain("some:1b", template, host="http://127.0.0.1:1").first
        assert made.format(**values) == prompt

    @pytest.mark.parametrize(
        ("template", "values", "message"),
        [
            ("{x:.2f}", {"x": "1"}, "cannot be filled: Unknown format code"),
            ("{x:{width}}", {"x": "1"}, "cannot be filled"),
            ("{x.y}", {"x": "1"}, "not a variable name"),
            ("{x[0]}", {"x": "1"}, "not a variable name"),
            ('{"a": 1} for {x}', {"x": "1"}, "not a variable name"),
            (5, {}, "A template is a text"),
            ("{% if x %}{{ x }}{% endif %}", {"x": "1"}, "has {% if x %}, which is not a variable"),
            ("{{#each x}}{{x}}{{/each}}", {"x": "1"}, "has {{#each x}}, which is not a variable"),
            ("{{x}} in {{ y | upper }}", {"x": "1"}, r"has {{ y \| upper }}, which is not"),
            ("{x:>999999999999999}", {"x": "1"}, r"cannot be filled: \w+\.$"),
        ],
    )
    def test_or_it_is_said_why_not(self, template, values, message):
        with pytest.raises(PromptError, match=message):
            prompts.fill(template, **values)

    def test_a_files_name_is_no_template(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "t.txt").write_text("{question}")
        with pytest.raises(PromptError, match=r"'t\.txt' is a file; give its text"):
            prompts.template_text("t.txt")


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

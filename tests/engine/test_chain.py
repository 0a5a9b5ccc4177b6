"""A chain sends what ``ask`` sends: the same prompt, the same options, through no proxy."""

import os

import pytest
from langchain_core.callbacks import BaseCallbackHandler

import slmlab

QUESTION = "What is the hypotenuse of a right-angled triangle with sides 3 and 4?"


class Counters(BaseCallbackHandler):
    """Keeps the token counts of the last run."""

    def on_llm_end(self, response, **_):
        self.info = response.generations[0][0].generation_info


@pytest.fixture
def dead_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "NO_PROXY" not in os.environ


@pytest.mark.parametrize("template", ["plain", "step_by_step"])
def test_a_chain_gives_what_ask_gives(engine, dead_proxy, template):
    settings = {"temperature": 0, "num_predict": 40, "repeat_penalty": 1.3}
    record = slmlab.ask(engine.model, QUESTION, template=template, host=engine.url, **settings)
    chain = slmlab.chain(engine.model, template, host=engine.url, **settings)
    counters = Counters()
    text = chain.invoke({"question": QUESTION}, {"callbacks": [counters]})
    assert len(text) > 20
    assert text == record.text
    assert counters.info["prompt_eval_count"] == record.prompt_tokens
    assert counters.info["eval_count"] == record.tokens


def test_the_defaults_are_those_of_ask(embedded, dead_proxy):
    """At the default temperature the same seed gives the same text; without it, it would not."""
    record = slmlab.generate(embedded.model, QUESTION, host=embedded.url, num_predict=40)
    chain = slmlab.chain(embedded.model, host=embedded.url, num_predict=40)
    assert [chain.invoke({"question": QUESTION}) for _ in range(2)] == [record.text] * 2
    other = slmlab.chain(embedded.model, host=embedded.url, num_predict=40, seed=1)
    assert other.invoke({"question": QUESTION}) != record.text

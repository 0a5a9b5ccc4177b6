"""The program that a playground shows: the chain that ``slmlab.chain`` makes."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.run.options import DEFAULT_OPTIONS, EXTRA_OPTIONS, full_options
from slmlab.widgets.langchain_code import langchain_code

HERE, THERE = "http://127.0.0.1:11434", "http://192.0.2.1:11434"
TEMPLATE = "Explain {topic} {{now}}."
EVERY_OPTION = {name: value + 1 for name, value in DEFAULT_OPTIONS.items()} | {
    name: ["END", "\"'"] if name == "stop" else 2 for name in EXTRA_OPTIONS
}


def made(**more) -> dict:
    """The names that the program makes, without its last line, which asks the model."""
    given = {"system": "", "host": HERE, "options": {}} | more
    program = langchain_code("m:1b", TEMPLATE, {"topic": "{tides}"}, **given)
    *setup, call = program.splitlines()
    names: dict = {}
    exec("\n".join(setup), names)
    return names | {"call": call}


@pytest.mark.parametrize("host", [HERE, THERE])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.25}, EVERY_OPTION])
def test_it_is_the_chain_that_chain_makes(host, options):
    prompt, llm = made(host=host, options=options)["chain"].steps
    wanted_prompt, wanted = slmlab.chain("m:1b", TEMPLATE, host=host, **options).steps
    assert prompt == wanted_prompt
    assert llm.kwargs == wanted.kwargs == {"options": full_options(options), "reasoning": False}
    assert type(llm.bound) is type(wanted.bound)
    # chain() also has a time limit.
    trusts = wanted.bound.client_kwargs["trust_env"]
    assert llm.bound.client_kwargs.get("trust_env", True) is trusts is (host == THERE)
    kept = {"client_kwargs"}
    assert llm.bound.model_dump(exclude=kept) == wanted.bound.model_dump(exclude=kept)


def test_a_text_is_sent_as_it_is():
    names = made()
    assert names["call"] == "chain.invoke({'topic': '{tides}'})"
    assert names["prompt"].invoke({"topic": "{tides}"}).to_string() == "Explain {tides} {now}."


def test_a_system_prompt_makes_it_a_chat():
    names = made(system="Use {braces}.", host=THERE, options={"stop": "END"})
    messages = names["prompt"].invoke({"topic": "x"}).to_messages()
    assert [(one.type, one.content) for one in messages] == [
        ("system", "Use {braces}."),
        ("human", "Explain x {now}."),
    ]
    llm = names["chain"].last
    assert (type(llm.bound).__name__, llm.bound.base_url) == ("ChatOllama", THERE)
    assert llm.kwargs == {"options": full_options({"stop": "END"}), "reasoning": False}
    assert names["call"].endswith(".content")

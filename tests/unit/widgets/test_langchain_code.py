"""The program that a playground shows: the chain that ``slmlab.chain`` makes."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.errors import PromptError
from slmlab.run.options import (
    DEFAULT_OPTIONS,
    DROPPED_BY_LANGCHAIN,
    EXTRA_OPTIONS,
    full_options,
)
from slmlab.widgets.langchain_code import conversation_code, langchain_code

HERE, THERE = "http://127.0.0.1:11434", "http://192.0.2.1:11434"
TEMPLATE = "Explain {topic} {{now}}."
EVERY_OPTION = {name: value + 1 for name, value in DEFAULT_OPTIONS.items()} | {
    name: ["END", "\"'"] if name == "stop" else 2
    for name in EXTRA_OPTIONS
    if name not in DROPPED_BY_LANGCHAIN
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


def test_what_is_lost_on_the_way_is_said():
    for system, said in (("", True), ("Be brief.", False)):
        code = langchain_code(
            "m:1b", TEMPLATE, {"topic": "x"}, system=system, host=HERE, options={"min_p": 0.1}
        )
        assert ("# min_p is lost: OllamaLLM drops it" in code) is said
    with pytest.raises(PromptError, match="min_p cannot be set in a chain"):
        slmlab.chain("m:1b", TEMPLATE, min_p=0.1)


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


def test_a_conversation_is_sent_with_all_its_messages():
    talk = [
        {"role": role, "content": f"It's {role}'s {{x}}."}
        for role in ("system", "user", "assistant", "user")
    ]
    *setup, call = conversation_code("m:1b", talk, HERE, {"temperature": 0.25}).splitlines()
    names: dict = {}
    exec("\n".join(setup), names)
    assert names["messages"] == talk
    assert (names["llm"].model, names["llm"].base_url) == ("m:1b", HERE)
    assert names["options"] == full_options({"temperature": 0.25})
    assert call == "llm.bind(options=options, reasoning=False).invoke(messages).content"

"""The program that a playground shows."""

from __future__ import annotations

from slmlab.widgets.langchain_code import langchain_code


def made(**more) -> dict:
    """The names that the program makes, without its last line, which asks the model."""
    given = {"system": "", "host": "http://127.0.0.1:11434", "options": {}} | more
    program = langchain_code("m:1b", "Explain {topic} {{now}}.", {"topic": "{tides}"}, **given)
    *setup, call = program.splitlines()
    names: dict = {}
    exec("\n".join(setup), names)
    return names | {"call": call}


def test_a_text_is_sent_as_it_is():
    names = made(options={"temperature": 0.25, "num_predict": 7})
    assert names["call"] == "chain.invoke({'topic': '{tides}'})"
    assert names["prompt"].invoke({"topic": "{tides}"}).to_string() == "Explain {tides} {now}."
    llm = names["chain"].last
    assert (type(llm).__name__, llm.model, llm.base_url) == ("OllamaLLM", "m:1b", None)
    assert (llm.temperature, llm.num_predict, llm.num_ctx) == (0.25, 7, 4096)


def test_a_system_prompt_makes_it_a_chat():
    names = made(system="Use {braces}.", host="http://there:1")
    messages = names["prompt"].invoke({"topic": "x"}).to_messages()
    assert [(one.type, one.content) for one in messages] == [
        ("system", "Use {braces}."),
        ("human", "Explain x {now}."),
    ]
    assert names["chain"].last.base_url == "http://there:1"
    assert names["call"].endswith(".content")

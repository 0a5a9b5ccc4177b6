"""LangChain code that does what a widget does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmlab.engines.address import is_local
from slmlab.run.options import DROPPED_BY_LANGCHAIN, Prompt, full_options


def langchain_code(
    model: str,
    template: str,
    values: Mapping[str, str],
    *,
    system: str,
    host: str,
    options: Mapping[str, Any],
) -> str:
    """A program whose last line is the answer: the equivalent of ``slmlab.chain``, written out.

    It sends what the widget sends, including every option and ``reasoning``, and bypasses proxies
    for a server on this machine.

    Args:
        model: the model's name.
        template: the template's text.
        values: what fills its variables.
        system: a system prompt; blank for none.
        host: the server's address.
        options: sampling options that were set; the others are slmlab's defaults.

    Raises:
        PromptError: an option is not usable.
    """
    chat = bool(system.strip())
    llm = "ChatOllama" if chat else "OllamaLLM"
    # Before an OllamaLLM, a ChatPromptTemplate would put "Human: " in front of the text.
    prompt = "ChatPromptTemplate" if chat else "PromptTemplate"
    if chat:
        make = f"from_messages([('system', {_as_template(system)!r}), ('user', {template!r})])"
    else:
        make = f"from_template({template!r})"
    arguments = f"model={model!r}, base_url={host!r}"
    if is_local(host):
        arguments += ", client_kwargs={'trust_env': False}"
    sent = "".join(f"    {name!r}: {value!r},\n" for name, value in full_options(options).items())
    if not chat and DROPPED_BY_LANGCHAIN & options.keys():
        sent += f"    # {', '.join(DROPPED_BY_LANGCHAIN)} is lost: OllamaLLM drops it\n"
    return (
        f"from langchain_core.prompts import {prompt}\n"
        f"from langchain_ollama import {llm}\n\n"
        f"prompt = {prompt}.{make}\n"
        f"llm = {llm}({arguments})\n"
        f"options = {{\n{sent}}}\n"
        "chain = prompt | llm.bind(options=options, reasoning=False)\n"
        f"chain.invoke({dict(values)}){'.content' if chat else ''}"
    )


def conversation_code(model: str, prompt: Prompt, host: str, options: Mapping[str, Any]) -> str:
    """A program that sends the messages of a conversation, whose last line is the answer.

    Args:
        model: the model's name.
        prompt: the messages up to the last question.
        host: the server's address.
        options: sampling options that were set; the others are slmlab's defaults.

    Raises:
        PromptError: an option is not usable.
    """
    arguments = f"model={model!r}, base_url={host!r}"
    if is_local(host):
        arguments += ", client_kwargs={'trust_env': False}"
    sent = "".join(f"    {name!r}: {value!r},\n" for name, value in full_options(options).items())
    messages = "".join(f"    {dict(one)!r},\n" for one in prompt if not isinstance(one, str))
    return (
        "from langchain_ollama import ChatOllama\n\n"
        f"llm = ChatOllama({arguments})\n"
        f"options = {{\n{sent}}}\n"
        f"messages = [\n{messages}]\n"
        "llm.bind(options=options, reasoning=False).invoke(messages).content"
    )


def _as_template(text: str) -> str:
    """A text as a template without variables."""
    return text.replace("{", "{{").replace("}", "}}")

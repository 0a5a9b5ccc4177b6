"""The lines of LangChain that do what a widget does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmlab.engines.address import DEFAULT_PORT
from slmlab.run.options import DEFAULT_OPTIONS

# What LangChain's OllamaLLM has fields for; everything else is at Ollama's own default.
FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "repeat_penalty",
    "repeat_last_n",
    "seed",
    "num_ctx",
    "num_predict",
)


def langchain_code(
    model: str,
    template: str,
    values: Mapping[str, str],
    *,
    system: str,
    host: str,
    options: Mapping[str, Any],
) -> str:
    """A program whose last line is the answer.

    Args:
        model: the model's name.
        template: the template's text.
        values: what fills its variables.
        system: a system prompt; blank for none.
        host: the server's address.
        options: sampling options that were set; the others are slmlab's defaults.
    """
    chat = bool(system.strip())
    llm = "ChatOllama" if chat else "OllamaLLM"
    # A ChatPromptTemplate before an OllamaLLM puts "Human: " before the text.
    prompt = "ChatPromptTemplate" if chat else "PromptTemplate"
    if chat:
        make = f"from_messages([('system', {_as_template(system)!r}), ('user', {template!r})])"
    else:
        make = f"from_template({template!r})"
    sent = DEFAULT_OPTIONS | dict(options)
    address = {} if host == f"http://127.0.0.1:{DEFAULT_PORT}" else {"base_url": host}
    arguments = {"model": model} | address | {name: sent[name] for name in FIELDS}
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return (
        f"from langchain_core.prompts import {prompt}\n"
        f"from langchain_ollama import {llm}\n\n"
        f"prompt = {prompt}.{make}\n"
        f"chain = prompt | {llm}({written})\n"
        f"chain.invoke({dict(values)}){'.content' if chat else ''}"
    )


def _as_template(text: str) -> str:
    """A text as a template without variables."""
    return text.replace("{", "{{").replace("}", "}}")

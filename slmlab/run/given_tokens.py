"""How probable given tokens are, as the server reports it: all of them, or the likeliest few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slmlab import models
from slmlab.engines import client, server
from slmlab.errors import PromptError
from slmlab.run.logprobs import MOST, need_logprobs, token_text
from slmlab.run.target import Target, resolve_target

ROUTE = "/slmlab/likelihood"


def embedded(model: str, num_ctx: int, host: str | None) -> Target:
    """A model on an embedded engine.

    Raises:
        PromptError: the server is Ollama.
        ModelError: there is no such model.
        ServerError: no server answers.
    """
    target = resolve_target(model, num_ctx, server.address_of(host))
    if target.engine != "embedded":
        raise PromptError(
            f"Ollama does not give the log-probabilities of given tokens, and {target.host} is "
            "Ollama. The embedded engine does: slmlab.start('embedded')."
        )
    return target


def token_rows(
    target: Target, texts: Sequence[str], num_ctx: int, **more: Any
) -> list[list[dict[str, Any]]]:
    """The rows of the tokens of each text, from the embedded engine."""
    body = {"model": target.model, "continuations": texts, "options": {"num_ctx": num_ctx}, **more}
    tokens: list[list[dict[str, Any]]] = [[] for _ in texts]
    with models.errors_as_sentences(target.host, target.model):
        for line in client.lines(target.host, ROUTE, body):
            tokens[line["continuation"]] += line["tokens"]
    return tokens


def first_tokens(
    target: Target, prompt: str, choices: Sequence[str], num_ctx: int, chat: bool
) -> list[float]:
    """The log-probabilities of choices of one token each, as far as Ollama tells them."""
    need_logprobs(target.engine, target.engine_version, target.host)
    options = {"num_predict": 1, "temperature": 0, "num_ctx": num_ctx}
    ollama = client.client(target.host)
    with models.errors_as_sentences(target.host, target.model):
        if chat:
            message = [{"role": "user", "content": prompt}]
            answer: Any = ollama.chat(
                target.model, message, options=options, logprobs=True, top_logprobs=MOST
            )
        else:
            answer = ollama.generate(
                target.model, prompt, raw=True, options=options, logprobs=True, top_logprobs=MOST
            )
    likely = {
        token_text(one): float(one["logprob"])
        for row in list(answer["logprobs"] or ())[:1]
        for one in row["top_logprobs"] or ()
    }
    if missing := [one for one in choices if one not in likely]:
        raise PromptError(
            f"Ollama does not give the log-probabilities of given tokens, only of the {MOST} "
            f"likeliest, and {missing[0]!r} is not one of them. The embedded engine gives them "
            "all: slmlab.start('embedded')."
        )
    return [likely[one] for one in choices]

"""Find out whether the server truncated a prompt to fit the context; Ollama does so silently.

The embedded engine reports it with each answer. Of Ollama it is known how it truncates: it cuts a
text to a certain number of tokens, so that any other number means a whole prompt; from a
conversation it first drops the oldest messages. If the number of prompt tokens leaves both
possible, another request for a single token is sent, whose result tells the two apart.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from slmlab.engines.client import Session
from slmlab.run.options import Prompt

log = logging.getLogger(__name__)

# Older versions cut a prompt to the context length, this and later ones to about half of it.
CUTS_TO_HALF = (0, 30)
# From this version on a request can forbid truncation, and fails if the prompt does not fit.
CAN_REFUSE = (0, 13)
# An upper bound for the tokens that a chat template puts around a message.
AROUND_A_MESSAGE = 64
DEFAULT_NUM_KEEP = 4


def from_count(
    prompt: Prompt, tokens: int, num_ctx: int, num_keep: int, version: str
) -> bool | None:
    """Whether Ollama truncated a prompt, by the number of tokens it read; None: undecided.

    Args:
        prompt: what was sent.
        tokens: the server's count of the prompt's tokens.
        num_ctx: the context length that the server gives the model.
        num_keep: how many tokens at the beginning are kept when a prompt is cut.
        version: the server's version.
    """
    if not tokens:
        return None
    if number(version) < CUTS_TO_HALF:
        # A prompt that just fills the context is truncated with the first generated token.
        if tokens >= num_ctx:
            return True
    elif tokens in _counts_after_a_cut(num_ctx, num_keep):
        return None
    # A message is only dropped if it does not fit beside the tokens that were read.
    if any(tokens + size + AROUND_A_MESSAGE > num_ctx for size in _sizes_of_droppable(prompt)):
        return None
    return False


def from_second_request(
    session: Session,
    host: str,
    version: str,
    model: str,
    prompt: Prompt,
    tokens: int,
    options: Mapping[str, Any],
    think: bool,
    timeout: float,
) -> bool | None:
    """Whether Ollama truncated a prompt, found out by a request for one token; None: unknown.

    A newer Ollama is told not to truncate. It returns an error if the prompt does not fit, and
    reads more tokens than before if llama.cpp, which rounds ``num_ctx`` up, just has room for the
    whole prompt; if the prompt was whole before, it reads as many again. An older one gets the
    conversation without its oldest message: if it reads just as many tokens, it had dropped that
    message before.
    """
    refuses = number(version) >= CAN_REFUSE
    if not refuses:
        if isinstance(prompt, str):
            return None
        prompt = _without_oldest(prompt)
    path, field = ("generate", "prompt") if isinstance(prompt, str) else ("chat", "messages")
    body = {
        "model": model,
        field: prompt,
        "options": {**options, "num_predict": 1},
        "think": think,
        "stream": False,
    }
    http = session.get_or_create(
        ("http", host, timeout), lambda: httpx.Client(**session.client_kwargs(host, timeout))
    )
    try:
        answer = http.post(
            f"{host}/api/{path}", json=body | ({"truncate": False} if refuses else {})
        )
        log.debug("checked whether %s truncated a prompt: status %d", host, answer.status_code)
        if refuses and answer.status_code == 400 and "context" in answer.text:
            return True
        if answer.status_code != 200:
            return None
        tokens_again = answer.json()["prompt_eval_count"]
        if not refuses:
            return bool(tokens_again == tokens)
        return None if tokens_again < tokens else bool(tokens_again > tokens)
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        log.debug("could not check whether %s truncated a prompt: %r", host, error)
        return None


def number(version: str) -> tuple[int, ...]:
    """The numbers in a version, for comparison: ``0.30.1-rc2`` is (0, 30, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def _counts_after_a_cut(num_ctx: int, num_keep: int) -> set[int]:
    """How many tokens may be left of a text that was too long (Ollama's contextShiftPromptLimit).

    A tokenizer that adds a token at the beginning of each text keeps that one too.
    """
    most = num_ctx - 1
    kept = most if num_keep < 0 else num_keep
    return {num_ctx - max((num_ctx - min(keep, most)) // 2, 1) for keep in (kept, kept + 1)}


def _sizes_of_droppable(prompt: Prompt) -> list[int]:
    """Upper bounds for the tokens of the messages that can be dropped: their sizes in bytes."""
    if isinstance(prompt, str):
        return []
    return [len(one["content"].encode()) for one in prompt[:-1] if one["role"] != "system"]


def _without_oldest(messages: Sequence[Mapping[str, str]]) -> Prompt:
    """A conversation without the message that is dropped first, the oldest."""
    oldest = next(place for place, one in enumerate(messages) if one["role"] != "system")
    return [*messages[:oldest], *messages[oldest + 1 :]]

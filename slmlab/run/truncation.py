"""Whether the server cut a prompt to fit the context. Ollama does it without a word to its caller.

The embedded engine counts, and says so with its answer. Of Ollama we know how it cuts: from a text
it takes tokens until a certain number is left, so any other number is that of a whole prompt; from
a conversation it first drops the oldest messages. Where its count of the prompt's tokens leaves
both possible, it is asked for one more token, in a way that tells the two apart.
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

# Until then a prompt was cut to the context's length, since then to about half of it.
CUTS_TO_HALF = (0, 30)
# Since then a request may forbid the cut, and is refused where the prompt does not fit.
CAN_REFUSE = (0, 13)
# What a chat template puts around a message, in tokens, at most.
AROUND_A_MESSAGE = 64
DEFAULT_NUM_KEEP = 4


def from_count(
    prompt: Prompt, tokens: int, num_ctx: int, num_keep: int, version: str
) -> bool | None:
    """Whether Ollama cut a prompt, told from how many tokens it read; None: both are possible.

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
        # One that just fills the context is cut too, as soon as the first token is written.
        if tokens >= num_ctx:
            return True
    elif tokens in _counts_after_a_cut(num_ctx, num_keep):
        return None
    # The last message that was dropped did not fit beside what was read.
    if any(tokens + size + AROUND_A_MESSAGE > num_ctx for size in _sizes_of_droppable(prompt)):
        return None
    return False


def ask_again(
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
    """Whether Ollama cut a prompt, found out by a request for one token; None: it does not say.

    A newer Ollama is asked not to cut, which it refuses where that is impossible, and reads nothing
    again where the prompt is whole. An older one is sent the conversation without its oldest
    message; where it reads just as many tokens, it had dropped that message before.
    """
    refuses = number(version) >= CAN_REFUSE
    if not refuses:
        if isinstance(prompt, str):
            return None
        prompt = _without_oldest(prompt)
    path, what = ("generate", "prompt") if isinstance(prompt, str) else ("chat", "messages")
    body = {
        "model": model,
        what: prompt,
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
        log.debug("%s was asked again, whether it cut a prompt: %d", host, answer.status_code)
        if refuses and answer.status_code == 400 and "context" in answer.text:
            return True
        if answer.status_code != 200:
            return None
        return False if refuses else answer.json().get("prompt_eval_count") == tokens
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        log.debug("%s does not say whether it cut a prompt: %r", host, error)
        return None


def number(version: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: ``0.30.1-rc2`` is (0, 30, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3])


def _counts_after_a_cut(num_ctx: int, num_keep: int) -> set[int]:
    """How many tokens are left of a text that was too long (contextShiftPromptLimit of 0.33).

    A tokenizer that begins each text with a token of its own keeps this one too.
    """
    most = num_ctx - 1
    kept = most if num_keep < 0 else num_keep
    return {num_ctx - max((num_ctx - min(keep, most)) // 2, 1) for keep in (kept, kept + 1)}


def _sizes_of_droppable(prompt: Prompt) -> list[int]:
    """The sizes in bytes, and so at most in tokens, of the messages that can be dropped."""
    if isinstance(prompt, str):
        return []
    return [len(one["content"].encode()) for one in prompt[:-1] if one["role"] != "system"]


def _without_oldest(messages: Sequence[Mapping[str, str]]) -> Prompt:
    """A conversation without the message that is dropped first."""
    oldest = next(place for place, one in enumerate(messages) if one["role"] != "system")
    return [*messages[:oldest], *messages[oldest + 1 :]]

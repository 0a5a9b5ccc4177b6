"""What can be sent: sampling options with their defaults, and prompts, each checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from slmlab import hardware
from slmlab.errors import PromptError

# Ollama's own defaults, sent with every request so that the engine, its version and the model's
# Modelfile cannot change them behind one's back. What is ours: a seed, so that a run can be
# repeated; a context length, which Ollama would otherwise choose by the GPU's memory; and an end.
DEFAULT_OPTIONS: dict[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
    "num_ctx": 4096,
    "num_predict": 512,
}
EXTRA_OPTIONS = ("stop", "num_thread", "num_gpu", "num_batch", "num_keep")

Prompt = str | Sequence[Mapping[str, str]]


def full_options(**options: Any) -> dict[str, Any]:
    """All sampling options that a request will carry: the given ones over ``DEFAULT_OPTIONS``.

    The environment's ``SLMLAB_TOKENS`` caps ``num_predict``, for runs that only have to show that
    everything works.

    Raises:
        PromptError: a name that is no option, or a value that is no number.
    """
    known = (*DEFAULT_OPTIONS, *EXTRA_OPTIONS)
    for name in options:
        if name not in known:
            from slmlab.errors import did_you_mean

            raise PromptError(
                f"There is no option {name!r}.{did_you_mean(name, known)} "
                f"Options: {', '.join(known)}."
            )
    given = {name: value for name, value in options.items() if value is not None}
    full = DEFAULT_OPTIONS | {name: _as_option(name, value) for name, value in given.items()}
    if most := hardware.env_number("SLMLAB_TOKENS"):
        full["num_predict"] = min(full["num_predict"], most)
    return full


def _as_option(name: str, value: Any) -> Any:
    """The value in its option's own type, so that 0 and 0.0 are one setting."""
    if name == "stop":
        return [value] if isinstance(value, str) else list(value)
    kind = type(DEFAULT_OPTIONS.get(name, 0))
    # numpy's numbers, as they come out of tables, are numbers too.
    if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise PromptError(f"{name} is a number; got {value!r}.")
    if kind is int and int(value) != value:
        raise PromptError(f"{name} is a whole number; got {value!r}.")
    return kind(value)


def validate_prompt(prompt: Prompt) -> Prompt:
    """The prompt, if it is one."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise PromptError("The prompt is empty; write a question or a text to go on from.")
        return _whole(prompt)
    if not isinstance(prompt, Sequence):
        raise PromptError(f"A prompt is a text or a list of messages; got {prompt!r}.")
    if not prompt:
        raise PromptError("The list of messages is empty.")
    messages = [dict(one) if isinstance(one, Mapping) else one for one in prompt]
    for message in messages:
        if (
            not isinstance(message, Mapping)
            or set(message) != {"role", "content"}
            or message["role"] not in ("system", "user", "assistant")
            or not isinstance(message["content"], str)
        ):
            raise PromptError(
                "Each message is {'role': 'system' | 'user' | 'assistant', 'content': text}; "
                f"got {message!r}."
            )
        _whole(message["content"])
    return messages


def _whole(text: str) -> str:
    """The text, if all of it can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The prompt has half a character (a lone surrogate) at position {error.start}; it can "
            "be repaired with text.encode(errors='replace').decode()."
        ) from None
    return text


# A server loads the model anew when one of these changes, so the grid changes them last.
LOAD_OPTIONS = ("num_ctx", "num_gpu", "num_batch", "num_thread")

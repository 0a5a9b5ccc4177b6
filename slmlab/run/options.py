"""Sampling options with their defaults, and the validation of options and prompts."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from slmlab import hardware
from slmlab.errors import PromptError, did_you_mean
from slmlab.run import images, tools

# Ollama's own defaults, sent with every request so that no engine, version or Modelfile can change
# them unnoticed. Three are slmlab's: a fixed seed, so that runs can be repeated; a fixed context
# length, which Ollama would choose by the GPU's memory; and a limit to the length of answers.
DEFAULT_OPTIONS: dict[str, Any] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
    "num_ctx": 4096,
    "num_predict": 512,
}
EXTRA_OPTIONS = ("min_p", "stop", "num_thread", "num_gpu", "num_batch", "num_keep")
# All settings of an answer.
ALL_OPTIONS = (*DEFAULT_OPTIONS, *EXTRA_OPTIONS, *tools.FIELDS)
# LangChain's OllamaLLM drops it.
DROPPED_BY_LANGCHAIN = frozenset({"min_p"})
# What has one of these is sent without LangChain.
NOT_BY_LANGCHAIN = DROPPED_BY_LANGCHAIN | {*tools.FIELDS}
# What is no option here, and why.
NOT_SENT = {
    "typical_p": "typical_p cannot be set: Ollama refuses every request with it since 0.34.",
    "images": "images is no option: images go with their prompt, in a column `images` of the table "
    "of prompts or in a message of the user, {'role': 'user', 'content': …, 'images': [path, …]}.",
}
# A server reloads the model when one of these changes, so a grid varies them slowest.
LOAD_OPTIONS = ("num_ctx", "num_gpu", "num_batch", "num_thread")

# How many times as many tokens an answer gets that was cut and is asked for again.
ASK_AGAIN_FACTOR = 4

Prompt = str | Sequence[Mapping[str, Any]]


class Options(TypedDict, total=False):
    """The sampling options of a generation; None, like omitting one, means its default."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    repeat_last_n: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    num_ctx: int | None
    num_predict: int | None
    stop: str | Sequence[str] | None
    num_thread: int | None
    num_gpu: int | None
    num_batch: int | None
    num_keep: int | None
    format: str | Mapping[str, Any] | type | None
    tools: Sequence[Any] | str | None


# Options and parameters (left), and their names in other libraries or common variants.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "num_predict": (
        "max_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_length",
        "n_predict",
    ),
    "num_ctx": (
        "n_ctx",
        "ctx_size",
        "context",
        "context_length",
        "context_size",
        "context_window",
        "max_context",
        "max_seq_len",
        "max_model_len",
    ),
    "temperature": ("temp", "t"),
    "repeat_penalty": ("repetition_penalty",),
    "seed": ("random_state", "random_seed", "rng"),
    "stop": ("stop_sequences", "stop_words"),
    "format": ("response_format", "schema", "json_schema", "grammar"),
    "tools": ("functions", "tool"),
    "num_thread": ("n_threads", "num_threads", "threads"),
    "num_gpu": ("n_gpu_layers", "gpu_layers", "ngl"),
    "num_batch": ("n_batch", "batch_size"),
    "num_keep": ("n_keep",),
    "repeats": ("n", "repeat", "runs", "num_runs", "num_return_sequences", "times"),
    "system": ("system_prompt", "system_message", "instructions"),
    "think": ("thinking", "reasoning"),
    "logprobs": ("top_logprobs", "log_probs", "n_probs"),
    "model": ("models", "name", "names", "model_name", "model_id"),
    "models": ("model", "name", "names", "model_name", "model_id"),
    "prompt": ("prompts", "question", "questions", "text", "texts", "messages", "input"),
    "prompts": ("prompt", "question", "questions", "text", "texts", "messages", "inputs"),
    "host": ("hosts", "server", "base_url", "url"),
    "hosts": ("host", "server", "servers", "base_url", "url"),
    "on_text": ("callback", "callbacks", "stream", "streaming"),
}


def full_options(options: Mapping[str, Any], *, parameters: Iterable[str] = ()) -> dict[str, Any]:
    """All sampling options of a request: the given ones over ``DEFAULT_OPTIONS``.

    The environment variable ``SLMLAB_TOKENS`` caps ``num_predict``, for runs that only have to show
    that everything works; a line on stderr says so, once.

    Args:
        options: values by name; None means the default.
        parameters: the other parameters of the calling function, so that a mistyped ``repeat``
            gets the hint ``repeats`` (see ``parameters_of``).

    Raises:
        PromptError: an option is unknown, or a value is not of its kind.
    """
    known = ALL_OPTIONS
    for name in options:
        if name in NOT_SENT:
            raise PromptError(NOT_SENT[name])
        if name not in known:
            hint = _hint(name, [*known, *parameters])
            raise PromptError(f"There is no option {name!r}.{hint} Options: {', '.join(known)}.")
    given = {name: value for name, value in options.items() if value is not None}
    full = DEFAULT_OPTIONS | {name: _as_option(name, value) for name, value in given.items()}
    if most := hardware.env_cap("SLMLAB_TOKENS", "answers end after {} tokens at the latest"):
        length = full["num_predict"]
        full["num_predict"] = min(length, most) if length >= 0 else most  # below 0: no limit
    return full


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """The names of a function's own parameters, without its ``**options``."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]


def _hint(name: str, accepted: Sequence[str]) -> str:
    """`` Did you mean …?`` with one of the accepted names; empty without a near one."""
    standard_names = [one for one, others in OTHER_NAMES.items() if name.lower() in (one, *others)]
    if not standard_names:
        return did_you_mean(name, accepted)
    # A known name for something that this function does not have gets no other suggestion.
    possible = [one for one in standard_names if one in accepted]
    return f" Did you mean {possible[0]!r}?" if possible else ""


def _as_option(name: str, value: Any) -> Any:
    """The value in its option's type, so that 0 and 0.0 are the same setting."""
    if name in tools.FIELDS:
        return tools.as_format(value) if name == "format" else tools.as_tools(value)
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, Iterable) or not all(isinstance(one, str) for one in texts):
            raise PromptError(f"stop is a text or a list of texts; got {value!r}.")
        return list(texts)
    kind = float if name == "min_p" else type(DEFAULT_OPTIONS.get(name, 0))
    # numpy's numbers, which come out of tables, are accepted too.
    if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise PromptError(f"{name} is a number; got {value!r}.")
    if kind is int and int(value) != value:
        raise PromptError(f"{name} is a whole number; got {value!r}.")
    return kind(value)


def validate_prompt(prompt: Prompt) -> Prompt:
    """The prompt, checked.

    Raises:
        PromptError: it is empty, or neither a text nor a list of messages.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise PromptError("The prompt is empty; write a question or a text to continue.")
        return encodable(prompt)
    if not isinstance(prompt, Sequence):
        raise PromptError(f"A prompt is a text or a list of messages; got {prompt!r}.")
    if not prompt:
        raise PromptError("The list of messages is empty.")
    messages = []
    for number, message in enumerate(prompt, 1):
        if isinstance(message, Mapping) and message.get("content", "") is None:
            raise PromptError(
                f"The {message.get('role')} message {number} has no text: its content is None. "
                'Give it a text, which may be empty (""), or remove the message.'
            )
        if (
            not isinstance(message, Mapping)
            or set(message) - {"images"} != {"role", "content"}
            or message["role"] not in ("system", "user", "assistant")
            or not isinstance(message["content"], str)
        ):
            raise PromptError(
                "Each message is {'role': 'system' | 'user' | 'assistant', 'content': text}, and "
                f"of the user perhaps with 'images': [path, …]; got {reprlib.repr(message)}."
            )
        encodable(message["content"])
        messages.append(_with_digests(message))
    return messages


def _with_digests(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose images are kept, and stand in it by their digests."""
    rest = {name: value for name, value in message.items() if name != "images"}
    given = message.get("images")
    if not given:
        return rest
    if message["role"] != "user" or not isinstance(given, (list, tuple)):
        raise PromptError("Images are a list in a message of the user: 'images': [path, …].")
    return rest | {"images": [images.keep(one) for one in given]}


def encodable(text: str, what: str = "The prompt") -> str:
    """The text, checked: all of it can be sent and stored.

    Raises:
        PromptError: it has a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{what} has half a character (a lone surrogate) at position {error.start}; it can "
            "be repaired with text.encode(errors='replace').decode()."
        ) from error
    return text

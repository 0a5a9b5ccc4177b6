"""One measured generation: a prompt goes in, a frozen record with text and numbers comes out."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from slmlab import models, server
from slmlab.errors import PromptError, SlmlabError

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


@dataclass(frozen=True)
class Generation:
    """What one generation gave. All times in seconds.

    Token counts and durations are the server's own; ``ttft_s`` (time to first token) and ``wall_s``
    are from the client's clock, from sending the request to the first and the last piece of text.
    ``load_s`` is what the server spent on loading or scheduling the model; ``cold`` says that the
    model was not in memory (or not with this context length) when the request came.
    """

    model: str
    prompt: Prompt
    text: str
    error: str | None
    stop_reason: str | None
    ttft_s: float | None
    wall_s: float
    load_s: float
    prompt_tokens: int
    prompt_s: float
    tokens: int
    generation_s: float
    cold: bool
    options: Mapping[str, Any]
    host: str
    engine: str
    engine_version: str
    digest: str
    started: str

    @property
    def tokens_per_s(self) -> float | None:
        """Generation speed by the server's clock: tokens / seconds; None without tokens."""
        return self.tokens / self.generation_s if self.tokens and self.generation_s else None

    @property
    def seed(self) -> int:
        """The seed that was sent."""
        return self.options["seed"]

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data, with ``tokens_per_s`` and ``seed``."""
        return asdict(self) | {"tokens_per_s": self.tokens_per_s, "seed": self.seed}


class GenerationError(SlmlabError):
    """A generation failed; ``record`` holds what had come until then, and the error."""

    def __init__(self, message: str, record: Generation) -> None:
        super().__init__(message)
        self.record = record

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.record)


def full_options(**options: Any) -> dict[str, Any]:
    """All sampling options that a request will carry: the given ones over ``DEFAULT_OPTIONS``.

    Raises:
        PromptError: a name that is no option.
    """
    known = (*DEFAULT_OPTIONS, *EXTRA_OPTIONS)
    for name in options:
        if name not in known:
            from slmlab.prompts import did_you_mean

            raise PromptError(
                f"There is no option {name!r}.{did_you_mean(name, known)} "
                f"Options: {', '.join(known)}."
            )
    return DEFAULT_OPTIONS | {name: value for name, value in options.items() if value is not None}


def generate(
    model: str,
    prompt: Prompt,
    *,
    on_text: Callable[[str], None] | None = None,
    timeout: float = 600.0,
    host: str | None = None,
    **options: Any,
) -> Generation:
    """Run one prompt on one model and measure it.

    It goes through langchain-ollama, so what is measured is what its users run: a text prompt
    through ``OllamaLLM`` (``/api/generate``), a list of messages through ``ChatOllama``
    (``/api/chat``). Before the clock starts, the ``ollama`` client is asked for the model's digest
    and for what is loaded, which LangChain does not tell. Thinking is switched off.

    Args:
        model: a model's name.
        prompt: a text, or messages such as ``[{"role": "user", "content": "Hi"}]``.
        on_text: called with each piece of text as it comes, in this thread.
        timeout: seconds without a sign of life from the server after which it gives up.
        host: the server (default: ``slmlab.server.host()``).
        options: sampling options over ``DEFAULT_OPTIONS`` (temperature, seed, num_ctx, …).

    Raises:
        PromptError: the prompt or an option is not usable.
        ModelError: there is no such model.
        ServerError: no server answers.
        GenerationError: it failed in the middle; ``.record`` has what came until then.
    """
    prompt = _checked(prompt)
    sent = full_options(**options)
    host = host or server.host()
    current = _server(host)
    found = models.resolve(model, host)
    resident = [one for one in models.loaded(host) if one.digest == found.digest]
    cold = not any(one.context_length in (None, sent["num_ctx"]) for one in resident)
    run, kind = (
        (_run_text, "OllamaLLM") if isinstance(prompt, str) else (_run_messages, "ChatOllama")
    )
    llm = _langchain(kind, host, timeout)  # slow the first time, so before the clock starts
    clock = _Clock(on_text)
    record = Generation(
        model=model, prompt=prompt, text="", error=None, stop_reason=None, ttft_s=None,
        wall_s=0.0, load_s=0.0, prompt_tokens=0, prompt_s=0.0, tokens=0, generation_s=0.0,
        cold=cold, options=sent, host=host, engine=current.engine,
        engine_version=current.version, digest=found.digest,
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
    try:
        with models.sentences(host, model):
            clock.start()
            info = run(llm, model, prompt, sent, clock)
    except (SlmlabError, ValueError) as error:
        message = str(error)
        record = replace(
            record, text=clock.text, error=message, ttft_s=clock.first, wall_s=clock.elapsed()
        )
        raise GenerationError(message, record) from None
    return replace(
        record,
        text=clock.text,
        ttft_s=clock.first,
        wall_s=clock.last or clock.elapsed(),
        stop_reason=info.get("done_reason"),
        load_s=(info.get("load_duration") or 0) / 1e9,
        prompt_tokens=info.get("prompt_eval_count") or 0,
        prompt_s=(info.get("prompt_eval_duration") or 0) / 1e9,
        tokens=info.get("eval_count") or 0,
        generation_s=(info.get("eval_duration") or 0) / 1e9,
    )


def _checked(prompt: Prompt) -> Prompt:
    """The prompt, if it is one."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise PromptError("The prompt is empty; write a question or a text to go on from.")
        return prompt
    messages = [dict(message) for message in prompt]
    if not messages:
        raise PromptError("The list of messages is empty.")
    for message in messages:
        if set(message) != {"role", "content"} or message["role"] not in (
            "system",
            "user",
            "assistant",
        ):
            raise PromptError(
                "Each message is {'role': 'system' | 'user' | 'assistant', 'content': text}; "
                f"got {message!r}."
            )
    return messages


def _server(host: str) -> server.Server:
    facts = server.ask_version(host, timeout=5)
    if facts is None:
        with models.sentences(host):
            raise ConnectionError
    return server.Server(host, facts.get("engine", "ollama"), facts["version"])


class _Clock:
    """Collects the text as it comes and the times of its first and last piece."""

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self.on_text = on_text
        self.pieces: list[str] = []
        self.first: float | None = None
        self.last: float | None = None
        self.started = 0.0

    def start(self) -> None:
        self.started = time.perf_counter()

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def add(self, text: str) -> None:
        if not text:
            return
        self.last = self.elapsed()
        if self.first is None:
            self.first = self.last
        self.pieces.append(text)
        if self.on_text:
            self.on_text(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


# A LangChain object makes two HTTP clients, which costs more than a short generation does, so one
# is kept for each server; the model and all options go along with each call.
@functools.lru_cache(maxsize=8)
def _langchain(kind: str, host: str, timeout: float) -> Any:
    import langchain_ollama

    client_kwargs = {"timeout": timeout, "trust_env": not server.is_local(host)}
    return getattr(langchain_ollama, kind)(
        model="given with each call", base_url=host, client_kwargs=client_kwargs
    )


def _run_text(llm: Any, model: str, prompt: str, options: dict, clock: _Clock) -> dict:
    """The final chunk's counters of a run through ``OllamaLLM``."""
    result = llm.generate(
        [prompt],
        callbacks=[_callback_class()(clock)],
        model=model,
        options=options,
        reasoning=False,
    )
    return result.generations[0][0].generation_info or {}


def _run_messages(
    llm: Any, model: str, prompt: Sequence[dict], options: dict, clock: _Clock
) -> dict:
    """The final chunk's counters of a run through ``ChatOllama``."""
    info: dict = {}
    for chunk in llm.stream(list(prompt), model=model, options=options, reasoning=False):
        clock.add(chunk.content)
        info = chunk.response_metadata or info
    return info


@functools.lru_cache(maxsize=1)
def _callback_class() -> type:
    """The LangChain callback that feeds a clock; made late, for LangChain is slow to import."""
    from langchain_core.callbacks import BaseCallbackHandler

    class FeedClock(BaseCallbackHandler):
        # What the reader's own on_text raises, an interrupt above all, ends the generation.
        raise_error = True

        def __init__(self, clock: _Clock) -> None:
            self.clock = clock

        def on_llm_new_token(self, token: str, **_: Any) -> None:
            self.clock.add(token)

    return FeedClock

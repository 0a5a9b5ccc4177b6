"""Put a question to a model: its prompt made to fit, then the answer, whatever route asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from slmlab.engines.embedded import completions, images, llama_cpp
from slmlab.engines.embedded.completions import Piece
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.loader import Worker
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes:
        model: the model.
        options: all sampling options, by Ollama's names.
        keep_alive: seconds that the model stays in memory afterwards.
        messages: the conversation, in the shape of OpenAI's API, for the model's chat template.
        raw: the prompt as it is, where no chat template is to be used; with images, in parts.
        suffix: the text behind a gap, which the model is to fill; ``raw`` is the text before it.
        tools: the tools that the model may call, likewise in that shape.
        must_call: whether it must call one of them.
        think: whether, or how hard, the model thinks before it answers (None: its template's way).
        grammar: what holds the answer to a format (see ``llama_cpp.grammar``).
        stream: whether the pieces are wanted as they come.
        logprobs: whether the tokens' log-probabilities are wanted, with how many alternatives each.
        truncate: whether the prompt may be cut to fit the context; else it is refused.
        shift: likewise, but for the oldest messages, which may go even so.
    """

    model: StoredModel
    options: dict[str, Any]
    keep_alive: float
    messages: list[dict[str, Any]] = field(default_factory=list)
    raw: images.Content | None = None
    suffix: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)
    must_call: bool = False
    think: bool | str | None = None
    grammar: dict[str, Any] = field(default_factory=dict)
    stream: bool = True
    logprobs: bool = False
    top_logprobs: int = 0
    truncate: bool = True
    shift: bool = True

    @property
    def parsed(self) -> bool:
        """Whether llama.cpp has to tell thoughts and calls in the answer from its text."""
        if self.raw is not None or self.must_call:
            return False
        return bool(self.tools) or "thinking" in self.model.capabilities

    @property
    def template(self) -> dict[str, Any]:
        """What the chat template gets beside the messages."""
        more: dict[str, Any] = {"tools": self.tools} if self.tools else {}
        if self.think is not None and "thinking" in self.model.capabilities:
            more["chat_template_kwargs"] = {"enable_thinking": bool(self.think)}
            if isinstance(self.think, str):
                more["chat_template_kwargs"]["reasoning_effort"] = self.think
        return more


@dataclass(frozen=True)
class Prepared:
    """A question whose model is in memory and whose prompt fits.

    Attributes:
        prompt: the rendered text, or tokens where it had to be cut.
        messages: those of the conversation that are left.
        images: those that are left, in the order of their places in the prompt.
        truncated: whether anything was left out.
        loaded_at: when the model was there, by ``time.perf_counter_ns``.
    """

    question: Question
    worker: Worker
    prompt: str | list[int]
    messages: list[dict[str, Any]]
    images: list[str]
    truncated: bool
    loaded_at: int

    @property
    def rendered(self) -> str | None:
        """The prompt as a text, with ``[img]`` for each image."""
        if isinstance(self.prompt, str):
            return self.prompt.replace(self.worker.image_marker or "[img]", "[img]")
        return self.question.raw if isinstance(self.question.raw, str) else None

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """The answer as it comes; in one piece where no stream is wanted."""
        question = self.question
        body = llama_cpp.sampling(question.options) | question.grammar | {"stream": question.stream}
        alternatives = max(1, question.top_logprobs)
        if not question.parsed:
            prompt: object = self.prompt
            if self.images:
                prompt = {"prompt_string": self.prompt, "multimodal_data": self.images}
            body |= {"prompt": prompt} | ({"n_probs": alternatives} if question.logprobs else {})
            stream = completions.complete(self.worker, body)
            if question.must_call:
                stream = completions.as_call(stream)
        else:
            body |= {"messages": self.messages} | question.template
            if question.logprobs:
                body |= {"logprobs": True, "top_logprobs": alternatives}
                # llama.cpp streams either calls of tools or log-probabilities.
                body["stream"] = question.stream and not question.tools
            stream = completions.chat(self.worker, body)
        async with contextlib.aclosing(stream):
            async for piece in stream:
                yield piece


@contextlib.asynccontextmanager
async def prepare(engine: Engine, question: Question) -> AsyncIterator[Prepared]:
    """Load the model and make the prompt fit; the model stays in memory meanwhile.

    Raises:
        ApiError: it cannot be loaded, or the prompt is too long and must not be cut.
    """
    async with (
        engine.admit(),
        engine.loaded(question.model, question.options, question.keep_alive) as worker,
    ):
        loaded_at = time.perf_counter_ns()
        prompt, messages, truncated = await _fit(worker, question)
        content = messages if question.raw is None else [{"content": question.raw}]
        seen = images.of(content)
        yield Prepared(question, worker, prompt, messages, seen, truncated, loaded_at)


async def _fit(
    worker: Worker, question: Question
) -> tuple[str | list[int], list[dict[str, Any]], bool]:
    """The prompt as text, or as tokens where it had to be cut; the messages that are left in it.

    Like Ollama, a conversation first loses its oldest messages (never the system's nor the
    last), and what is then still too long keeps its first ``num_keep`` tokens and its end.
    """
    messages, truncated, limit = question.messages, False, worker.settings.num_ctx
    raw = None if question.raw is None else images.marked(question.raw, worker.image_marker)
    if messages and all(message["role"] == "system" for message in messages):
        messages = await llama_cpp.with_a_turn(worker, question.model, messages, question.template)
    if raw is not None and question.suffix:
        before, after, gap = await llama_cpp.words_of_a_gap(worker)
        raw = f"{before}{raw}{after}{question.suffix}{gap}"
    while True:
        prompt = raw
        if prompt is None:
            prompt = await llama_cpp.render(worker, question.model, messages, question.template)
        seen = images.of(messages)
        room = limit - images.TOKENS * len(seen)
        # A token is at least one byte, so a short text cannot be too long.
        if len(prompt.encode()) < room:
            return prompt, messages, truncated
        tokens = await llama_cpp.tokenize(worker, prompt)
        if len(tokens) < room:
            return prompt, messages, truncated
        oldest = next((i for i, m in enumerate(messages) if m["role"] != "system"), None)
        if question.raw is not None or oldest is None or oldest >= len(messages) - 1:
            break
        if not question.truncate:
            break
        messages, truncated = messages[:oldest] + messages[oldest + 1 :], True
    if seen:  # how many tokens they take, llama.cpp knows; it refuses a prompt that is too long
        return prompt, messages, truncated
    # llama.cpp tells thoughts and calls apart only in the answer to messages, which stay whole.
    if not (question.truncate and question.shift) or question.parsed:
        raise ApiError(400, llama_cpp.TOO_LONG)
    keep = max(0, min(question.options["num_keep"], limit - 1))
    cut = limit - max((limit - keep) // 2, 1)
    return tokens[:keep] + tokens[len(tokens) - (cut - keep) :], messages, True

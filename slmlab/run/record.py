"""The record of one generation: its text and its numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from slmlab.facts import facts_html
from slmlab.run.options import Prompt

# The first token of an answer comes from the prefill and adds no decode time, so for very short
# answers the speed would be a division by nearly nothing.
FEWEST_TOKENS = 5


def speed(tokens: int, seconds: float | None) -> float | None:
    """Tokens per second; None if the tokens are too few to be meaningful, or the time unknown."""
    return tokens / seconds if tokens >= FEWEST_TOKENS and seconds else None


@dataclass(frozen=True)
class Generation:
    """The text and the measurements of one generation. All times in seconds.

    Token counts and durations are the server's own; ``ttft_s`` (time to first token) and ``wall_s``
    are from the client's clock, from sending the request to the first and the last piece of text.
    ``load_s`` is what the server spent on loading or scheduling the model; ``cold`` says that the
    model was not in memory (or not with this context length) when the request came, or had to be
    reloaded. A server of OpenAI's API does not report all of that: its ``load_s`` is None,
    ``prompt_s`` and ``generation_s`` are None unless it is llama-server, and it is taken to have
    its model in memory. ``options`` are those that were sent, and ``ignored`` those that were not,
    since such a server does not take all (None: all were).

    ``truncated`` says that the prompt was longer than the context and was silently cut by the
    server (None: unknown). ``prompt_fresh`` says that the server had not seen (the beginning of)
    this prompt since the model was loaded, so that ``prompt_s`` is the time of prefill and not of a
    cache (None: unknown). ``cached_tokens`` are those of ``prompt_tokens`` that the server had in
    its cache all the same, as the beginning of the chat template, and which ``prompt_s`` does not
    cover (None: the server does not report it). ``gpu_share`` is the share of the model on a GPU,
    0 to 1 (None: unknown); ``in_flight`` how many requests the caller sent at once to this server,
    or if it is on this machine, to all servers there, so 1 means that the model had it to itself;
    ``energy_j`` the joules that GPU and processor used, if they
    report it (NVIDIA's GPUs count in steps of 20 to 100 ms, so add up many short answers);
    ``logprobs`` how probable each token was, if that was asked for (see ``slmlab.tokens``);
    ``tool_calls`` the calls of tools, each with ``name`` and ``arguments`` (None: it had no tools).
    """

    model: str
    prompt: Prompt
    text: str
    error: str | None
    stop_reason: str | None
    ttft_s: float | None
    wall_s: float
    load_s: float | None
    prompt_tokens: int
    prompt_s: float | None
    tokens: int
    generation_s: float | None
    cold: bool
    options: Mapping[str, Any]
    host: str
    engine: str
    engine_version: str
    digest: str
    started: str
    think: bool = False
    thinking: str = ""
    truncated: bool | None = False
    prompt_fresh: bool | None = None
    cached_tokens: int | None = None
    gpu_share: float | None = None
    in_flight: int = 1
    energy_j: float | None = None
    logprobs: list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    ignored: Mapping[str, Any] | None = None

    @property
    def cut(self) -> bool:
        """Whether the answer ended at a limit (``num_predict`` or the context), unfinished."""
        return self.stop_reason == "length"

    @property
    def tokens_per_s(self) -> float | None:
        """Decode speed by the server's clock, in tokens per second; None below five tokens."""
        return speed(self.tokens, self.generation_s)

    @property
    def prompt_tokens_per_s(self) -> float | None:
        """Prefill speed in tokens per second, without the tokens that came from a cache.

        None if the prompt may have been in the server's cache, was truncated, or has fewer than
        five new tokens.
        """
        whole_and_new = self.prompt_fresh and not self.truncated
        tokens = self.prompt_tokens - (self.cached_tokens or 0)
        return speed(tokens, self.prompt_s) if whole_and_new else None

    @property
    def prompt_cached(self) -> bool:
        """Whether Ollama took most of the prompt from its cache, since an earlier one began so.

        The embedded engine is asked to read a text in whole, so that its time can be compared.
        """
        known = self.cached_tokens
        most = known is None or known > self.prompt_tokens / 2
        return self.engine == "ollama" and self.prompt_fresh is False and most

    @property
    def _truncation(self) -> str:
        if self.truncated is None:
            return "perhaps truncated" if self.prompt_tokens else ""
        return "truncated" * self.truncated

    @property
    def turn(self) -> int:
        """Which question of its conversation this answers, from 1 on; 1 for a text."""
        if isinstance(self.prompt, str):
            return 1
        return max(1, len([one for one in self.prompt if one["role"] == "user"]))

    @property
    def seed(self) -> int:
        """The seed that was sent."""
        return int(self.options["seed"])

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        # dataclasses.asdict() copies each number too, which takes most of the time of a table.
        return {
            name: value if isinstance(value, (str, float, int, type(None))) else deepcopy(value)
            for name, value in vars(self).items()
        }

    def __str__(self) -> str:
        """The numbers in one readable line."""
        if self.error:
            return f"failed: {self.error}"
        load = "cold" if self.cold else "warm"
        parts = [f"{self.tokens} tokens in {self.wall_s:.1f} s ({load})"]
        if self.ttft_s is not None:
            parts.append(f"first token after {self.ttft_s:.2f} s")
        if self.tokens_per_s:
            parts.append(f"{self.tokens_per_s:.1f} tokens/s")
        if self.cut:
            parts.append("cut by the length limit")
        if self._truncation:
            parts.append(f"prompt {self._truncation}")
        if self.gpu_share is not None and self.gpu_share < 1:
            parts.append(f"{self.gpu_share:.0%} on the GPU" if self.gpu_share else "on the CPU")
        return ", ".join(parts)

    def __repr__(self) -> str:
        text = textwrap.shorten(self.text, 40, placeholder="…")
        return f"<Generation by {self.model}: {self}; text={text!r}>"

    def _repr_html_(self) -> str:
        """The numbers under their attributes' names; ``ask`` has already shown the text."""
        rows = [
            ("text", f"{len(self.text):,} characters"),
            ("tokens", f"{self.tokens:,}" + (", cut by the length limit" if self.cut else "")),
            (
                "prompt_tokens",
                ", ".join(filter(None, (f"{self.prompt_tokens:,}", self._truncation))),
            ),
            ("wall_s", f"{self.wall_s:.2f}" + (", with loading the model" * self.cold)),
        ]
        if self.ttft_s is not None:
            rows.append(("ttft_s", f"{self.ttft_s:.2f}"))
        if self.tokens_per_s:
            rows.append(("tokens_per_s", f"{self.tokens_per_s:.1f}"))
        if self.error:
            rows.append(("error", self.error))
        return facts_html(f"Generation by {self.model}", rows)

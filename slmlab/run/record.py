"""The record of one generation: its text and its numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from slmlab.facts import facts_html
from slmlab.run.options import Prompt

# The first token of an answer comes with reading the prompt and takes no time of its own, so the
# speed of a very short answer is mostly that of a division by nothing.
FEWEST_TOKENS = 5


def speed(tokens: int, seconds: float) -> float | None:
    """Tokens per second; None where the tokens are too few to say anything."""
    return tokens / seconds if tokens >= FEWEST_TOKENS and seconds else None


@dataclass(frozen=True)
class Generation:
    """What one generation gave. All times in seconds.

    Token counts and durations are the server's own; ``ttft_s`` (time to first token) and ``wall_s``
    are from the client's clock, from sending the request to the first and the last piece of text.
    ``load_s`` is what the server spent on loading or scheduling the model; ``cold`` says that the
    model was not in memory (or not with this context length) when the request came, or had to be
    loaded again meanwhile.

    ``truncated`` says that the prompt was longer than the context and the server cut it silently
    (None: it does not say, and cannot be made to);
    ``prompt_fresh`` that the server had not seen (the beginning of) this prompt since the model was
    loaded, so that ``prompt_tokens / prompt_s`` is the speed of prefill and not of a cache (None:
    unknown). ``gpu_share`` is the part of the model on a GPU, 0 to 1; ``in_flight`` how many
    requests the caller had under way at once, so 1 means that the times are the model's own;
    ``energy_j`` what GPU and processor used meanwhile, in joules, where they report it.
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
    think: bool = False
    thinking: str = ""
    truncated: bool | None = False
    prompt_fresh: bool | None = None
    gpu_share: float | None = None
    in_flight: int = 1
    energy_j: float | None = None

    @property
    def cut(self) -> bool:
        """Whether the answer ended at a limit (``num_predict`` or the context), unfinished."""
        return self.stop_reason == "length"

    @property
    def tokens_per_s(self) -> float | None:
        """Generation speed by the server's clock: tokens / seconds; None below five tokens."""
        return speed(self.tokens, self.generation_s)

    @property
    def prompt_tokens_per_s(self) -> float | None:
        """Speed of reading a prompt: tokens / seconds; None where the server had read it before.

        Nor is there one for a prompt that was cut, or has fewer than five tokens.
        """
        whole_and_new = self.prompt_fresh and not self.truncated
        return speed(self.prompt_tokens, self.prompt_s) if whole_and_new else None

    @property
    def _truncation(self) -> str:
        if self.truncated is None:
            return "perhaps truncated" if self.prompt_tokens else ""
        return "truncated" * self.truncated

    @property
    def seed(self) -> int:
        """The seed that was sent."""
        return int(self.options["seed"])

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        """A line of numbers for a person."""
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
        return ", ".join(parts)

    def __repr__(self) -> str:
        text = textwrap.shorten(self.text, 40, placeholder="…")
        return f"<Generation by {self.model}: {self}; text={text!r}>"

    def _repr_html_(self) -> str:
        """The numbers by the names of their attributes; ``ask`` has shown the text already."""
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

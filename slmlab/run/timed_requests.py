"""Requests to one model, timed: cold and warm, one and several at once, at a depth."""

from __future__ import annotations

import random
import re
import secrets
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from slmlab import hardware, models
from slmlab.engines.address import is_local
from slmlab.engines.client import Session
from slmlab.run.generate import generate_on
from slmlab.run.record import FEWEST_TOKENS, Generation
from slmlab.run.speeds import Speed, Timing, in_threads
from slmlab.run.target import Target, resolve_target

# Words that are one token each in most vocabularies.
WORDS = re.findall(
    r"\w+",
    "the of and to in is that it was for on are as with they at be this from have or by one had "
    "not but what all were when we there can an your which their said if do will each about how "
    "up out them then many some so these would other into has more her two like him see time could",
)
# The words of the first two prompts, which show how many tokens a word has and a chat template.
FEW, MORE = 64, 192
# A prompt was read at its depth if the server had so much of that depth in its cache.
KEPT = 0.9
# Seconds of work from which on its energy is known well: a GPU's counter moves every 20 to 100 ms.
COUNTED = 1.0
TOO_SHORT = f"joules left out: less than {COUNTED:.0f} s of work"


def joules_of_a_token(repeats: list[float], seconds: float) -> tuple[float | None, str]:
    """The mean over repeats that took so many seconds; None if that is too short, and a note."""
    if not repeats:
        return None, ""
    return (None, TOO_SHORT) if seconds < COUNTED else (statistics.fmean(repeats), "")


@dataclass(frozen=True)
class _Answer:
    """A record, and when its prompt was sent and its first and last piece came."""

    record: Generation
    sent: float
    first: float
    last: float


@dataclass
class TimedRequests:
    """The requests to a model that is loaded with one number of threads.

    Args:
        target: the model and its server.
        options: the full options of a request.
        threads: how many; None: the server's choice.
        repeats: how often each test runs.
        session: the clients, which are cancelled when a request fails.
        on_speed: called with each speed that was measured.
    """

    target: Target
    options: dict[str, Any]
    threads: int | None
    repeats: int
    session: Session
    on_speed: Callable[[Speed], None]
    # No prompt may begin like one of an earlier run, which a server may have in its cache.
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    tokens_per_word: float = 1.0
    template: float = 0.0
    read_before: set[tuple[int, int]] = field(default_factory=set)

    def load(self) -> list[str]:
        """Load the model and warm it up; returns a sentence on the cold answer, if it was one."""
        if self.threads:
            self.options = self.options | {"num_thread": self.threads}
        elif self.target.engine == "embedded" and is_local(self.target.host):
            self.threads = hardware.usable_cores()  # what the engine takes then
        host = self.target.host
        for other in models.loaded(host=host) if is_local(host) else []:
            models.unload(other.name, host=host)
        self.target = resolve_target(self.target.model, self.options["num_ctx"], host)
        (cold,) = self._send([self._words(FEW, "cold")], FEWEST_TOKENS + 3, whole=True)
        (warm,) = self._send([self._words(MORE, "warm")], FEWEST_TOKENS + 3, whole=True)
        few, more = cold.record.prompt_tokens, warm.record.prompt_tokens
        self.tokens_per_word = max(0.5, (more - few) / (MORE - FEW))
        self.template = max(0.0, few - FEW * self.tokens_per_word)
        if not self.target.cold:
            return []
        name = f"Cold{in_threads(self.threads)}"
        return [
            f"{name}: the first token came after {cold.first - cold.sent:.2f} s, "
            f"{cold.record.load_s:.2f} s of them to load the model; warm, after a longer prompt, "
            f"after {warm.first - warm.sent:.2f} s."
        ]

    def prefill(self, depth: int, at_once: int, tokens: int) -> Speed:
        """How fast prompts of so many tokens are read."""
        repeats, started = [], _now()
        for number in range(self.repeats):
            prompts = [
                self._before(depth, lane)
                + self._text(tokens if depth else tokens - self.template, "new", number, lane)
                for lane in range(at_once)
            ]
            answers = self._send(prompts, 1, whole=not depth)
            cached = [one.record.cached_tokens or 0 for one in answers]
            if min(cached) < KEPT * depth:
                continue
            repeats.append(
                tuple(
                    Timing(
                        one.record.prompt_tokens - known,
                        one.record.prompt_s or 0.0 if at_once == 1 else one.first - one.sent,
                        known,
                    )
                    for one, known in zip(answers, cached, strict=True)
                )
            )
        why = "the engine did not keep what it had read before, or does not tell"
        note = self._left_out({why: self.repeats - len(repeats)})
        return self._report(
            Speed("prefill", depth, self.threads, at_once, started, tuple(repeats), None, note)
        )

    def decode(self, depth: int, at_once: int, tokens: int) -> Speed:
        """How fast answers of so many tokens are written."""
        repeats, joules, seconds, started = [], [], 0.0, _now()
        left_out = {"an answer ended before its tokens were written": 0, "requests were queued": 0}
        short, queued = left_out
        for number in range(self.repeats):
            prompts = [
                f"{self._before(depth, lane)}Tell a long story of lighthouse {number}-{lane}."
                for lane in range(at_once)
            ]
            answers = self._send(prompts, tokens + 1, whole=not depth)
            if any(one.record.tokens <= tokens for one in answers):
                left_out[short] += 1
                continue
            if at_once > 1 and max(one.first for one in answers) >= min(
                one.last for one in answers
            ):
                left_out[queued] += 1
                continue
            repeats.append(
                tuple(
                    Timing(tokens, one.record.generation_s or 0.0, one.record.prompt_tokens)
                    for one in answers
                )
            )
            used = [one.record.energy_j for one in answers if one.record.energy_j is not None]
            joules += [max(used) / (at_once * (tokens + 1))] if used else []
            seconds += max(one.record.wall_s for one in answers)
        used_each, why_not = joules_of_a_token(joules, seconds)
        note = ", ".join(filter(None, (self._left_out(left_out), why_not)))
        return self._report(
            Speed("decode", depth, self.threads, at_once, started, tuple(repeats), used_each, note)
        )

    def _report(self, speed: Speed) -> Speed:
        self.on_speed(speed)
        return speed

    def _left_out(self, reasons: dict[str, int]) -> str:
        return ", ".join(
            f"{times} of {self.repeats} repeats left out: {why}"
            for why, times in reasons.items()
            if times
        )

    def _words(self, count: int, *key: object) -> str:
        chosen = random.Random(repr((self.run, self.threads, *key)))  # noqa: S311
        return " ".join(chosen.choices(WORDS, k=max(1, count))) + ". "

    def _text(self, tokens: float, *key: object) -> str:
        """Random words of about so many tokens, the same for the same key."""
        return self._words(round(tokens / self.tokens_per_word), *key)

    def _before(self, depth: int, lane: int) -> str:
        """The text that a prompt at this depth begins with, which the server has read."""
        if not depth:
            return ""
        text = self._text(depth - self.template, "before", depth, lane)
        if (depth, lane) not in self.read_before:
            self._send([text], 1, whole=False)
            self.read_before.add((depth, lane))
        return text

    def _send(self, prompts: list[str], tokens: int, whole: bool) -> list[_Answer]:
        """Send prompts, all at once."""
        with ThreadPoolExecutor(len(prompts)) as threads:
            answers = [threads.submit(self._answer, one, tokens, whole) for one in prompts]
            try:
                return [one.result() for one in answers]
            except BaseException:
                self.session.cancel()
                raise

    def _answer(self, prompt: str, tokens: int, whole: bool) -> _Answer:
        pieces: list[float] = []
        sent = time.perf_counter()
        record = generate_on(
            self.target,
            prompt,
            self.options | {"num_predict": tokens},
            on_text=lambda _: pieces.append(time.perf_counter()),
            langchain=False,  # which would take processor time from the model
            whole_prompt=whole,
            session=self.session,
        )
        pieces = pieces or [time.perf_counter()]  # an answer of one token may show no text
        return _Answer(record, sent, pieces[0], pieces[-1])


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

"""How surprised models are by texts: perplexity, and how far one model is from another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slmlab.errors import PromptError
from slmlab.evaluation.intervals import CONFIDENCE, Interval
from slmlab.facts import Sentence
from slmlab.run.given_tokens import embedded, token_rows
from slmlab.run.options import DEFAULT_OPTIONS

NUM_CTX = int(DEFAULT_OPTIONS["num_ctx"])
# Neighbouring tokens are surprising together, so an interval is over blocks of so many.
BLOCK = 32
# Of the likeliest tokens, so many are compared one by one.
LIKELIEST, MOST = 1_000, 10_000


@dataclass(frozen=True, repr=False)
class Perplexity(Sentence):
    """How surprised a model is by texts.

    Attributes:
        perplexity: with its interval; ``n`` is the number of tokens.
        bits_per_byte: the same in bits for each byte of the texts, in which models with different
            tokens can be compared; perplexities cannot.
        losses: for each text the mean of -log(probability) of its tokens, in nats.
    """

    TITLE = "Perplexity"

    perplexity: Interval
    bits_per_byte: float
    losses: list[float]

    def __str__(self) -> str:
        """One sentence."""
        return f"perplexity {self.perplexity}, {self.bits_per_byte:.3f} bits per byte"


def perplexity(
    model: str,
    texts: str | Sequence[str],
    *,
    num_ctx: int = NUM_CTX,
    host: str | None = None,
) -> Perplexity:
    """How surprised a model is by texts: e to the mean of -log(probability) of their tokens.

    A perplexity of 20 means: as uncertain as between 20 equally likely tokens. Each text is read
    by itself and as it is, without a chat template; its first token counts only if the model's
    texts begin with a token of their own (BOS). Where a text is longer than the context, each token
    is predicted from at least the half of it (https://huggingface.co/docs/transformers/perplexity).

    The interval is over blocks of 32 tokens, since neighbouring tokens are not independent; it
    says what other texts of this kind would give. It takes as long as writing that many tokens.
    Only the embedded engine does it: Ollama does not give the probabilities of given tokens.

    Raises:
        PromptError: a text is blank, or the server is Ollama.
        ModelError: there is no such model, or a text has fewer than two tokens.
        ServerError: no server answers.

    Examples:
        >>> found = slmlab.likelihood.perplexity(names[0], "The cat sat on the mat and slept.")
        >>> found.perplexity.value > 1
        True
    """
    given = _texts(texts)
    found = token_rows(embedded(model, num_ctx, host), given, num_ctx)
    losses = [[-row["logprob"] for row in one] for one in found]
    nats = _mean(losses)
    size = sum(len(bytes(row["bytes"])) for one in found for row in one)
    values = Interval(
        math.exp(nats.value), math.exp(nats.low), math.exp(nats.high), nats.n, nats.method
    )
    bits = math.fsum(map(math.fsum, losses)) / math.log(2) / size
    return Perplexity(values, bits, [math.fsum(one) / len(one) for one in losses])


@dataclass(frozen=True, repr=False)
class Divergence(Sentence):
    """How far a model's predictions are from another's.

    Attributes:
        kl: the mean Kullback–Leibler divergence of the predictions, in nats; 0: they are equal.
        same_top: the share of places at which both find the same token likeliest.
        perplexities: that of the first and of the second model.
        rest: the mean probability of the tokens that were not compared one by one.
    """

    TITLE = "KL divergence"

    kl: Interval
    same_top: Interval
    perplexities: tuple[float, float]
    rest: float

    def __str__(self) -> str:
        """One sentence."""
        one, other = self.perplexities
        known = not math.isnan(self.kl.low)
        sure = f"95 % interval {self.kl.low:.4f} to {self.kl.high:.4f}, " if known else ""
        return (
            f"KL divergence {self.kl.value:.4f} nats ({sure}"
            f"n = {self.kl.n} tokens), the same likeliest token at {self.same_top.value:.1%} of "
            f"them, perplexity {one:.2f} and {other:.2f}"
        )


def kl_divergence(
    model: str,
    other: str,
    texts: str | Sequence[str],
    *,
    likeliest: int = LIKELIEST,
    num_ctx: int = NUM_CTX,
    host: str | None = None,
) -> Divergence:
    """What a quantization changes: how far its predictions are from those of the original.

    At each token of the texts it is the sum over the vocabulary of p · log(p / q), where p is the
    model's prediction and q the other's (https://en.wikipedia.org/wiki/Kullback–Leibler_divergence).
    Unlike the difference of perplexities, it also counts what gets better by chance. The
    ``likeliest`` tokens of both are compared one by one and all others as one, so it is a lower
    bound: for two roundings of SmolLM2 135M 3 % and 7 % below the value over the whole vocabulary
    (with 200 instead of 1,000: 8 % and 17 %). The more of them, the longer it takes.

    Args:
        model: the original, as a rule with more bits.
        other: the one with fewer. Both split texts into the same tokens.
        texts: one text or several, some hundred tokens.
        likeliest: how many of the likeliest tokens to compare, 1 to 10,000.
        num_ctx: the context length; a longer text is read as in ``perplexity``.
        host: the server, an embedded engine.

    Raises:
        PromptError: the models split the texts otherwise, or the server is Ollama.
        ModelError: there is no such model, or a text has fewer than two tokens.
        ServerError: no server answers.

    Examples:
        >>> text = "The cat sat on the mat."
        >>> slmlab.likelihood.kl_divergence(names[0], names[0], text).same_top.value
        1.0
    """
    whole = isinstance(likeliest, int) and not isinstance(likeliest, bool)
    if not whole or not 1 <= likeliest <= MOST:
        raise PromptError(f"likeliest is a number of tokens from 1 to {MOST:,}; got {likeliest!r}.")
    given = _texts(texts)
    targets = [embedded(name, num_ctx, host) for name in (model, other)]
    ours, theirs = (token_rows(target, given, num_ctx, top=likeliest) for target in targets)
    if [[row["id"] for row in one] for one in ours] != [[row["id"] for row in o] for o in theirs]:
        raise PromptError(
            f"{model} and {other} split the texts into different tokens, so their predictions "
            "cannot be compared token by token. Compare their bits per byte: "
            "slmlab.likelihood.perplexity(…)."
        )
    pairs = [list(zip(one, two, strict=True)) for one, two in zip(ours, theirs, strict=True)]
    compared = [[_divergence(*pair) for pair in one] for one in pairs]
    same = [[float(p["top"][0][0] == q["top"][0][0]) for p, q in one] for one in pairs]
    losses = [[[-row["logprob"] for row in one] for one in found] for found in (ours, theirs)]
    one, two = (math.exp(_mean(each).value) for each in losses)
    kl = _mean([[value for value, _ in each] for each in compared])
    rest = _mean([[value for _, value in each] for each in compared]).value
    return Divergence(kl, _mean(same), (one, two), rest)


def _divergence(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float]:
    """The divergence at one place, and the first's probability of the tokens counted together."""
    p, q = (
        {token: math.exp(value) for token, value in [*row["top"], (row["id"], row["logprob"])]}
        for row in (one, other)
    )
    shared = p.keys() & q.keys()
    # What is left after a sum of numbers in 32 bits is known to no more than this.
    known, least = [(p[token], q[token]) for token in shared], 1e-7
    rest = [max(least, 1 - math.fsum(each)) for each in zip(*known, strict=True)]
    parts = [*known, (rest[0], rest[1])]
    return math.fsum(x * math.log(x / y) for x, y in parts if x > 0 and y > 0), rest[0]


def _mean(texts: Sequence[Sequence[float]]) -> Interval:
    """The mean over all tokens, with an interval over blocks of them.

    Blocks have different lengths where texts end, so the mean is a ratio of two sums, whose error
    is that of a ratio (Cochran 1977, Sampling Techniques, 6.3).
    """
    import numpy as np
    from scipy import stats

    blocks = [one[at : at + BLOCK] for one in texts for at in range(0, len(one), BLOCK)]
    sums = np.array([math.fsum(one) for one in blocks])
    sizes = np.array([len(one) for one in blocks])
    n, count = int(sizes.sum()), len(blocks)
    mean = float(sums.sum() / n)
    if count < 2:
        return Interval(mean, math.nan, math.nan, n, "none")
    variance = ((sums - mean * sizes) ** 2).sum() * count / (count - 1) / n**2
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * math.sqrt(variance))
    return Interval(mean, mean - half, mean + half, n, "blocks")


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise PromptError("Texts are given as one text or several, none of them blank.")
    return texts

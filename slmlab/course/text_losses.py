"""How surprised a model is by texts: the loss of each, and their perplexity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from slmlab.course.transformer import (
    Array,
    KVCache,
    Transformer,
    forward,
    log_softmax,
    tokenizer,
)
from slmlab.errors import SlmlabError
from slmlab.hardware import env_cap

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What a tokenizer is made of.
VOCABULARY = ("tokens", "merges", "token_type")
# The lists of the last vocabulary, and its tokenizer.
_kept: tuple[list[Any], Tokenizer] | None = None


def losses(model: Transformer, texts: Sequence[str], prompt: str = "") -> list[float]:
    """How surprised the model is by each text: the mean -log(probability) of its tokens, in nats.

    e to the power of it is the text's perplexity. For two models the losses of the same texts come
    in pairs, so that ``slmlab.statistics.difference`` can say how sure their difference is. The
    first token of a text is not counted, since nothing comes before it; a text of one token gives
    NaN. The environment variable ``SLMLAB_TOKENS`` caps how much of each text is read, as it caps
    answers, for runs that only have to show that everything works; a line on stderr says so, once.

    Args:
        model: the model.
        texts: the texts.
        prompt: what the model reads before each of them, such as ``chat_text`` gives; not counted.

    Examples:
        >>> model = slmlab.weights.read()
        >>> len(slmlab.weights.losses(model, ["The cat sat on the mat.", "It slept."]))
        2
    """
    found = _losses(model, texts, prompt)
    return [float(np.mean(each)) if len(each) else np.nan for each in found]


def perplexity(model: Transformer, texts: str | Sequence[str]) -> float:
    """How surprised the model is by texts: e to the mean of -log(probability of each token).

    A perplexity of 20 means: as uncertain as between 20 equally likely tokens. ``losses`` gives the
    same text by text, and says what is not counted.

    Args:
        model: the model.
        texts: one text or several.

    Raises:
        SlmlabError: no text has two tokens.

    Examples:
        >>> slmlab.weights.perplexity(slmlab.weights.read(), ["The cat sat on the mat."]) > 1
        True
    """
    found = _losses(model, [texts] if isinstance(texts, str) else texts)
    if not any(len(each) for each in found):
        raise SlmlabError("Perplexity needs a text of at least two tokens.")
    return float(np.exp(np.mean(np.concatenate(found))))


def _losses(model: Transformer, texts: Sequence[str], prompt: str = "") -> list[Array]:
    """-log(probability) of each token of each text but the first, in nats."""
    encode = _kept_tokenizer(model).encode
    most = tokens_of_a_text()
    logits = logits_after(model, prompt)
    found = []
    for text in texts:
        ids = encode(text).ids[:most]
        log_probabilities = log_softmax(logits(ids)[:-1])
        found.append(-log_probabilities[np.arange(len(ids) - 1), ids[1:]])
    return found


def logits_after(model: Transformer, prompt: str) -> Callable[[Sequence[int]], Array]:
    """``forward`` for texts that stand after a prompt, which is read once; "": after nothing."""
    cache: KVCache = {}
    if prompt:
        forward(
            model, _kept_tokenizer(model).encode(prompt).ids[-(tokens_of_a_text() or 0) :], cache
        )
    return lambda tokens: forward(model, tokens, cache.copy())


def tokens_of_a_text() -> int | None:
    """How many tokens of a text are read at most, where ``SLMLAB_TOKENS`` says so."""
    return env_cap("SLMLAB_TOKENS", "at most {} tokens of each text are read")


def _kept_tokenizer(model: Transformer) -> Tokenizer:
    """``tokenizer(model)``, kept for the next call.

    Making it takes as long as reading a short text, and a lesson compares dozens of changed copies
    of one model, which share its vocabulary.
    """
    global _kept
    vocabulary = [model.metadata[f"tokenizer.ggml.{name}"] for name in VOCABULARY]
    if _kept is None or any(a is not b for a, b in zip(vocabulary, _kept[0], strict=True)):
        _kept = vocabulary, tokenizer(model)
    return _kept[1]

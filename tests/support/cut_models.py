"""Parts of a model, for tests that need one but not what the whole one writes.

The worlds of the notebooks import this too, in a Python without pytest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slmlab import weights
from slmlab.course.transformer import Transformer
from tests.support.engines import BASE, SHALLOW, SMOL, add_model

# SmolLM2's vocabulary begins with these: its control tokens and the single characters.
_NOT_MERGED = 252


def with_tokens(model: Transformer, count: int) -> Transformer:
    """The model with the first of its tokens only, in which every text can still be written.

    After the control tokens and the single characters, each token is what one merge makes, and the
    merges are in the order of the tokens. Reading 49,152 of them is most of what it takes to load
    two layers of SmolLM2, and computing how likely each is, most of what it takes to run them.
    """
    rows, kept = model.tensors["token_embd.weight"], {"llama.vocab_size": count}
    for name, length in (("tokens", count), ("token_type", count), ("merges", count - _NOT_MERGED)):
        kept[f"tokenizer.ggml.{name}"] = model.metadata[f"tokenizer.ggml.{name}"][:length]
    tensors = model.tensors | {"token_embd.weight": rows[:count]}
    return replace(model, metadata=model.metadata | kept, tensors=tensors)


def without_template(model: Transformer) -> Transformer:
    """The model without a chat template: it completes, as base models do."""
    plain = {k: v for k, v in model.metadata.items() if k != "tokenizer.chat_template"}
    return replace(model, metadata=plain)


def add_to(home: Path, smol: Transformer) -> None:
    """Put SmolLM2 in a quicker format, ``SHALLOW`` and ``BASE`` into a SLMLAB_HOME."""
    add_model(home, SMOL, smol, "Q8_0")
    few = with_tokens(weights.drop_layers(smol, range(2, smol.layers)), 8192)
    for name, model in ((SHALLOW, few), (BASE, without_template(few))):
        # Those that were added first are nobody's default.
        add_model(home, name, model, "Q4_1", modified="2020-01-01T00:00:00+00:00")

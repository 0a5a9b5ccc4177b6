"""The transformer's forward pass in JAX: one block is compiled, and used for all layers.

Compiled layer by layer, a model of 30 layers keeps the compiler busy for a quarter of a minute
before the first step of a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from slmlab.course.examples import Batch
from slmlab.course.transformer import BLOCK_TENSORS, Array, Block, Transformer, hidden_states


class Stacked(NamedTuple):
    """A model's tensors on JAX's device.

    ``blocks`` has one array for each part of a block, (tensors, outputs, inputs), and ``rows`` for
    each part, layer by layer, which of them is the layer's; ``others`` are the tensors outside the
    blocks, by name.
    """

    blocks: dict[str, Any]
    rows: dict[str, Any]
    others: dict[str, Any]


def stacked(jax: Any, models: Sequence[Transformer]) -> list[Stacked]:
    """The models' tensors for ``logits``; those that models share are in memory once."""
    shared: dict[tuple[str, tuple[int, ...]], dict[int, Array]] = {}
    for model in models:
        for part, ones in _blocks(model).items():
            shared.setdefault((part, ones[0].shape), {}).update({id(one): one for one in ones})
    arrays = {key: jax.numpy.asarray(np.stack(list(ones.values()))) for key, ones in shared.items()}
    outside: dict[int, Any] = {}
    found = []
    for model in models:
        blocks, rows = {}, {}
        for part, ones in _blocks(model).items():
            key = (part, ones[0].shape)
            blocks[part] = arrays[key]
            places = {number: place for place, number in enumerate(shared[key])}
            rows[part] = np.array([places[id(one)] for one in ones])
        others = {
            name: outside.setdefault(id(one), jax.numpy.asarray(one))
            for name, one in model.tensors.items()
            if not name.startswith("blk.")
        }
        found.append(Stacked(blocks, rows, others))
    return found


def logits(
    jax: Any,
    model: Transformer,
    tensors: Stacked,
    batch: Batch,
    adapter: Mapping[str, tuple[Array, Array]] | None = None,
    scale: float = 1.0,
) -> Any:
    """The logits after each of a batch's positions, (k, vocabulary).

    Args:
        jax: the module.
        model: whose hyperparameters are used.
        tensors: its tensors, from ``stacked``.
        batch: what is read.
        adapter: for each adapted part A (layers, rank, inputs) and B (layers, outputs, rank);
            scale · B·A is added to the part's matrices.
        scale: as above.
    """

    def through(block: Block, x: Array) -> Array:
        def layer(x: Array, at: Any) -> tuple[Array, None]:
            rows, low_rank = at
            w = {part: tensors.blocks[part][row] for part, row in rows.items()}
            for part, (a, b) in low_rank.items():
                w[part] = w[part] + scale * (b @ a)
            return block(x, w), None

        # For the gradients only products of matrices are kept; else each layer's weights would be.
        kept = jax.checkpoint_policies.dots_saveable
        layer = jax.checkpoint(layer, policy=kept, prevent_cse=False)
        return cast(Array, jax.lax.scan(layer, x, (tensors.rows, adapter or {}))[0])

    unembedding = tensors.others.get("output.weight", tensors.others["token_embd.weight"])
    bare = replace(model, tensors=tensors.others)
    states = hidden_states(bare, batch.tokens, through, tree=(batch.depths, batch.seen))
    return states[batch.positions] @ unembedding.T


def _blocks(model: Transformer) -> dict[str, list[Array]]:
    layers = range(model.layers)
    return {
        part: [model.tensors[f"blk.{n}.{part}.weight"] for n in layers] for part in BLOCK_TENSORS
    }

"""Take parts of a model away: whole layers, or the weakest neurons of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slmlab.course.transformer import FEED_FORWARD_LENGTH, Array, Transformer
from slmlab.errors import ModelError


def drop_layers(model: Transformer, layers: Sequence[int]) -> Transformer:
    """The model without some of its blocks; the others are renumbered.

    Raises:
        ModelError: there is no such block, or none would be left.

    Examples:
        >>> model = slmlab.weights.read()
        >>> smaller = slmlab.weights.drop_layers(model, [20, 21])
    """
    dropped = set(layers)
    kept = [layer for layer in range(model.layers) if layer not in dropped]
    if not dropped <= set(range(model.layers)) or not kept:
        raise ModelError(
            f"The model has layers 0 to {model.layers - 1}, of which one must stay; got {layers!r}."
        )
    tensors = {name: array for name, array in model.tensors.items() if not name.startswith("blk.")}
    for new, old in enumerate(kept):
        prefix = f"blk.{old}."
        tensors |= {
            f"blk.{new}.{name.removeprefix(prefix)}": array
            for name, array in model.tensors.items()
            if name.startswith(prefix)
        }
    return replace(
        model, tensors=tensors, metadata=model.metadata | {"llama.block_count": len(kept)}
    )


def keep_neurons(
    model: Transformer, share: float, layers: Sequence[int] | None = None
) -> Transformer:
    """The model with only the strongest of its feed-forward neurons.

    A neuron is a row of ``ffn_gate`` and of ``ffn_up`` with a column of ``ffn_down``; its strength
    is the product of their norms. The number kept is a multiple of 32, as the formats require.

    Args:
        model: the model.
        share: the share of the neurons to keep, 0 to 1.
        layers: the blocks to prune; None means all.

    Raises:
        ModelError: the share would keep no neuron, or more than there are.

    Examples:
        >>> model = slmlab.weights.read()
        >>> smaller = slmlab.weights.keep_neurons(model, 0.5)
    """
    neurons = int(model.metadata[FEED_FORWARD_LENGTH])
    remaining = round(share * neurons / 32) * 32
    if not 32 <= remaining <= neurons:
        raise ModelError(f"The share of neurons to keep is between 0 and 1; got {share!r}.")
    changed: dict[str, Array] = {}
    for layer in range(model.layers) if layers is None else layers:
        gate, up, down = (f"blk.{layer}.ffn_{part}.weight" for part in ("gate", "up", "down"))
        w_gate, w_up, w_down = (model.tensors[name] for name in (gate, up, down))
        strength = (
            np.linalg.norm(w_gate, axis=1)
            * np.linalg.norm(w_up, axis=1)
            * np.linalg.norm(w_down, axis=0)
        )
        kept = np.sort(np.argsort(strength)[neurons - remaining :])
        changed |= {
            gate: w_gate[kept],
            up: w_up[kept],
            down: np.ascontiguousarray(w_down[:, kept]),
        }
    return replace(model, tensors=model.tensors | changed)

"""Fine-tune a small model on a task of one's own with LoRA: train, merge, write, ask.

LoRA (low-rank adaptation, Hu et al. 2021, https://arxiv.org/abs/2106.09685) leaves a model's
matrices W as they are and learns for some of them two thin matrices A and B, so that
W + (alpha / rank) · B·A does the new task. JAX computes the gradients of the same forward pass that
``slmlab.weights`` has, and Optax takes the steps.

Both come with ``pip install "slmlab[training]"``, and are on Colab already.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slmlab.course import jax_transformer
from slmlab.course.examples import Batch, Examples, batches, from_answers, from_texts
from slmlab.course.transformer import Array, Transformer, log_softmax, softmax
from slmlab.errors import SlmlabError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "HELPDESK",
    "Adapter",
    "Examples",
    "Training",
    "from_answers",
    "from_texts",
    "merge",
    "missing",
    "size",
    "train",
]
# For each adapted matrix, by its name: A (rank, inputs) and B (outputs, rank).
Adapter = dict[str, tuple[Array, Array]]
# 200 messages to a shop, written for slmlab, each with the team that it is for: train.jsonl (120),
# validation.jsonl (40) and test.jsonl (40), for ``slmlab.tasks.load``.
HELPDESK = Path(__file__).parent.parent / "data" / "helpdesk"


@dataclass(frozen=True)
class Training:
    """What a training gave: the ``adapter`` of the ``best_epoch``, and how the losses went.

    ``history`` has a row for each epoch, from 0 (before the first step): ``epoch``; ``training``
    and ``validation``, the mean loss of a token in nats (for training, over the epoch's steps, as
    the adapter changed); ``seconds`` since the start.
    """

    adapter: Adapter
    history: pd.DataFrame
    best_epoch: int


def train(
    model: Transformer,
    examples: Examples,
    validation: Examples,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    parts: Sequence[str] = ("attn_q", "attn_v"),
    epochs: int = 6,
    patience: int = 1,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    teacher: Transformer | None = None,
    temperature: float = 2.0,
    seed: int = 0,
    on_epoch: Callable[[Mapping[str, float]], object] = lambda row: None,
) -> Training:
    """Learn an adapter from examples by gradient descent (AdamW).

    After each epoch the loss on ``validation`` is measured; training ends when it has not fallen
    for ``patience`` epochs, and the adapter of the best one is returned (early stopping).

    On a GPU, JAX gives the memory back that it took, unless this process has used JAX before, or
    ``XLA_PYTHON_CLIENT_ALLOCATOR`` is set. From NVIDIA's Ampere on it multiplies with fewer digits
    (TF32), so that losses differ from those of a processor in the third digit.

    Args:
        model: what is adapted; it is not changed.
        examples: what it learns.
        validation: other examples, which only say when to stop.
        rank: the rows of A and columns of B: how much can be learned, and how much is stored.
        alpha: the adapter's strength: B·A is multiplied by alpha / rank.
        parts: which matrices of each block are adapted, such as ``attn_q`` or ``ffn_down``.
        epochs: how often the model sees all examples, at most.
        patience: how many epochs without a lower validation loss end the training.
        batch_size: examples for each step.
        learning_rate: the size of a step; it falls to 0 over the epochs by a cosine.
        teacher: a model with the same vocabulary; what is learned then is its probabilities, in
            place of the targets (distillation, https://arxiv.org/abs/1503.02531).
        temperature: softens both distributions, where there is a teacher.
        seed: for A's first numbers, and for the order of the examples.
        on_epoch: called with each row of the history as soon as it is there.

    Returns:
        The adapter, for ``merge``, and the history. Its B contains the factor alpha / rank.

    Raises:
        SlmlabError: JAX or Optax is not installed, or the model has no such matrices.

    Examples:
        >>> model = slmlab.weights.read()
        >>> data = slmlab.finetuning.from_answers(model, ["Say yes."], ["yes"])
        >>> trained = slmlab.finetuning.train(model, data, data, epochs=1, rank=1)
        >>> trained.history["epoch"].tolist()
        [0, 1]
    """
    jax, optax = _libraries()
    import pandas as pd

    adapted = [part for part in parts if model.matrices(f".{part}.")]
    if not adapted:
        raise SlmlabError(f"No block has a matrix {', '.join(parts)}; look at model.matrices().")
    rng = np.random.default_rng(seed)
    adapter = _first(model, adapted, rank, rng)
    scale = alpha / rank
    frozen, *others = jax_transformer.stacked(jax, [model, *([teacher] if teacher else [])])
    taught = others[0] if teacher else None

    def loss(adapter: Any, frozen: Any, taught: Any, batch: Batch) -> Any:
        logits = jax_transformer.logits(jax, model, frozen, batch, adapter, scale)
        if teacher is None:
            wanted = batch.targets[:, None]
            losses = -jax.numpy.take_along_axis(log_softmax(logits), wanted, axis=-1)[:, 0]
        else:
            goal = softmax(jax_transformer.logits(jax, teacher, taught, batch), temperature)
            losses = -(goal * log_softmax(logits / temperature)).sum(axis=-1)
        return (losses * batch.counted).sum() / batch.counted.sum()

    measure = jax.jit(loss)
    orders = [rng.permutation(len(examples)) for _ in range(epochs)]
    as_given = [(part, np.arange(len(part))) for part in (examples, validation)]
    shuffled = [(examples, order) for order in orders]
    seen, held_out, *epoch_batches = batches([*as_given, *shuffled], batch_size)
    steps = optax.cosine_decay_schedule(learning_rate, epochs * len(seen))
    optimizer = optax.adamw(steps)
    state = optimizer.init(adapter)

    def updated(adapter: Any, state: Any, frozen: Any, taught: Any, batch: Batch) -> Any:
        value, gradients = jax.value_and_grad(loss)(adapter, frozen, taught, batch)
        updates, state = optimizer.update(gradients, state, adapter)
        return optax.apply_updates(adapter, updates), state, value

    step = jax.jit(updated)

    def mean(part: Sequence[Batch]) -> float:
        losses = [float(measure(adapter, frozen, taught, batch)) for batch in part]
        return float(np.average(losses, weights=[batch.counted.sum() for batch in part]))

    began = time.perf_counter()
    first = {"epoch": 0, "training": mean(seen), "validation": mean(held_out)}
    history = [first | {"seconds": time.perf_counter() - began}]
    on_epoch(history[0])
    best, best_epoch = adapter, 0  # updates make new arrays, so this one stays as it is
    for epoch, its_batches in enumerate(epoch_batches, 1):
        values = []
        for batch in its_batches:
            adapter, state, value = step(adapter, state, frozen, taught, batch)
            values.append(float(value))
        row = {"epoch": epoch, "training": float(np.mean(values)), "validation": mean(held_out)}
        history.append(row | {"seconds": time.perf_counter() - began})
        on_epoch(history[-1])
        if row["validation"] < history[best_epoch]["validation"]:
            best, best_epoch = adapter, epoch
        elif epoch - best_epoch >= patience:
            break
    found: Adapter = {}
    for part, pair in best.items():
        a, b = map(np.asarray, pair)
        for layer in range(model.layers):
            found[f"blk.{layer}.{part}.weight"] = a[layer], b[layer] * np.float32(scale)
    return Training(found, pd.DataFrame(history), best_epoch)


def merge(model: Transformer, adapter: Adapter) -> Transformer:
    """The model with B·A added to each adapted matrix: as large as before, and as fast.

    Args:
        model: the model that was adapted.
        adapter: what ``train`` gave.

    Examples:
        >>> model = slmlab.weights.read()
        >>> slmlab.finetuning.merge(model, {}).tensors.keys() == model.tensors.keys()
        True
    """
    return model.with_tensors(
        {name: model.tensors[name] + b @ a for name, (a, b) in adapter.items()}
    )


def size(adapter: Adapter) -> int:
    """The number of parameters in an adapter.

    Examples:
        >>> import numpy as np
        >>> a, b = np.ones((2, 8), np.float32), np.ones((4, 2), np.float32)
        >>> slmlab.finetuning.size({"blk.0.attn_q.weight": (a, b)})
        24
    """
    return sum(a.size + b.size for a, b in adapter.values())


def missing() -> str | None:
    """What ``train`` needs and this Python lacks, as a sentence; None if all is there.

    Examples:
        >>> slmlab.finetuning.missing()
    """
    absent = [name for name in ("jax", "optax") if not importlib.util.find_spec(name)]
    if not absent:
        return None
    return (
        f"Training needs {' and '.join(absent)}, a download of about 90 MB: "
        'pip install "slmlab[training]"'
    )


def _first(
    model: Transformer, parts: Sequence[str], rank: int, rng: np.random.Generator
) -> dict[str, tuple[Array, Array]]:
    """Each part's A (layers, rank, inputs) and B (layers, outputs, rank) before the first step."""
    drawn = {}
    for name in model.matrices():
        if any(f".{part}." in name for part in parts):
            inputs = model.tensors[name].shape[1]
            drawn[name] = (rng.normal(size=(rank, inputs)) * inputs**-0.5).astype(np.float32)
    found = {}
    for part in parts:
        outputs, _ = model.tensors[f"blk.0.{part}.weight"].shape
        a = np.stack([drawn[f"blk.{layer}.{part}.weight"] for layer in range(model.layers)])
        # B begins at 0, so that the first step begins at the model as it is.
        found[part] = a, np.zeros((model.layers, outputs, rank), np.float32)
    return found


def _libraries() -> tuple[Any, Any]:
    if sentence := missing():
        raise SlmlabError(sentence)
    # On a GPU, JAX would take three quarters of the memory at its first use, and keep until the
    # process ends what it took since; the server's models need it. With this allocator it takes
    # what it needs, and gives it back. Steps as large as these are no slower for it (measured).
    os.environ.setdefault("XLA_PYTHON_CLIENT_ALLOCATOR", "platform")
    # XLA, JAX's compiler, tells on stderr where it takes long, which helps only its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax
    import optax

    return jax, optax

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from slmlab.course.transformer import (
    Array,
    Transformer,
    chat_text,
    hidden_states,
    log_softmax,
    softmax,
    tokenizer,
)
from slmlab.errors import SlmlabError

if TYPE_CHECKING:
    import pandas as pd

# For each adapted matrix, by its name: A (rank, inputs) and B (outputs, rank).
Adapter = dict[str, tuple[Array, Array]]
Integers = npt.NDArray[np.int32]
END_OF_ANSWER = "tokenizer.ggml.eos_token_id"
# 200 messages to a shop, written for slmlab, each with the team that it is for: train.jsonl (120),
# validation.jsonl (40) and test.jsonl (40), for ``slmlab.tasks.load``.
HELPDESK = Path(__file__).parent.parent / "data" / "helpdesk"


@dataclass(frozen=True)
class Examples:
    """Token sequences, and which of their tokens are to be learned: n examples of one length.

    ``tokens`` (n, length) are padded on the right. A model reads them and is asked, after each of
    the ``positions`` (n, k), for the token of ``targets`` (n, k); ``counted`` (n, k) is 1 where
    there is one, and 0 where an example has fewer than k.
    """

    tokens: Integers
    positions: Integers
    targets: Integers
    counted: Array

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.tokens)

    def __getitem__(self, part: slice | npt.NDArray[np.int64]) -> Examples:
        """Some of the examples, by a slice or an array of positions."""
        return Examples(
            self.tokens[part], self.positions[part], self.targets[part], self.counted[part]
        )


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


def from_answers(model: Transformer, prompts: Sequence[str], answers: Sequence[str]) -> Examples:
    """Examples in which only the answers are learned, each prompt as the chat template puts it.

    Args:
        model: whose tokenizer and chat template are used.
        prompts: one or several.
        answers: one for each prompt; that it ends there is learned too.

    Raises:
        SlmlabError: there are no prompts, or more or fewer answers.
        ModelError: a base model, which has no chat template.

    Examples:
        >>> model = slmlab.weights.read()
        >>> data = slmlab.finetuning.from_answers(model, ["Say yes."], ["yes"])
        >>> data.targets.shape  # "yes", and the token that ends an answer
        (1, 2)
    """
    if len(prompts) != len(answers):
        raise SlmlabError(
            f"Each prompt needs one answer; got {len(prompts)} prompts and {len(answers)} answers."
        )
    encode = tokenizer(model).encode
    pairs = []
    for prompt, answer in zip(prompts, answers, strict=True):
        before = encode(chat_text(model, prompt)).ids
        pairs.append((before, [*encode(answer).ids, int(model.metadata[END_OF_ANSWER])]))
    return _padded([(before + after, len(before) - 1) for before, after in pairs])


def from_texts(model: Transformer, texts: Sequence[str], length: int = 128) -> Examples:
    """Examples in which every token but the first is learned.

    Args:
        model: whose tokenizer is used.
        texts: one example each.
        length: after how many tokens a text is cut; a step's memory grows with it.

    Raises:
        SlmlabError: there are no texts, or one has fewer than two tokens.

    Examples:
        >>> model = slmlab.weights.read()
        >>> len(slmlab.finetuning.from_texts(model, ["The cat sat.", "It slept."]))
        2
    """
    encode = tokenizer(model).encode
    return _padded([(encode(text).ids[:length], 0) for text in texts])


def _padded(sequences: Sequence[tuple[list[int], int]]) -> Examples:
    """Sequences, each with the position of the first token after which one is learned."""
    if not sequences or min(len(ids) - first for ids, first in sequences) < 2:
        raise SlmlabError("Give at least one example, and at least two tokens for each.")
    # A few lengths only, since a new length is compiled anew.
    length = -(-max(len(ids) for ids, _ in sequences) // 16) * 16
    most = max(len(ids) - 1 - first for ids, first in sequences)
    shape = (len(sequences), most)
    tokens = np.zeros((len(sequences), length), np.int32)
    positions, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    counted = np.zeros(shape, np.float32)
    for row, (ids, first) in enumerate(sequences):
        count = len(ids) - 1 - first
        tokens[row, : len(ids)] = ids
        positions[row, :count] = np.arange(first, first + count)
        targets[row, :count] = ids[first + 1 :]
        counted[row, :count] = 1
    return Examples(tokens, positions, targets, counted)


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

    names = [name for name in model.matrices() if any(f".{part}." in name for part in parts)]
    if not names:
        raise SlmlabError(f"No block has a matrix {', '.join(parts)}; look at model.matrices().")
    rng = np.random.default_rng(seed)
    adapter = {name: _first(model.tensors[name].shape, rank, rng) for name in names}
    scale = alpha / rank
    # Tensors that model and teacher share are kept once.
    tensors = [*model.tensors.values(), *(teacher.tensors.values() if teacher else ())]
    kept = {id(one): jax.numpy.asarray(one) for one in tensors}
    frozen, taught = (
        {name: kept[id(one)] for name, one in each.tensors.items()} if each else None
        for each in (model, teacher)
    )

    def loss(adapter: Adapter, frozen: Any, taught: Any, batch: Mapping[str, Array]) -> Any:
        logits = _logits(jax, replace(model, tensors=_adapted(frozen, adapter, scale)), batch)
        if teacher is None:
            wanted = batch["targets"][..., None]
            losses = -jax.numpy.take_along_axis(log_softmax(logits), wanted, axis=-1)[..., 0]
        else:
            goal = softmax(_logits(jax, replace(teacher, tensors=taught), batch), temperature)
            losses = -(goal * log_softmax(logits / temperature)).sum(axis=-1)
        return (losses * batch["counted"]).sum() / batch["counted"].sum()

    measure = jax.jit(loss)
    batch_size = min(batch_size, len(examples))
    steps = epochs * -(-len(examples) // batch_size)
    optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps))
    state = optimizer.init(adapter)

    def updated(
        adapter: Any, state: Any, frozen: Any, taught: Any, batch: Mapping[str, Array]
    ) -> Any:
        value, gradients = jax.value_and_grad(loss)(adapter, frozen, taught, batch)
        updates, state = optimizer.update(gradients, state, adapter)
        return optax.apply_updates(adapter, updates), state, value

    step = jax.jit(updated)

    def mean(part: Examples) -> float:
        batches = _batches(part, np.arange(len(part)), batch_size)
        losses = [float(measure(adapter, frozen, taught, vars(batch))) for batch in batches]
        return float(np.average(losses, weights=[batch.counted.sum() for batch in batches]))

    began = time.perf_counter()
    first = {"epoch": 0, "training": mean(examples), "validation": mean(validation)}
    history = [first | {"seconds": time.perf_counter() - began}]
    on_epoch(history[0])
    best, best_epoch = adapter, 0  # updates make new arrays, so this one stays as it is
    for epoch in range(1, epochs + 1):
        values = []
        for batch in _batches(examples, rng.permutation(len(examples)), batch_size):
            adapter, state, value = step(adapter, state, frozen, taught, vars(batch))
            values.append(float(value))
        row = {"epoch": epoch, "training": float(np.mean(values)), "validation": mean(validation)}
        history.append(row | {"seconds": time.perf_counter() - began})
        on_epoch(history[-1])
        if row["validation"] < history[best_epoch]["validation"]:
            best, best_epoch = adapter, epoch
        elif epoch - best_epoch >= patience:
            break
    found = {name: (np.asarray(a), np.asarray(b) * scale) for name, (a, b) in best.items()}
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
    changed = _adapted(model.tensors, adapter, 1.0)
    return model.with_tensors({name: changed[name] for name in adapter})


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


def _adapted(tensors: Mapping[str, Array], adapter: Adapter, scale: float) -> dict[str, Array]:
    """The tensors, with W + scale · B·A in place of each adapted W."""
    changed = {name: tensors[name] + scale * (b @ a) for name, (a, b) in adapter.items()}
    return {**tensors, **changed}


def _first(shape: tuple[int, ...], rank: int, rng: np.random.Generator) -> tuple[Array, Array]:
    # B begins at 0, so that the first step begins at the model as it is.
    outputs, inputs = shape
    a = rng.normal(size=(rank, inputs)) * inputs**-0.5
    return a.astype(np.float32), np.zeros((outputs, rank), np.float32)


def _logits(jax: Any, model: Transformer, batch: Mapping[str, Array]) -> Any:
    """The logits after each of a batch's positions, (examples, k, vocabulary)."""
    embeddings = model.tensors["token_embd.weight"]
    unembedding = model.tensors.get("output.weight", embeddings)

    def one(tokens: Array, positions: Array) -> Array:
        return cast(Array, hidden_states(model, tokens)[positions] @ unembedding.T)

    return jax.vmap(one)(batch["tokens"], batch["positions"])


def _batches(examples: Examples, order: npt.NDArray[np.int64], size: int) -> list[Examples]:
    """Batches of one size, since another is compiled anew: the last is filled up, uncounted."""
    batches = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        batch = examples[np.resize(rows, size)]
        batch.counted[len(rows) :] = 0  # a copy, since rows are chosen by an array
        batches.append(batch)
    return batches


def _libraries() -> tuple[Any, Any]:
    if sentence := missing():
        raise SlmlabError(sentence)
    # On a GPU, JAX would take three quarters of the memory, and the server's models need some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # XLA, JAX's compiler, tells on stderr where it takes long, which helps only its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax
    import optax

    return jax, optax

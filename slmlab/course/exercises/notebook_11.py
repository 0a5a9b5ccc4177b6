"""Checks of the notebook on fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slmlab.course.exercises.checking import exercise, near

if TYPE_CHECKING:
    from slmlab.course.finetuning import Examples
    from slmlab.course.transformer import Transformer


@exercise("11.1")
def check_11_1(count: Any, model: Any) -> str | None:
    """A number of parameters, and the model."""
    shapes = [model.tensors[name].shape for part in ("q", "v") for name in _adapted(model, part)]
    if near(count, sum(4 * (outputs + inputs) for outputs, inputs in shapes), 1e-6):
        return None
    return (
        "For a matrix of shape (outputs, inputs), A has 4 × inputs numbers and B has outputs × 4; "
        "every block has one attn_q and one attn_v."
    )


@exercise("11.2")
def check_11_2(best: Any, price: Any, recorded: Any) -> str | None:
    """An epoch, a difference of two losses, and the recorded history."""
    losses = recorded.set_index("epoch")["validation"]
    if int(best) != losses.idxmin() or int(best) != best:
        return "The best epoch is the one with the lowest *validation* loss."
    if near(price, losses.iloc[-1] - losses.min(), 0.02):
        return None
    return "The price is the validation loss after the last epoch, less that of the best one."


@exercise("11.3")
def check_11_3(by_rank: Any, model: Any, held_out: Any) -> str | None:
    """A dict: rank → what finetuning.train gave, the model, and the validation examples."""
    from slmlab.course import finetuning

    if len(by_rank) < 2:
        return "At least two ranks."
    for rank, trained in by_rank.items():
        if {a.shape[0] for a, _ in trained.adapter.values()} != {rank}:
            return f"The adapter under {rank} has another rank: train(…, rank={rank})."
        reported = trained.history["validation"].min()
        if not near(_loss(finetuning.merge(model, trained.adapter), held_out), reported, 0.05):
            return f"For rank {rank} the validation loss should be different: measure on held_out."
    return None


def _adapted(model: Transformer, part: str) -> list[str]:
    return [name for name in model.matrices("attn_") if f".attn_{part}." in name]


def _loss(model: Transformer, examples: Examples) -> float:
    """The mean loss of a token to learn, in nats, by the forward pass in numpy."""
    import numpy as np

    from slmlab.course.transformer import forward, log_softmax

    losses: list[float] = []
    for row, tokens in enumerate(examples.tokens):
        learned = examples.counted[row] > 0
        at, targets = examples.positions[row][learned], examples.targets[row][learned]
        losses.extend(-log_softmax(forward(model, tokens))[at, targets])
    return float(np.mean(losses))

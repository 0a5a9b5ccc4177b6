"""Checks of the notebooks on quantization, pruning, distillation and the chatbot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from slmlab.course.exercises.checking import exercise, near

if TYPE_CHECKING:
    from slmlab.course.transformer import Array, Transformer


@exercise("07.1")
def check_07_1(bits: Any) -> str | None:
    """A number of bits."""
    if near(bits, 3.25, 0.001):
        return None
    return "64 weights of 3 bits and one scale of 16 bits, shared by all 64."


@exercise("07.2")
def check_07_2(function: Any) -> str | None:
    """Your function q4_1."""
    import numpy as np

    x = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32) + 3
    y = function(x)
    if y is None:
        return "Your function returns nothing: return the array."
    if y.shape != x.shape:
        return "The result should have the shape of the input: reshape(x.shape)."
    before, after = x.reshape(-1, 32), y.reshape(-1, 32)
    steps = np.ptp(before, axis=1) / 15
    if (np.abs(before - after).max(axis=1) > 0.52 * steps + 1e-4).any():
        return (
            "Some numbers are more than half a step off: step = (largest - smallest) / 15, round."
        )
    if max(len(np.unique(np.round(block, 5))) for block in after) > 16:
        return "A block of 4-bit numbers holds at most 16 different values."
    return None


@exercise("07.3")
def check_07_3(hurt: Any, model: Any, texts: Any) -> str | None:
    """A dict with "attn" and "ffn", the model, and the texts."""
    if set(hurt) != {"attn", "ffn"}:
        return 'The keys are "attn" and "ffn".'
    if not all(float(value) > 1 for value in hurt.values()):
        return "Perplexity is never below 1."
    for part in ("attn", "ffn"):
        changed = {name: _one_scale(model.tensors[name]) for name in model.matrices(part)}
        if not _is_perplexity(hurt[part], model.with_tensors(changed), texts[:1], texts):
            return (
                f"{part!r} should be a different number: change only model.matrices({part!r}), "
                "each with one_scale, and measure on `texts` or on the first of them."
            )
    return None


@exercise("08.1")
def check_08_1(share: Any, model: Any) -> str | None:
    """A share between 0 and 1, and the model."""
    if not 0 < float(share) < 1:
        return "A share lies between 0 and 1."
    zeros = _zeroed(model.tensors["blk.10.ffn_up.weight"], 0.25) == 0
    if near(share, zeros.mean()):
        return None
    return "Count what equals 0 in the result of zeroed(…, 0.25), divided by its size."


@exercise("08.2")
def check_08_2(at_random: Any, by_size: Any, model: Any, texts: Any) -> str | None:
    """Two perplexities, the model, and the texts."""
    if not at_random > by_size > 1:
        return (
            "Random zeros hurt much more than those of the smallest weights. Are the two in order?"
        )
    from slmlab.course.text_losses import perplexity

    pruned = {name: _zeroed(model.tensors[name], 0.2) for name in model.matrices()}
    if not _is_perplexity(by_size, model.with_tensors(pruned), texts):
        return "The second should be a different number: weights.perplexity(prune(0.2), texts)."
    thinned = {name: _thinned(model.tensors[name], 0.2) for name in model.matrices()}
    # Which zeros fall where makes a large difference: other seeds are within two decades.
    typical = perplexity(model.with_tensors(thinned), texts)
    if not typical / 100 < at_random < typical * 100:
        return (
            f"Random zeros give about {typical:.0e} here: in all of model.matrices(), 20 % of each."
        )
    return None


@exercise("08.3")
def check_08_3(in_a_row: Any, spread: Any, model: Any, texts: Any) -> str | None:
    """Two perplexities, the model, and the texts."""
    from slmlab.course import weights

    if min(in_a_row, spread) < 1:
        return "Perplexity is never below 1."
    for value, layers in ((in_a_row, [10, 11, 12, 13, 14]), (spread, [6, 10, 14, 18, 22])):
        if not _is_perplexity(value, weights.drop_layers(model, layers), texts):
            return (
                f"Without the layers {layers} it should be a different number: drop_layers, on "
                "`texts`."
            )
    return None


@exercise("09.1")
def check_09_1(sharp: Any, flat: Any, logits: Any) -> str | None:
    """Probabilities at temperature 1 and at temperature 4, and the logits."""
    import numpy as np

    from slmlab.course.transformer import softmax

    for given, temperature in ((sharp, 1.0), (flat, 4.0)):
        if not near(sum(given), 1):
            return "Probabilities add up to 1: softmax(logits, temperature)."
        if not np.allclose(given, softmax(logits, temperature), rtol=1e-3, atol=1e-7):
            return f"The probabilities at temperature {temperature:.0f} should be different."
    return None


@exercise("09.2")
def check_09_2(found: Any, training_curve: Any) -> str | None:
    """A dict: soft → KL divergence, and the function training_curve."""
    if len(found) < 3 or not {0, 1} <= set(found):
        return "At least three shares, 0 and 1 among them."
    for soft, value in found.items():
        if not _occurs(value, "kl", training_curve(soft, rounds=20)):
            return f"For soft = {soft} the KL should be different: list(training_curve(soft))[-1]."
    return None


@exercise("09.3")
def check_09_3(found: Any, training_curve: Any) -> str | None:
    """A dict: neurons → perplexity, and the function training_curve."""
    if len(found) < 3:
        return "At least three sizes."
    for hidden, value in found.items():
        if not _occurs(value, "new", training_curve(1.0, rounds=20, hidden=hidden)):
            return (
                f"For {hidden} neurons the perplexity on new stories should be different: "
                'list(training_curve(1.0, hidden=…))[-1]["new"].'
            )
    return None


@exercise("10.1")
def check_10_1(messages: Any) -> str | None:
    """The list of messages."""
    if len(messages) != 6:
        return (
            "Three turns leave six messages, a question and an answer each; "
            f"yours has {len(messages)}."
        )
    if [message.type for message in messages] != ["human", "ai"] * 3:
        return "A question (HumanMessage) and an answer (AIMessage) take turns."
    if not all(isinstance(message.content, str) for message in messages):
        return "The content of each message is a text."
    return None


@exercise("10.2")
def check_10_2(answer: Any) -> str | None:
    """A dict with polite and reply."""
    if set(answer) != {"polite", "reply"}:
        return "The answer has the fields polite and reply, and no others."
    if not isinstance(answer["polite"], bool):
        return 'polite is true or false: {"type": "boolean"}.'
    if not isinstance(answer["reply"], str) or len(answer["reply"]) > 40:
        return 'The reply is a text of at most 40: {"type": "string", "maxLength": 40}.'
    return None


@exercise("10.3")
def check_10_3(frame: Any) -> str | None:
    """A scored table with a column k."""
    from slmlab.evaluation import scorers

    if set(frame["k"]) != {1, 2, 4}:
        return "The column k should contain 1, 2 and 4."
    sizes = frame.groupby("k")["prompt"].apply(lambda prompts: prompts.str.len().mean())
    if not sizes[1] < sizes[2] < sizes[4]:
        return "More facts make longer prompts: are k facts in each?"
    for row in frame.to_dict("records"):
        if not isinstance(row["error"], str) and row["score"] != scorers.contains(row["text"], row):
            return 'Score the table: slmlab.score(…, "contains").'
    return None


def _one_scale(x: Array) -> Array:
    """4 bits with one scale for the whole matrix, as in notebook 07."""
    import numpy as np

    scale = np.abs(x).max() / 7
    quantized: Array = (np.round(x / scale).clip(-8, 7) * scale).astype(np.float32)
    return quantized


def _zeroed(x: Array, share: float) -> Array:
    """The smallest share of the weights set to zero, as in notebook 08."""
    import numpy as np

    limit = np.partition(np.abs(x).ravel(), int(share * x.size))[int(share * x.size)]
    zeroed: Array = np.where(np.abs(x) < limit, 0, x).astype(np.float32)
    return zeroed


def _thinned(x: Array, share: float) -> Array:
    """A share of the weights set to zero at random."""
    import numpy as np

    zeros = np.random.default_rng(0).random(x.shape) < share
    thinned: Array = np.where(zeros, 0, x).astype(np.float32)
    return thinned


def _is_perplexity(value: float, model: Transformer, *texts: list[str]) -> bool:
    """Whether a number is the model's perplexity on one of some lists of texts."""
    from slmlab.course.text_losses import perplexity

    return any(near(value, perplexity(model, some)) for some in texts)


def _occurs(value: float, column: str, curve: Iterable[Mapping[str, float]]) -> bool:
    """Whether a number stands in a column of a training curve, whose rows come as they train."""
    return any(near(value, row[column], 0.001) for row in curve)

"""A tiny language model in numpy, taught by a bigger one: by its choices, or by all it thinks.

The student is a neural network of the oldest kind of neural language model (Bengio et al. 2003,
https://jmlr.org/papers/v3/bengio03a.html): the last few tokens as vectors, one hidden layer, a
score for each token that may come next. It is far too small to be useful, and small enough to train
in seconds, which is the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slmlab.course import weights
from slmlab.course.weights import Array, Model, softmax


@dataclass(frozen=True)
class Examples:
    """What a student learns from, n examples over a vocabulary of v tokens.

    ``contexts`` (n, look_back) are the tokens before, ``following`` (n) the token that came next in
    the text, ``teacher`` (n, v) the teacher's logits for what could come next. Tokens are numbers
    0 to v - 1; ``vocabulary`` has their texts.
    """

    contexts: npt.NDArray[np.int64]
    following: npt.NDArray[np.int64]
    teacher: Array
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        """How many examples these are."""
        return len(self.following)

    def split(self, share: float) -> tuple[Examples, Examples]:
        """The first so much of them, and the rest."""
        at = int(share * len(self))
        return tuple(
            Examples(self.contexts[part], self.following[part], self.teacher[part], self.vocabulary)
            for part in (slice(at), slice(at, None))
        )  # type: ignore[return-value]


def examples(teacher: Model, texts: Sequence[str], look_back: int = 4) -> Examples:
    """Let the teacher read texts, and note what it expects after each token.

    The vocabulary is the tokens that occur in these texts; the teacher's logits of all others are
    left out, so that the student has few enough outputs to be trained in seconds.
    """
    split = weights.tokenizer(teacher)
    ids = [split.encode(text).ids for text in texts]
    used = sorted({token for one in ids for token in one})
    number = {token: position for position, token in enumerate(used)}
    contexts, following, logits = [], [], []
    for one in ids:
        scores = weights.forward(teacher, one)[:, used]
        # Before a text begins stands, as often as needed, its first token.
        known = [number[one[0]]] * look_back + [number[token] for token in one]
        for position in range(1, len(one)):
            contexts.append(known[position : position + look_back])
            following.append(number[one[position]])
        logits.append(scores[:-1])
    vocabulary = tuple(split.decode([token]) for token in used)
    return Examples(np.array(contexts), np.array(following), np.concatenate(logits), vocabulary)


class Student:
    """A network of two layers: ``parameters`` has its arrays by name.

    Args:
        vocabulary: how many tokens it knows.
        look_back: how many tokens it looks back.
        width: numbers for each token.
        hidden: neurons of the hidden layer.
        seed: of the random start.
    """

    def __init__(
        self, vocabulary: int, look_back: int = 4, width: int = 32, hidden: int = 128, seed: int = 0
    ) -> None:
        dice = np.random.default_rng(seed)
        shapes = {
            "tokens": (vocabulary, width),
            "in": (look_back * width, hidden),
            "in_bias": (hidden,),
            "out": (hidden, vocabulary),
            "out_bias": (vocabulary,),
        }
        self.parameters: dict[str, Array] = {
            name: (dice.normal(size=shape) * (len(shape) == 2) / shape[0] ** 0.5).astype(np.float32)
            for name, shape in shapes.items()
        }
        self.parameters["tokens"] *= np.float32(vocabulary**0.5)

    def size(self) -> int:
        """How many parameters it has."""
        return sum(array.size for array in self.parameters.values())

    def logits(self, contexts: npt.NDArray[np.int64]) -> Array:
        """A score for each token that may follow each context: (n, vocabulary)."""
        return self._forward(contexts)[-1]

    def _forward(self, contexts: npt.NDArray[np.int64]) -> tuple[Array, Array, Array]:
        p = self.parameters
        x = p["tokens"][contexts].reshape(len(contexts), -1)
        h = np.tanh(x @ p["in"] + p["in_bias"])
        return x, h, h @ p["out"] + p["out_bias"]

    def train(
        self,
        lessons: Examples,
        soft: float = 0.0,
        temperature: float = 2.0,
        epochs: int = 30,
        rate: float = 2e-3,
        batch: int = 64,
        seed: int = 0,
    ) -> None:
        """Learn from examples by gradient descent (Adam, https://arxiv.org/abs/1412.6980).

        The loss is ``(1 - soft) × cross-entropy with the token that came + soft × temperature² ×
        KL(teacher ‖ student)``, both softened by the temperature (Hinton, Vinyals and Dean 2015,
        https://arxiv.org/abs/1503.02531): ``soft=0`` learns from the text alone, ``soft=1`` from
        the teacher alone.
        """
        dice = np.random.default_rng(seed)
        means = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        squares = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        step = 0
        for _ in range(epochs):
            for chosen in np.array_split(dice.permutation(len(lessons)), len(lessons) // batch):
                step += 1
                for name, slope in self._slopes(lessons, chosen, soft, temperature).items():
                    means[name] += 0.1 * (slope - means[name])
                    squares[name] += 0.001 * (slope * slope - squares[name])
                    mean = means[name] / (1 - 0.9**step)
                    square = squares[name] / (1 - 0.999**step)
                    self.parameters[name] -= np.float32(rate) * mean / (np.sqrt(square) + 1e-8)

    def _slopes(
        self, lessons: Examples, chosen: npt.NDArray, soft: float, temperature: float
    ) -> dict[str, Array]:
        """How the loss changes with each parameter, by the chain rule."""
        p, contexts = self.parameters, lessons.contexts[chosen]
        x, h, logits = self._forward(contexts)
        hard = softmax(logits)
        hard[np.arange(len(chosen)), lessons.following[chosen]] -= 1
        taught = softmax(lessons.teacher[chosen], temperature)
        gap = softmax(logits, temperature) - taught
        # temperature² × 1 / temperature: softened logits change that much less.
        out = ((1 - soft) * hard + soft * temperature * gap) / len(chosen)
        back = (out @ p["out"].T) * (1 - h * h)
        tokens = np.zeros_like(p["tokens"])
        np.add.at(tokens, contexts, (back @ p["in"].T).reshape(*contexts.shape, -1))
        return {
            "tokens": tokens,
            "in": x.T @ back,
            "in_bias": back.sum(axis=0),
            "out": h.T @ out,
            "out_bias": out.sum(axis=0),
        }


def perplexity(logits: Array, following: npt.NDArray[np.int64]) -> float:
    """How surprised some logits (n, v) are by the tokens that came: e to the mean of -log(p)."""
    chances = softmax(logits.astype(np.float64))[np.arange(len(following)), following]
    return float(np.exp(-np.log(chances).mean()))


def kl(teacher: Array, student: Array) -> float:
    """Kullback–Leibler divergence of two sets of logits (n, v), mean over n: 0 where they agree.

    In nats: what it costs, per token, to believe the student where the teacher is right.
    """
    p, q = softmax(teacher.astype(np.float64)), softmax(student.astype(np.float64))
    return float((p * (np.log(p + 1e-30) - np.log(q + 1e-30))).sum(axis=-1).mean())


def measure(student: Student, lessons: Examples) -> dict[str, float]:
    """A student's ``perplexity`` on what came next, and its ``kl`` from the teacher."""
    logits = student.logits(lessons.contexts)
    return {
        "perplexity": perplexity(logits, lessons.following),
        "kl": kl(lessons.teacher, logits),
    }

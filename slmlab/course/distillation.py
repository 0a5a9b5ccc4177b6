"""A tiny language model in numpy, taught by a larger one: by its tokens, or by its probabilities.

The student is a neural network of the oldest kind of neural language model (Bengio et al. 2003,
https://jmlr.org/papers/v3/bengio03a.html): the last few tokens as vectors, one hidden layer, a
logit for each token that may come next. It is far too small to be useful, and small enough to train
in seconds, which is the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slmlab.course.transformer import Array, Transformer, forward, log_softmax, softmax, tokenizer

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """What a student learns from, n examples over a vocabulary of v tokens.

    ``contexts`` (n, context_length) are the tokens before, ``targets`` (n) the token that came next
    in the text, ``teacher_logits`` (n, v) the teacher's logits for what could come next. Tokens are
    numbers 0 to v - 1; ``vocabulary`` has their texts.
    """

    contexts: Tokens
    targets: Tokens
    teacher_logits: Array
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        """How many examples these are."""
        return len(self.targets)

    def __getitem__(self, part: slice | Tokens) -> Examples:
        """Some of the examples: a slice, or an array of their numbers."""
        return Examples(
            self.contexts[part], self.targets[part], self.teacher_logits[part], self.vocabulary
        )

    def split(self, share: float) -> tuple[Examples, Examples]:
        """The first ``share`` (0 to 1) of them to train on, and the rest to test on."""
        at = int(share * len(self))
        return self[:at], self[at:]


def examples(teacher: Transformer, texts: Sequence[str], context_length: int = 4) -> Examples:
    """Let the teacher read texts, and note what it expects after each token.

    The vocabulary is the tokens that occur in these texts; the teacher's logits of all others are
    left out, so that the student has few enough outputs to be trained in seconds.

    Examples:
        >>> teacher = slmlab.weights.read()
        >>> data = slmlab.distillation.examples(teacher, ["The cat sat on the mat."])
        >>> data.contexts.shape[1]
        4
    """
    coder = tokenizer(teacher)
    encoded = [coder.encode(text).ids for text in texts]
    used = sorted({token for ids in encoded for token in ids})
    index = {token: position for position, token in enumerate(used)}
    contexts, targets, logits = [], [], []
    for ids in encoded:
        # A text is padded on the left with its first token.
        padded = [index[ids[0]]] * context_length + [index[token] for token in ids]
        for position in range(1, len(ids)):
            contexts.append(padded[position : position + context_length])
            targets.append(index[ids[position]])
        logits.append(forward(teacher, ids)[:-1, used])
    vocabulary = tuple(coder.decode([token]) for token in used)
    return Examples(np.array(contexts), np.array(targets), np.concatenate(logits), vocabulary)


class Student:
    """A network of two layers: ``parameters`` has its arrays by name.

    Args:
        vocabulary: how many tokens it knows.
        context_length: how many tokens it sees.
        embedding_size: numbers for each token.
        hidden: neurons of the hidden layer.
        seed: of the random start.
    """

    def __init__(
        self,
        vocabulary: int,
        context_length: int = 4,
        embedding_size: int = 32,
        hidden: int = 128,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings": (vocabulary, embedding_size),
            "hidden": (context_length * embedding_size, hidden),
            "hidden_bias": (hidden,),
            "output": (hidden, vocabulary),
            "output_bias": (vocabulary,),
        }
        self.parameters: dict[str, Array] = {}
        for name, shape in shapes.items():
            # Biases start at 0; weights so that what comes out varies as much as what goes in.
            scale = 0 if len(shape) == 1 else 1 if name == "embeddings" else shape[0] ** -0.5
            self.parameters[name] = (rng.normal(size=shape) * scale).astype(np.float32)

    def size(self) -> int:
        """How many parameters it has."""
        return sum(array.size for array in self.parameters.values())

    def logits(self, contexts: Tokens) -> Array:
        """A logit for each token that may follow each context: (n, vocabulary)."""
        return self._forward(contexts)[-1]

    def _forward(self, contexts: Tokens) -> tuple[Array, Array, Array]:
        """The embeddings, the hidden layer's activations, and the logits."""
        p = self.parameters
        embedded = p["embeddings"][contexts].reshape(len(contexts), -1)
        activations: Array = np.tanh(embedded @ p["hidden"] + p["hidden_bias"])
        return embedded, activations, activations @ p["output"] + p["output_bias"]

    def train(
        self,
        examples: Examples,
        soft: float = 0.0,
        temperature: float = 2.0,
        epochs: int = 30,
        learning_rate: float = 2e-3,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        """Learn from examples by gradient descent (Adam, https://arxiv.org/abs/1412.6980).

        The loss is ``(1 - soft) × cross-entropy with the token that came + soft × temperature² ×
        KL(teacher ‖ student)``, both softened by the temperature (Hinton, Vinyals and Dean 2015,
        https://arxiv.org/abs/1503.02531): ``soft=0`` learns from the text alone, ``soft=1`` from
        the teacher alone.
        """
        rng = np.random.default_rng(seed)
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        moment1 = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        moment2 = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        step, batches = 0, max(1, len(examples) // batch_size)
        for _ in range(epochs):
            for batch in np.array_split(rng.permutation(len(examples)), batches):
                step += 1
                for name, gradient in self.gradients(examples[batch], soft, temperature).items():
                    moment1[name] += (1 - beta1) * (gradient - moment1[name])
                    moment2[name] += (1 - beta2) * (gradient * gradient - moment2[name])
                    mean = moment1[name] / (1 - beta1**step)
                    variance = moment2[name] / (1 - beta2**step)
                    update = mean / (np.sqrt(variance) + epsilon)
                    self.parameters[name] -= np.float32(learning_rate) * update

    def gradients(self, batch: Examples, soft: float, temperature: float) -> dict[str, Array]:
        """How the loss of ``train`` changes with each parameter, by the chain rule."""
        p, n = self.parameters, len(batch)
        embedded, activations, logits = self._forward(batch.contexts)
        hard_gradient = softmax(logits)  # of the cross-entropy: probabilities - one-hot targets
        hard_gradient[np.arange(n), batch.targets] -= 1
        teacher_probabilities = softmax(batch.teacher_logits, temperature)
        # temperature² × 1 / temperature, since softened logits change the loss that much less.
        soft_gradient = temperature * (softmax(logits, temperature) - teacher_probabilities)
        d_logits = ((1 - soft) * hard_gradient + soft * soft_gradient) / n
        d_hidden = (d_logits @ p["output"].T) * (1 - activations * activations)
        d_embeddings = np.zeros_like(p["embeddings"])
        d_embedded = (d_hidden @ p["hidden"].T).reshape(*batch.contexts.shape, -1)
        np.add.at(d_embeddings, batch.contexts, d_embedded)
        return {
            "embeddings": d_embeddings,
            "hidden": embedded.T @ d_hidden,
            "hidden_bias": d_hidden.sum(axis=0),
            "output": activations.T @ d_logits,
            "output_bias": d_logits.sum(axis=0),
        }


def perplexity_from_logits(logits: Array, targets: Tokens) -> float:
    """How surprised logits (n, v) are by the tokens that came: e to the mean of -log(p).

    Examples:
        >>> import numpy as np
        >>> logits, targets = np.zeros((3, 5)), np.array([0, 1, 2])
        >>> round(slmlab.distillation.perplexity_from_logits(logits, targets), 3)
        5.0
    """
    log_probabilities = log_softmax(logits.astype(np.float64))
    return float(np.exp(-log_probabilities[np.arange(len(targets)), targets].mean()))


def kl(teacher_logits: Array, student_logits: Array) -> float:
    """Kullback–Leibler divergence of two sets of logits (n, v), mean over n: 0 where they agree.

    In nats: what it costs, per token, to believe the student where the teacher is right.

    Examples:
        >>> import numpy as np
        >>> slmlab.distillation.kl(np.zeros((1, 5)), np.zeros((1, 5)))
        0.0
    """
    log_p, log_q = (log_softmax(z.astype(np.float64)) for z in (teacher_logits, student_logits))
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean())


def measure(student: Student, examples: Examples) -> dict[str, float]:
    """A student's ``perplexity`` on what came next, and its ``kl`` from the teacher.

    Examples:
        >>> teacher = slmlab.weights.read()
        >>> data = slmlab.distillation.examples(teacher, ["The cat sat on the mat."])
        >>> student = slmlab.distillation.Student(len(data.vocabulary))
        >>> sorted(slmlab.distillation.measure(student, data))
        ['kl', 'perplexity']
    """
    logits = student.logits(examples.contexts)
    return {
        "perplexity": perplexity_from_logits(logits, examples.targets),
        "kl": kl(examples.teacher_logits, logits),
    }

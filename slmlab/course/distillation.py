"""A tiny language model in numpy that learns from a larger one: from a text, or its probabilities.

The student is one of the first kind of neural language models (Bengio et al. 2003,
https://jmlr.org/papers/v3/bengio03a.html): embeddings of the last few tokens, one hidden layer, and
a logit for each possible next token. It is far too small to be useful, but small enough to train in
seconds, which is the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from slmlab.course.text_losses import logits_after
from slmlab.course.transformer import (
    Array,
    Transformer,
    log_softmax,
    softmax,
    tokenizer,
)

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Training data for a student: n examples over a vocabulary of v tokens.

    ``contexts`` (n, context_length) are the preceding tokens, ``targets`` (n) the next token in the
    text, ``teacher_logits`` (n, v) the teacher's logits for the next token. Tokens are numbers from
    0 to v - 1; ``vocabulary`` has their texts, ``teacher_tokens`` their numbers in the teacher's.
    """

    contexts: Tokens
    targets: Tokens
    teacher_logits: Array
    vocabulary: tuple[str, ...]
    teacher_tokens: tuple[int, ...] = ()

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.targets)

    def __getitem__(self, part: slice | Tokens) -> Examples:
        """Some of the examples, by a slice or an array of positions."""
        return replace(
            self,
            contexts=self.contexts[part],
            targets=self.targets[part],
            teacher_logits=self.teacher_logits[part],
        )


def examples(
    teacher: Transformer,
    texts: Sequence[str],
    context_length: int = 4,
    *,
    like: Examples | None = None,
    prompt: str = "",
) -> Examples:
    """Examples from texts, with the teacher's logits for the token after each position.

    The vocabulary consists of the tokens that occur in these texts. The teacher's logits for all
    others are left out, so that the student has few outputs and can be trained in seconds.

    Args:
        teacher: the model whose logits are recorded.
        texts: texts to learn from, or to test with.
        context_length: how many tokens a student looks back.
        like: the examples that a student learns from. Others, to validate and to test, take their
            vocabulary, since what a test contains is not known beforehand; positions at which
            another token is expected, or in sight, are left out.
        prompt: what the teacher reads before each text, such as ``weights.chat_text`` gives. The
            student does not see it.

    Examples:
        >>> teacher = slmlab.weights.read()
        >>> data = slmlab.distillation.examples(teacher, ["The cat sat on the mat."])
        >>> new = slmlab.distillation.examples(teacher, ["The cat sat."], like=data)
        >>> new.vocabulary == data.vocabulary
        True
    """
    coder = tokenizer(teacher)
    encoded = [coder.encode(text).ids for text in texts]
    used = like.teacher_tokens if like else sorted({token for ids in encoded for token in ids})
    index = {token: position for position, token in enumerate(used)}
    contexts, targets, logits = [], [], []
    read = logits_after(teacher, prompt)
    for ids in encoded:
        teacher_logits = read(ids)[:, list(used)]
        # A text is padded on the left with its first token.
        padded = [ids[0]] * context_length + ids
        for position in range(1, len(ids)):
            known = [index.get(token) for token in padded[position:][: context_length + 1]]
            if None not in known:
                contexts.append(known[:-1])
                targets.append(known[-1])
                logits.append(teacher_logits[position - 1])
    vocabulary = tuple(coder.decode([token]) for token in used)
    return Examples(
        np.array(contexts, np.int64).reshape(-1, context_length),
        np.array(targets, np.int64),
        np.array(logits, np.float32).reshape(-1, len(used)),
        vocabulary,
        tuple(used),
    )


class Student:
    """A network of two layers; ``parameters`` has its arrays by name.

    Args:
        vocabulary: the number of tokens in the vocabulary.
        context_length: the number of tokens in the context.
        embedding_size: the dimensions of each embedding.
        hidden: the number of neurons in the hidden layer.
        seed: the seed of the random initialization.
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
            # Biases start at 0, weights so that outputs have the variance of inputs.
            scale = 0 if len(shape) == 1 else 1 if name == "embeddings" else shape[0] ** -0.5
            self.parameters[name] = (rng.normal(size=shape) * scale).astype(np.float32)

    def size(self) -> int:
        """The number of parameters."""
        return sum(array.size for array in self.parameters.values())

    def logits(self, contexts: Tokens) -> Array:
        """The logits for the token after each context: (n, vocabulary)."""
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

        The loss is ``(1 - soft) × cross-entropy with the next token + soft × temperature² ×
        KL(teacher ‖ student)``, with both distributions of the KL divergence softened by the
        temperature (Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531): ``soft=0``
        learns only from the text, ``soft=1`` only from the teacher.
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
        """The gradient of the loss of ``train`` for each parameter, by backpropagation."""
        p, n = self.parameters, len(batch)
        embedded, activations, logits = self._forward(batch.contexts)
        hard_gradient = softmax(logits)  # of the cross-entropy: probabilities - one-hot targets
        hard_gradient[np.arange(n), batch.targets] -= 1
        teacher_probabilities = softmax(batch.teacher_logits, temperature)
        # temperature² from the loss, times 1 / temperature from the softened logits.
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
    """The perplexity of logits (n, v) for the actual next tokens: e to the mean of -log(p).

    Examples:
        >>> import numpy as np
        >>> logits, targets = np.zeros((3, 5)), np.array([0, 1, 2])
        >>> round(slmlab.distillation.perplexity_from_logits(logits, targets), 3)
        5.0
    """
    log_probabilities = log_softmax(logits.astype(np.float64))
    return float(np.exp(-log_probabilities[np.arange(len(targets)), targets].mean()))


def kl(teacher_logits: Array, student_logits: Array) -> float:
    """The Kullback–Leibler divergence of two sets of logits (n, v), averaged over n, in nats.

    It is 0 if they agree; else the average loss from using the student's probabilities where the
    teacher's are right.

    Examples:
        >>> import numpy as np
        >>> slmlab.distillation.kl(np.zeros((1, 5)), np.zeros((1, 5)))
        0.0
    """
    log_p, log_q = (log_softmax(z.astype(np.float64)) for z in (teacher_logits, student_logits))
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean())


def measure(student: Student, examples: Examples) -> dict[str, float]:
    """A student's ``perplexity`` on the actual next tokens, and its ``kl`` from the teacher.

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

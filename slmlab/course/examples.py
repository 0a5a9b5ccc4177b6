"""What a model is trained on: token sequences, and which of their tokens are to be learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slmlab.course.text_losses import tokens_of_a_text
from slmlab.course.transformer import (
    Array,
    Transformer,
    chat_text,
    tokenizer,
)
from slmlab.errors import SlmlabError
from slmlab.hardware import env_cap

Integers = npt.NDArray[np.int32]
END_OF_ANSWER = "tokenizer.ggml.eos_token_id"


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


def from_answers(model: Transformer, prompts: Sequence[str], answers: Sequence[str]) -> Examples:
    """Examples in which only the answers are learned, each prompt as the chat template puts it.

    The environment variable ``SLMLAB_TOKENS`` caps how many tokens before the answer are read, for
    runs that only have to show that everything works; a line on stderr says so, once.

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
    most = tokens_of_a_text() or 0  # [-0:] is all
    pairs = []
    for prompt, answer in zip(prompts, answers, strict=True):
        before = encode(chat_text(model, prompt)).ids[-most:]
        pairs.append((before, [*encode(answer).ids, int(model.metadata[END_OF_ANSWER])]))
    return _padded([(before + after, len(before) - 1) for before, after in pairs])


def from_texts(
    model: Transformer, texts: Sequence[str], length: int = 128, prompt: str = ""
) -> Examples:
    """Examples in which every token of a text but the first is learned.

    The environment variables ``SLMLAB_TOKENS`` and ``SLMLAB_ITEMS`` cap how many tokens of a text,
    and how many texts, are learned from, for runs that only have to show that everything works;
    lines on stderr say so, once.

    Args:
        model: whose tokenizer is used.
        texts: one example each.
        length: after how many tokens a text is cut; a step's memory grows with it.
        prompt: what is read before each text, such as ``weights.chat_text`` gives; not learned.

    Raises:
        SlmlabError: there are no texts, or one has fewer than two tokens.

    Examples:
        >>> model = slmlab.weights.read()
        >>> len(slmlab.finetuning.from_texts(model, ["The cat sat.", "It slept."]))
        2
    """
    encode = tokenizer(model).encode
    most = tokens_of_a_text()
    length = min(length, most or length)
    before = encode(prompt).ids[-(most or 0) :]
    items = env_cap("SLMLAB_ITEMS", "at most {} texts are learned from")
    return _padded([(before + encode(text).ids[:length], len(before)) for text in texts[:items]])


def _padded(sequences: Sequence[tuple[list[int], int]]) -> Examples:
    """Sequences, each with the position of the first token after which one is learned."""
    if not sequences or min(len(ids) - first for ids, first in sequences) < 2:
        raise SlmlabError("Give at least one example, and at least two tokens for each.")
    length = max(len(ids) for ids, _ in sequences)
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


class Batch(NamedTuple):
    """Some examples as one sequence for a forward pass, in which what they share is read once.

    ``tokens`` (n) are a tree: examples that begin alike part where they first differ. ``depths``
    (n) has each token's position in its example, and ``seen`` (n, n) which tokens (columns) each
    of them (rows) attends to: those on the way to it. After each of the ``positions`` (k) the token
    of ``targets`` (k) is to be learned, and counts as ``counted`` (k) says.
    """

    tokens: Integers
    depths: Integers
    seen: npt.NDArray[np.bool_]
    positions: Integers
    targets: Integers
    counted: Array


def batches(
    parts: Sequence[tuple[Examples, npt.NDArray[np.int64]]], size: int
) -> list[list[Batch]]:
    """For each part the batches of its examples, in its order; all have the same shapes.

    Another shape would be compiled anew.
    """
    trees = [
        [_tree(part[order[start : start + size]]) for start in range(0, len(order), size)]
        for part, order in parts
    ]
    length = max(len(tree.tokens) for some in trees for tree in some)
    learned = max(len(tree.targets) for some in trees for tree in some)
    return [[_filled(tree, length, learned) for tree in some] for some in trees]


def _tree(examples: Examples) -> Batch:
    """Examples as a batch, not yet filled up."""
    places: dict[tuple[int, int], int] = {}  # of a token, by the place before it
    tokens: list[int] = []
    paths: list[list[int]] = []
    ends: list[int] = []
    for row, at in zip(examples.tokens, examples.positions, strict=True):
        path: list[int] = []
        for token in row[: at.max() + 1].tolist():
            place = places.setdefault((path[-1] if path else -1, token), len(tokens))
            path.append(place)
            if place == len(tokens):
                tokens.append(token)
                paths.append(path.copy())
        ends.extend(path[position] for position in at)
    seen = np.zeros((len(tokens), len(tokens)), np.bool_)
    for place, path in enumerate(paths):
        seen[place, path] = True
    depths = [len(path) - 1 for path in paths]
    found = [np.array(one, np.int32) for one in (tokens, depths, ends)]
    return Batch(
        found[0], found[1], seen, found[2], examples.targets.ravel(), examples.counted.ravel()
    )


def _filled(tree: Batch, length: int, learned: int) -> Batch:
    """Filled up with tokens that see only themselves, and with targets that do not count."""
    more, targets = (0, length - len(tree.tokens)), (0, learned - len(tree.targets))
    seen = np.eye(length, dtype=np.bool_)
    seen[: len(tree.tokens), : len(tree.tokens)] = tree.seen
    return Batch(
        np.pad(tree.tokens, more),
        np.pad(tree.depths, more),
        seen,
        np.pad(tree.positions, targets),
        np.pad(tree.targets, targets),
        np.pad(tree.counted, targets),
    )

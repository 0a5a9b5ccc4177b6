"""Pairs of answers to the same prompt, which people or a judge model compare."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

from slmlab.run.frames import need, prompt_keys

if TYPE_CHECKING:
    import pandas as pd

# Two rows of a table of results, as dicts.
Pair = tuple[dict[str, Any], dict[str, Any]]


def answer_pairs(frame: pd.DataFrame) -> list[Pair]:
    """The answers of every two models to the same prompt and repeat, without failed ones."""
    need(frame, "model", "prompt", "prompt_id", "repeat", "text", "error")
    finished = frame[frame["error"].isna()]
    pairs: list[Pair] = []
    for _, rows in finished.groupby([prompt_keys(finished, as_sent=True), "repeat"], sort=False):
        pairs += itertools.combinations(rows.drop_duplicates("model").to_dict("records"), 2)
    return pairs


def blind_pairs(frame: pd.DataFrame, seed: int = 0) -> list[Pair]:
    """Pairs of answers to vote on: two models' answers to one prompt, sides and order shuffled.

    Takes what ``slmlab.compare`` returned; failed generations are left out. Each pair is two rows
    as dicts: show ``text``, and reveal ``model`` only after the vote.

    Examples:
        >>> one, other = slmlab.votes.blind_pairs(frame)[0]
        >>> one["prompt"] == other["prompt"], one["model"] == other["model"]
        (True, False)
    """
    pairs = answer_pairs(frame)
    shuffle = random.Random(seed)  # noqa: S311  not for security
    shuffle.shuffle(pairs)
    return [(one, two) if shuffle.random() < 0.5 else (two, one) for one, two in pairs]

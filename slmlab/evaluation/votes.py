"""Blind votes, by people or a judge model: saved in files, merged, and turned into ratings."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.errors import ResultsError
from slmlab.evaluation import statistics
from slmlab.evaluation.judge import judge, judge_consistency
from slmlab.evaluation.pairs import blind_pairs
from slmlab.evaluation.ratings import ratings
from slmlab.run.files import json_lines
from slmlab.run.store import append

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "add_vote",
    "agreement",
    "blind_pairs",
    "judge",
    "judge_consistency",
    "ratings",
    "read_votes",
]

WINNERS = ("a", "b", "tie")
COLUMNS = ("id", "voter", "prompt", "model_a", "model_b", "winner", "time")


def add_vote(
    path: str | Path, *, voter: str, prompt: str, model_a: str, model_b: str, winner: str
) -> dict[str, str]:
    """Append one vote to a file of votes (JSON lines), and return it.

    Raises:
        ResultsError: the winner is not ``a``, ``b`` or ``tie``, or the file cannot be written.

    Examples:
        >>> vote = slmlab.votes.add_vote(
        ...     "votes.jsonl", voter="Ada", prompt="Hi!", model_a="x", model_b="y", winner="a"
        ... )
    """
    vote = {
        "id": uuid.uuid4().hex,
        "voter": voter,
        "prompt": prompt,
        "model_a": model_a,
        "model_b": model_b,
        "winner": winner,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if wrong := _wrong(vote):
        raise ResultsError(f"This is not a vote: {wrong}.")
    try:
        append(path, json.dumps(vote).encode() + b"\n")
    except OSError as error:
        raise ResultsError(f"The vote cannot be written to {path}: {error.strerror}.") from error
    return vote


def read_votes(*paths: str | Path) -> pd.DataFrame:
    """The votes in one or several files, such as those of a class; each vote once.

    Raises:
        ResultsError: a file cannot be read, or a line in it is not a vote; the message names it.

    Examples:
        >>> vote = slmlab.votes.add_vote(
        ...     "votes.jsonl", voter="Ada", prompt="Hi!", model_a="x", model_b="y", winner="a"
        ... )
        >>> slmlab.votes.read_votes("votes.jsonl")["winner"].tolist()
        ['a']
    """
    import pandas as pd

    votes: dict[str, dict[str, str]] = {}
    for path in map(Path, paths):
        try:
            lines = json_lines(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ResultsError(f"{path} cannot be read: {error}.") from error
        for number, vote in lines:
            place = f"{path.name}, line {number}"
            if isinstance(vote, ValueError):
                raise ResultsError(f"{place} is not a vote: it is not JSON.") from vote
            if wrong := _wrong(vote):
                raise ResultsError(f"{place} is not a vote: {wrong}.")
            votes.setdefault(vote["id"], {name: vote[name] for name in COLUMNS})
    return pd.DataFrame(votes.values(), columns=COLUMNS)


def _wrong(vote: object) -> str:
    """What is wrong with a vote; empty if it is valid."""
    if not isinstance(vote, dict):
        return "it is not an object"
    for name in COLUMNS:
        if not isinstance(vote.get(name), str):
            return f"it has no text {name!r}"
    if vote["winner"] not in WINNERS:
        return f"the winner is {vote['winner']!r} and not one of {', '.join(WINNERS)}"
    return "both models are the same" if vote["model_a"] == vote["model_b"] else ""


def agreement(votes: Iterable[str], others: Iterable[str]) -> statistics.Interval:
    """The share of pairs on which two voters named the same winner, with its interval.

    Examples:
        >>> slmlab.votes.agreement(["a", "b", "tie"], ["a", "b", "b"]).value
        0.66...
    """
    pairs = zip(votes, others, strict=True)
    return statistics.interval([float(one == other) for one, other in pairs])

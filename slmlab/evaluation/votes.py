"""Blind votes, by people or a judge model: saved in files, merged, and turned into ratings."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import ResultsError
from slmlab.evaluation import statistics
from slmlab.evaluation.grading import grade
from slmlab.evaluation.judge import judge, judge_consistency
from slmlab.evaluation.judge_checks import calibrate, check_judge, judge_bias
from slmlab.evaluation.pairs import blind_pairs
from slmlab.evaluation.ratings import ratings, ratings_by_tag
from slmlab.run.files import json_lines
from slmlab.run.store import append

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "add_vote",
    "agreement",
    "blind_pairs",
    "calibrate",
    "check_judge",
    "grade",
    "judge",
    "judge_bias",
    "judge_consistency",
    "ratings",
    "ratings_by_tag",
    "read_votes",
]

WINNERS = ("a", "b", "tie", "both bad")
TEXTS = ("id", "voter", "prompt", "model_a", "model_b", "winner", "time")
COLUMNS = (*TEXTS, "comment", "tags")


def add_vote(
    path: str | Path,
    *,
    voter: str,
    prompt: str,
    model_a: str,
    model_b: str,
    winner: str,
    comment: str = "",
    tags: Iterable[str] = (),
) -> dict[str, Any]:
    """Append one vote to a file of votes (JSON lines), and return it.

    Args:
        path: the file; it is made if there is none.
        voter: who votes.
        prompt: what both models answered.
        model_a: the model of the first answer.
        model_b: the model of the second answer.
        winner: ``a``, ``b``, ``tie`` (both equally good) or ``both bad``.
        comment: why, in the voter's words.
        tags: what the prompt is about, such as ``["maths"]``, for ``ratings_by_tag``.

    Raises:
        ResultsError: this is not a vote, or the file cannot be written.

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
        "comment": comment,
        "tags": list(tags),
    }
    if wrong := _wrong(vote):
        raise ResultsError(f"This is not a vote: {wrong}.")
    try:
        append(path, _after_a_torn_line(Path(path)) + json.dumps(vote).encode() + b"\n")
    except OSError as error:
        raise ResultsError(f"The vote cannot be written to {path}: {error.strerror}.") from error
    return vote


def _after_a_torn_line(path: Path) -> bytes:
    """A line break, if the last writer of a file was killed within a line; else nothing."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"
    return b""


def read_votes(*paths: str | Path) -> pd.DataFrame:
    """The votes in files, such as those of a class, or in all files of a folder; each vote once.

    A last line that is not finished yet is left out, since somebody may be writing it just now.

    Args:
        paths: files of votes, or folders with such files (``*.jsonl``).

    Returns:
        One row for each vote: ``id``, ``voter``, ``prompt``, ``model_a``, ``model_b``, ``winner``,
        ``time``, ``comment``, and ``tags`` as a list.

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

    votes: dict[str, dict[str, Any]] = {}
    for path in vote_files(*paths):
        for vote in votes_in(path):
            if isinstance(vote, ResultsError):
                raise vote
            votes.setdefault(vote["id"], vote)
    return pd.DataFrame(votes.values(), columns=COLUMNS)


def vote_files(*paths: str | Path) -> list[Path]:
    """These files, and instead of folders the files of votes in them.

    Raises:
        ResultsError: a folder cannot be read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        try:
            # iterdir, since glob says nothing where a folder may not be read.
            inside = sorted(path.iterdir()) if path.is_dir() else None
        except OSError as error:
            raise ResultsError(f"The folder {path} cannot be read: {error.strerror}.") from error
        files += [path] if inside is None else [one for one in inside if one.suffix == ".jsonl"]
    return files


def votes_in(path: Path) -> Iterator[dict[str, Any] | ResultsError]:
    """The votes in one file, from first to last, and an error where a line is not a vote.

    Raises:
        ResultsError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        # What stands after the last line break may be the beginning of a line, even of a letter.
        whole, _, rest = data.rpartition(b"\n")
        text = whole.decode()
        last = rest.decode(errors="replace")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} cannot be read: {error}.") from error
    for number, vote in json_lines(f"{text}\n{last}" if whole else last):
        unfinished = bool(rest) and number == data.count(b"\n") + 1
        place = f"{path.name}, line {number}"
        if isinstance(vote, ValueError):
            if not unfinished:
                yield ResultsError(f"{place} is not a vote: it is not JSON.")
        elif wrong := _wrong(vote):
            yield ResultsError(f"{place} is not a vote: {wrong}.")
        else:
            # Votes of before there were comments and tags have none.
            columns = {name: vote[name] for name in COLUMNS if name in vote}
            yield {"comment": "", "tags": []} | columns


def _wrong(vote: object) -> str:
    """What is wrong with a vote; empty if it is valid."""
    if not isinstance(vote, dict):
        return "it is not an object"
    for name in TEXTS:
        if not isinstance(vote.get(name), str):
            return f"it has no text {name!r}"
    if vote["winner"] not in WINNERS:
        return f"the winner is {vote['winner']!r} and not one of {', '.join(WINNERS)}"
    if not isinstance(vote.get("comment", ""), str):
        return "its comment is not a text"
    tags = vote.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(one, str) for one in tags):
        return "its tags are not a list of texts"
    return "both models are the same" if vote["model_a"] == vote["model_b"] else ""


def agreement(votes: Iterable[str], others: Iterable[str]) -> statistics.Interval:
    """The share of pairs on which two voters named the same winner, with its interval.

    Examples:
        >>> slmlab.votes.agreement(["a", "b", "tie"], ["a", "b", "b"]).value
        0.66...
    """
    pairs = zip(votes, others, strict=True)
    return statistics.interval([float(one == other) for one, other in pairs])

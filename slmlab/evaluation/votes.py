"""Blind votes, by people or by a judge model: kept in files, merged, and turned into ratings."""

from __future__ import annotations

import itertools
import json
import random
import re
import uuid
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.errors import ResultsError, SlmlabError
from slmlab.evaluation import statistics
from slmlab.evaluation.scorers.reading import answer
from slmlab.run.compare import compare
from slmlab.run.files import json_lines
from slmlab.run.frames import need, prompt_keys
from slmlab.run.store import append

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]


WINNERS = ("a", "b", "tie")
COLUMNS = ("id", "voter", "prompt", "model_a", "model_b", "winner", "time")
RESAMPLES = 1_000
JUDGE_TEMPLATE = (
    "Question:\n{question}\n\nAnswer 1:\n{one}\n\nAnswer 2:\n{two}\n\n"
    "Which answer is better: more correct, more to the point, clearer? "
    "Reply with 1, 2 or tie, and nothing else."
)
# One line that is a verdict and nothing but one, perhaps with its reason behind it.
VERDICT = re.compile(
    r"(?:(?:the )?(?:better|best) (?:answer|one) is"
    r"|(?:(?:my|the) )?(?:final )?(?:verdict|winner|choice)(?: is)?:?"
    r"|i (?:would |'d )?(?:prefer|choose)|it(?:'s| is)(?: a)?)?"
    r"\s*(?:answer|number|option|response)?:?\s*#?(?P<winner>1|2|tie)"
    r"(?: is (?:the )?(?:clearly |much )?(?:better|best)(?: (?:answer|one|option|response))?"
    r"(?: than (?:(?:answer|number|option|response) )?#?[12])?)?"
    r"(?:[,;:.]?\s*(?:because|since|as) .*)?",
    re.IGNORECASE,
)


# Votes of people.


def blind_pairs(frame: pd.DataFrame, seed: int = 0) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of answers to vote on: two models' answers to one prompt, sides and order shuffled.

    Takes what ``slmlab.compare`` returned; failed generations are left out. Each pair is two rows
    as dicts; show ``text``, keep ``model`` for after the vote.

    Examples:
        >>> one, other = slmlab.votes.blind_pairs(frame)[0]
        >>> one["prompt"] == other["prompt"], one["model"] == other["model"]
        (True, False)
    """
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for rows in _same_prompt(frame):
        pairs += itertools.combinations(rows.to_dict("records"), 2)
    shuffle = random.Random(seed)  # noqa: S311  an order for the eyes, no secret
    shuffle.shuffle(pairs)
    return [(one, two) if shuffle.random() < 0.5 else (two, one) for one, two in pairs]


def _same_prompt(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """One table of rows for each prompt as it was sent and repeat, without what failed."""
    need(frame, "model", "prompt", "prompt_id", "repeat", "text", "error")
    there = frame[frame["error"].isna()]
    groups = there.groupby([prompt_keys(there, as_sent=True), "repeat"], sort=False)
    return [rows.drop_duplicates("model") for _, rows in groups]


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
        raise ResultsError(f"This is no vote: {wrong}.")
    try:
        append(path, json.dumps(vote).encode() + b"\n")
    except OSError as error:
        raise ResultsError(f"The vote cannot be written to {path}: {error.strerror}.") from error
    return vote


def read_votes(*paths: str | Path) -> pd.DataFrame:
    """The votes of one or several files together, each vote once; such as a class's files.

    Raises:
        ResultsError: a file cannot be read, or a line in it is no vote; the message names it.

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
                raise ResultsError(f"{place} is no vote: it is not JSON.") from vote
            if wrong := _wrong(vote):
                raise ResultsError(f"{place} is no vote: {wrong}.")
            votes.setdefault(vote["id"], {name: vote[name] for name in COLUMNS})
    return pd.DataFrame(votes.values(), columns=COLUMNS)


def _wrong(vote: object) -> str:
    """What is wrong with a vote; nothing where it is one."""
    if not isinstance(vote, dict):
        return "it is no object"
    for name in COLUMNS:
        if not isinstance(vote.get(name), str):
            return f"it has no text {name!r}"
    if vote["winner"] not in WINNERS:
        return f"the winner is {vote['winner']!r} and not one of {', '.join(WINNERS)}"
    return "both models are the same" if vote["model_a"] == vote["model_b"] else ""


# Ratings.


def ratings(votes: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Bradley–Terry ratings of the models from votes, with 95 % intervals.

    A model of rating R wins against one of rating S with the chance 1 / (1 + 10^((S − R) / 400)),
    as in chess; the mean is 1000. A tie counts half for each. A weak prior, worth a tenth of a vote
    for each side of each pair, keeps a model that always won finite (``choix``, alpha 0.1).
    The intervals come from bootstrap samples of the votes; votes by one person on one pair of
    answers are not independent, so many votes of few people make them too narrow.

    Args:
        votes: with the columns ``model_a``, ``model_b`` and ``winner`` (``a``, ``b``, ``tie``).
        resamples: how many bootstrap samples; about 1 ms each.

    Returns:
        One row for each model, the best first: ``model``, ``rating``, ``low``, ``high``, ``wins``,
        ``losses``, ``ties``, ``votes``.

    Raises:
        SlmlabError: there are no votes, or the models fall into groups that were never compared.

    Examples:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"model_a": "x", "model_b": "y", "winner": list("aaaaaabb")})
        >>> slmlab.votes.ratings(votes)["model"].tolist()
        ['x', 'y']
    """
    import numpy as np
    import pandas as pd

    need(votes, "model_a", "model_b", "winner")
    if votes.empty:
        raise SlmlabError("There are no votes yet.")
    names = sorted({*votes["model_a"], *votes["model_b"]})
    number = {name: index for index, name in enumerate(names)}
    a, b = votes["model_a"].map(number).to_numpy(), votes["model_b"].map(number).to_numpy()
    share = votes["winner"].map({"a": 1.0, "b": 0.0, "tie": 0.5}).to_numpy()
    _all_connected(names, a, b)
    rng = np.random.default_rng(0)
    samples = (rng.integers(0, len(votes), len(votes)) for _ in range(resamples))
    resampled = [_bradley_terry(len(names), a[i], b[i], share[i]) for i in samples]
    low, high = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    won = np.bincount(a[share == 1], minlength=len(names)) + np.bincount(
        b[share == 0], minlength=len(names)
    )
    lost = np.bincount(b[share == 1], minlength=len(names)) + np.bincount(
        a[share == 0], minlength=len(names)
    )
    seen = np.bincount(a, minlength=len(names)) + np.bincount(b, minlength=len(names))
    table = pd.DataFrame(
        {
            "model": names,
            "rating": _bradley_terry(len(names), a, b, share),
            "low": low,
            "high": high,
            "wins": won,
            "losses": lost,
            "ties": seen - won - lost,
            "votes": seen,
        }
    )
    return table.sort_values("rating", ascending=False, ignore_index=True)


def _bradley_terry(n: int, a: Indices, b: Indices, share: Floats) -> Floats:
    """Ratings on the scale of chess from votes; ``share`` is what ``a`` got of each: 1, ½ or 0."""
    import choix
    import numpy as np

    wins = np.zeros((n, n))
    np.add.at(wins, (a, b), share)
    np.add.at(wins, (b, a), 1 - share)
    strengths: Floats = choix.ilsr_pairwise_dense(wins, alpha=0.1)
    ratings: Floats = 1000 + 400 / np.log(10) * strengths
    return ratings


def _all_connected(names: list[str], a: Indices, b: Indices) -> None:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(names)
    groups, label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)))
    if groups > 1:
        apart = " | ".join(
            ", ".join(name for name, its in zip(names, label, strict=True) if its == group)
            for group in range(groups)
        )
        raise SlmlabError(
            f"These models were never compared with each other, so no scale fits all: {apart}."
        )


# A model as judge.


def judge(
    frame: pd.DataFrame,
    model: str,
    *,
    template: str = JUDGE_TEMPLATE,
    question: str = "prompt",
    num_predict: int = 8,
    **options: Any,
) -> pd.DataFrame:
    """Let a model say which of two answers is better, each pair in both orders.

    A judge that prefers the first answer whatever it says contradicts itself when the order is
    turned; such a pair counts as a tie, and ``judge_consistency`` says how often it happened. Small
    judges are often no better than a coin: look at that number before you believe the votes.

    Args:
        frame: what ``slmlab.compare`` returned, with at least two models.
        model: the judge.
        template: its prompt, with ``{question}``, ``{one}`` and ``{two}``.
        question: the column that holds the question.
        num_predict: tokens for its verdict.
        options: further arguments of ``slmlab.compare`` (``store``, ``hosts``, ``temperature``, …).

    Returns:
        Votes for ``ratings``: ``model_a``, ``model_b``, ``winner`` (``a``, ``b``, ``tie``),
        ``prompt_id``, ``repeat``, ``prompt``, ``voter``, ``first`` and ``second`` (the verdict in
        each order: ``a``, ``b``, ``tie``, or None where it could not be read) and ``consistent``.

    Examples:
        >>> votes = slmlab.votes.judge(frame, names[0])
        >>> set(votes["winner"]) <= {"a", "b", "tie"}
        True
    """
    import pandas as pd

    need(frame, question)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for rows in _same_prompt(frame):
        pairs += itertools.combinations(rows.to_dict("records"), 2)
    if not pairs:
        raise SlmlabError("There is no prompt with answers of two models to judge between.")
    questions = [
        {"question": str(one[question]), "one": first["text"], "two": second["text"]}
        for one, two in pairs
        for first, second in ((one, two), (two, one))
    ]
    arguments = {"temperature": 0.0, "timing": False, **options}
    replies = compare(model, questions, template=template, num_predict=num_predict, **arguments)
    verdicts = [_verdict(text) for text in replies["text"]]
    votes = []
    for (one, two), first, turned in zip(pairs, verdicts[::2], verdicts[1::2], strict=True):
        # Asked the other way round, its "first" is our second.
        second = {"a": "b", "b": "a", "tie": "tie", None: None}[turned]
        consistent = first is not None and first == second
        votes.append(
            {
                "model_a": one["model"],
                "model_b": two["model"],
                "winner": first if consistent else "tie",
                "prompt_id": one["prompt_id"],
                "repeat": one["repeat"],
                "prompt": one[question],
                "voter": model,
                "first": first,
                "second": second,
                "consistent": consistent,
            }
        )
    return pd.DataFrame(votes)


def _verdict(text: str) -> str | None:
    """``a`` for the first answer, ``b`` for the second, ``tie``; None where it is not clear.

    Clear is a line that says nothing else (see ``VERDICT``), if no other line contradicts it: a
    judge that is misread is worse than one that is not understood. Its thoughts are no verdict.
    """
    marks = r"\\boxed|[*_`\"“”()\[\]{}$]"
    lines = [re.sub(marks, "", line).strip(" \t.!") for line in answer(text).splitlines()]
    found = {match["winner"].lower() for line in lines if (match := VERDICT.fullmatch(line))}
    return {"1": "a", "2": "b", "tie": "tie"}[found.pop()] if len(found) == 1 else None


def judge_consistency(votes: pd.DataFrame) -> statistics.Interval:
    """The share of pairs on which a judge said the same in both orders, with its interval.

    A judge that tosses a coin between two answers is consistent on half of them.

    Examples:
        >>> votes = slmlab.votes.judge(frame, names[0])
        >>> 0 <= slmlab.votes.judge_consistency(votes).value <= 1
        True
    """
    need(votes, "consistent")
    return statistics.interval(votes["consistent"].astype(float).tolist())


def agreement(votes: Iterable[str], others: Iterable[str]) -> statistics.Interval:
    """The share of pairs on which two voters named the same winner, with its interval.

    Examples:
        >>> slmlab.votes.agreement(["a", "b", "tie"], ["a", "b", "b"]).value
        0.66...
    """
    pairs = zip(votes, others, strict=True)
    return statistics.interval([float(one == other) for one, other in pairs])

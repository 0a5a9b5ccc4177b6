"""Ratings of models from votes, by the Bradley–Terry model."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from slmlab.errors import SlmlabError
from slmlab.run.frames import need

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]

RESAMPLES = 1_000
# The score of the first answer; FastChat too counts "tie (bothbad)" as half a win for each:
# https://github.com/lm-sys/FastChat/blob/main/fastchat/serve/monitor/rating_systems.py
SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both bad": 0.5}
# What a vote is for its first and for its second model.
OUTCOMES = {
    "wins": ("a", "b"),
    "losses": ("b", "a"),
    "ties": ("tie", "tie"),
    "both_bad": ("both bad", "both bad"),
}


class NotComparedError(SlmlabError):
    """Models without a common scale."""


def ratings(votes: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Bradley–Terry ratings of the models from votes, with 95 % intervals.

    A model with rating R wins against one with rating S with probability
    1 / (1 + 10^((S − R) / 400)), as in chess; the mean is 1000. A tie counts as half a win for
    each. So does a vote that both are bad, as in Chatbot Arena: it has no winner, and is counted
    apart from the ties (``both_bad``). A weak prior, worth a fifth of a vote for each side of each
    pair of equals, keeps the rating of a model that always won finite (``choix``, alpha 0.1). The
    intervals come from bootstrap samples of the votes. Votes by the same person are not
    independent, so many votes of few people make the intervals too narrow.

    Args:
        votes: with the columns ``model_a``, ``model_b`` and ``winner`` (``a``, ``b``, ``tie``,
            ``both bad``).
        resamples: how many bootstrap samples; about 1 ms each.

    Returns:
        One row for each model, the best first: ``model``, ``rating``, ``low``, ``high``, ``wins``,
        ``losses``, ``ties``, ``both_bad``, ``votes``.

    Raises:
        SlmlabError: there are no votes, a winner is none of these, or the models fall into groups
            that were never compared.

    Examples:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"model_a": "x", "model_b": "y", "winner": list("aaaaaabb")})
        >>> slmlab.votes.ratings(votes)["model"].tolist()
        ['x', 'y']
    """
    import numpy as np

    table = _counted(votes)
    names = list(table["model"])
    number = {name: index for index, name in enumerate(names)}
    a, b = votes["model_a"].map(number).to_numpy(), votes["model_b"].map(number).to_numpy()
    share = votes["winner"].map(SHARES).to_numpy()
    _all_connected(names, a, b)
    strengths = _bradley_terry(len(names), a, b, share)
    rng = np.random.default_rng(0)
    samples = (rng.integers(0, len(votes), len(votes)) for _ in range(resamples))
    resampled = [_bradley_terry(len(names), a[i], b[i], share[i], strengths) for i in samples]
    low, high = _in_chess(np.percentile(np.array(resampled), [2.5, 97.5], axis=0))
    table.insert(1, "rating", _in_chess(strengths))
    table.insert(2, "low", low)
    table.insert(3, "high", high)
    return table.sort_values("rating", ascending=False, ignore_index=True)


def _counted(votes: pd.DataFrame) -> pd.DataFrame:
    """How often each model won, lost, tied, and was bad with the other; checks the votes."""
    import pandas as pd

    need(votes, "model_a", "model_b", "winner")
    if votes.empty:
        raise SlmlabError("There are no votes yet.")
    if wrong := {*votes["winner"]} - {*SHARES}:
        raise SlmlabError(f"A winner is one of {', '.join(SHARES)}; got {wrong.pop()!r}.")
    winner, one, two = votes["winner"], votes["model_a"], votes["model_b"]
    table = pd.DataFrame({"model": sorted({*one, *two})})
    for name, (as_first, as_second) in OUTCOMES.items():
        counts = pd.concat([one[winner == as_first], two[winner == as_second]]).value_counts()
        table[name] = table["model"].map(counts).fillna(0).astype(int)
    table["votes"] = table[[*OUTCOMES]].sum(axis=1)
    return table


def ratings_by_tag(votes: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """The ratings of the models for each tag, from the votes that have it.

    A model may be good at one thing and bad at another. Few votes with a tag give wide intervals;
    where models with a tag fall into groups that were never compared, their ratings are empty.

    Args:
        votes: as for ``ratings``, with a column ``tags`` of lists, as ``read_votes`` gives it.
        resamples: how many bootstrap samples for each tag.

    Returns:
        The rows of ``ratings`` with a first column ``tag``, the tags in alphabetical order.

    Raises:
        SlmlabError: no vote has a tag.

    Examples:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"model_a": "x", "model_b": "y", "winner": list("aab")})
        >>> votes["tags"] = [["maths"], ["maths"], ["poems"]]
        >>> table = slmlab.votes.ratings_by_tag(votes)
        >>> table.groupby("tag")["model"].first().to_dict()
        {'maths': 'x', 'poems': 'y'}
    """
    import pandas as pd

    need(votes, "model_a", "model_b", "winner", "tags")
    tagged = votes.explode("tags").dropna(subset="tags")
    if tagged.empty:
        raise SlmlabError("No vote has a tag yet.")
    tables = []
    for tag, some in tagged.groupby("tags"):
        table = _counted(some)
        with contextlib.suppress(NotComparedError):
            table = ratings(some, resamples)
        table.insert(0, "tag", tag)
        tables.append(table)
    columns = ["tag", "model", "rating", "low", "high", *OUTCOMES, "votes"]
    return pd.concat(tables, ignore_index=True)[columns]


def _bradley_terry(
    n: int, a: Indices, b: Indices, share: Floats, start: Floats | None = None
) -> Floats:
    """Log strengths; ``share`` is the score of ``a`` in each vote: 1, ½ or 0.

    It is found in fewer steps from a ``start`` that is near.
    """
    import choix
    import numpy as np

    won, lost = np.bincount(a * n + b, share, n * n), np.bincount(b * n + a, 1 - share, n * n)
    wins: Floats = (won + lost).astype(np.float64).reshape(n, n)
    strengths: Floats = choix.ilsr_pairwise_dense(wins, alpha=0.1, initial_params=start)
    return strengths


def _in_chess(strengths: Floats) -> Floats:
    """Log strengths as ratings on the scale of chess."""
    import numpy as np

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
        raise NotComparedError(
            "These models were never compared with each other, so they have no common scale: "
            f"{apart}."
        )

"""Ratings of models from votes, by the Bradley–Terry model."""

from __future__ import annotations

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


def ratings(votes: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Bradley–Terry ratings of the models from votes, with 95 % intervals.

    A model with rating R wins against one with rating S with probability
    1 / (1 + 10^((S − R) / 400)), as in chess; the mean is 1000. A tie counts as half a win for
    each. A weak prior, worth a tenth of a vote for each side of each pair, keeps the rating of a
    model that always won finite (``choix``, alpha 0.1). The intervals come from bootstrap samples
    of the votes. Votes by the same person are not independent, so many votes of few people make
    the intervals too narrow.

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
    """Ratings on the scale of chess; ``share`` is the score of ``a`` in each vote: 1, ½ or 0."""
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
            "These models were never compared with each other, so they have no common scale: "
            f"{apart}."
        )

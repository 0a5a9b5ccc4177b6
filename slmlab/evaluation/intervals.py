"""How sure is a mean, a rate or a difference: 95 % intervals of one list of values or of pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from slmlab.errors import SlmlabError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean or a rate with its 95 % interval; ``n`` is the number of values."""

    value: float
    low: float
    high: float
    n: int
    method: str

    def __str__(self) -> str:
        """One readable line."""
        if math.isnan(self.low):
            return f"{self.value:.2f} (n = {self.n}: no interval)"
        return f"{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}, n = {self.n})"


def interval(values: Sequence[float]) -> Interval:
    """The mean of some values with its 95 % interval.

    If all are 0 or 1 it is a rate, and the interval is exact (Clopper and Pearson 1934); else it is
    a bootstrap interval (bias-corrected and accelerated, Efron 1987; 9,999 resamples with a fixed
    seed). Values have to be independent: give one per prompt, not one per repeat.

    Raises:
        SlmlabError: there is no value.

    Examples:
        >>> found = slmlab.statistics.interval([1, 1, 0, 1])
        >>> round(found.low, 2), found.value, round(found.high, 2)
        (0.19, 0.75, 0.99)
    """
    import numpy as np

    known = np.array([value for value in values if value is not None and value == value], float)
    if not len(known):
        raise SlmlabError("There are no values to take the mean of.")
    mean, n = float(known.mean()), len(known)
    if np.isin(known, (0.0, 1.0)).all():
        return Interval(mean, *_clopper_pearson(int(known.sum()), n), n, "exact")
    if n < 2 or np.ptp(known) == 0:
        # A single value, or values that are all equal, say nothing about the spread of others.
        return Interval(mean, math.nan, math.nan, n, "none")
    return Interval(mean, *_bca(known), n, "bootstrap")


# scipy has all of this, and the tests compare with it. But importing scipy.stats takes as much
# processor time as a whole check of a finished evaluation, and scipy.special a fifth of it.


def _bca(values: NDArray[np.float64]) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval of a mean (Efron 1987)."""
    import numpy as np

    n, rng, normal = len(values), np.random.default_rng(0), NormalDist()
    means = np.concatenate(
        [values[rng.integers(0, n, (rows, n))].mean(axis=1) for rows in [1_000] * 9 + [999]]
    )
    mean = values.mean()
    below = ((means < mean).sum() + (means <= mean).sum()) / (2 * len(means))
    bias = normal.inv_cdf(float(below))
    # The skewness of the means of all values but one; those are linear in the value left out.
    gaps = values - mean
    acceleration = float((gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5))
    tail = (1 - CONFIDENCE) / 2
    shares = []
    for z in (normal.inv_cdf(tail), normal.inv_cdf(1 - tail)):
        shares.append(normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def binomial_below(k: int, n: int, share: float) -> float:
    """The probability of at most ``k`` successes in ``n`` trials that succeed with this share.

    Examples:
        >>> binomial_below(1, 2, 0.5)
        0.75
    """
    import numpy as np

    if share in (0, 1) or k in (-1, n):
        return float(k == n or (share == 0 and k >= 0))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # of the factorials
    i = np.arange(k + 1)
    terms = logs[n] - logs[i] - logs[n - i] + i * math.log(share) + (n - i) * math.log1p(-share)
    return min(1.0, float(np.exp(terms).sum()))


def _clopper_pearson(k: int, n: int) -> tuple[float, float]:
    """The exact interval of a rate: the shares for which so many or so few would be rare."""
    tail = (1 - CONFIDENCE) / 2
    low = _share_where(lambda share: 1 - binomial_below(k - 1, n, share) < tail) if k else 0.0
    high = _share_where(lambda share: binomial_below(k, n, share) > tail) if k < n else 1.0
    return low, high


def _share_where(holds: Callable[[float], bool]) -> float:
    """The share up to which something holds, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a rate (1927)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    return max(0.0, middle - half) if k else 0.0, min(1.0, middle + half) if k < n else 1.0


def difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The mean of ``a - b`` with its 95 % interval, for two scores of each prompt.

    The interval is always two-sided, so that it can contain 0 whichever of the two did better. If
    all scores are 0 or 1 it is Newcombe's interval for the difference of paired proportions (1998,
    method 10, https://pubmed.ncbi.nlm.nih.gov/9839354/), else that of the paired t test.

    Raises:
        SlmlabError: there are no scores, or ``a`` and ``b`` have different lengths.

    Examples:
        >>> found = slmlab.statistics.difference([1, 1, 0, 1], [0, 1, 0, 0])
    """
    import numpy as np
    from scipy.special import stdtrit

    x, y = np.asarray(a, float), np.asarray(b, float)
    if len(x) != len(y) or not len(x):
        raise SlmlabError(f"Scores are compared in pairs; got {len(x)} and {len(y)} of them.")
    gaps, n = (x - y).round(12), len(x)
    mean = float(gaps.mean())
    if np.isin([x, y], (0.0, 1.0)).all():
        low, high = _newcombe(
            int((x * y).sum()), int((x > y).sum()), int((x < y).sum()), int(((x + y) == 0).sum())
        )
        return Interval(mean, low, high, n, "Newcombe")
    if n < 2 or np.ptp(gaps) == 0:
        return Interval(mean, math.nan, math.nan, n, "none")
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) * gaps.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, "t")


def _newcombe(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Newcombe's interval for the difference of two paired proportions, from the four counts."""
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = _wilson(both + only_a, n), _wilson(both + only_b, n)
    # The correlation of the two (phi), with Newcombe's continuity correction.
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = float(both * neither - only_a * only_b)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    phi = excess / math.sqrt(product) if product else 0.0

    def distance(one: float, other: float) -> float:
        # Rounding may make this slightly negative.
        return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))

    gap = p_a - p_b
    return (
        float(gap - distance(p_a - low_a, high_b - p_b)),
        float(gap + distance(high_a - p_a, p_b - low_b)),
    )

"""Whether a model's judgements can be trusted: its biases, and what people say."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError
from slmlab.evaluation.intervals import CONFIDENCE, Interval, interval
from slmlab.evaluation.scorers.reading import as_scores
from slmlab.evaluation.statistics import SIGNIFICANT
from slmlab.facts import Sentence
from slmlab.run.frames import need, prompt_text

if TYPE_CHECKING:
    import pandas as pd

# Labels by people below which a judge is not tested.
FEWEST = 10
PERMUTATIONS = 9_999
TURNED = {"a": "b", "b": "a"}


def judge_bias(votes: pd.DataFrame) -> pd.DataFrame:
    """Whether judges prefer the answer that they read first, or the longer one.

    Args:
        votes: what ``judge`` returned.

    Returns:
        One row for each judge: ``voter``; ``pairs``; ``unread``, the share of replies without a
        verdict; ``consistent``, the share of pairs with one verdict in both orders; ``first``, how
        often the verdict went to the answer that was read first (0.5: no bias), ``first_low`` and
        ``first_high``; ``longer``, how often the winner was the longer answer, ``longer_low`` and
        ``longer_high``; and a ``sentence``. That longer answers win can have good reasons; compare
        it with what people say about the same pairs.

    Raises:
        SlmlabError: the table has no such columns.

    Examples:
        >>> import pandas as pd
        >>> vote = {"voter": "m", "first": "a", "second": "b", "consistent": False}
        >>> votes = pd.DataFrame([vote | {"length_a": 5, "length_b": 9}] * 12)
        >>> slmlab.votes.judge_bias(votes)["first"].item()  # always what it read first
        1.0
    """
    import pandas as pd

    need(votes, "voter", "first", "second", "consistent", "length_a", "length_b")
    return pd.DataFrame(
        [_bias(str(voter), rows.to_dict("records")) for voter, rows in votes.groupby("voter")]
    )


def _bias(voter: str, rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    from scipy import stats

    first, longer, unread = [], [], 0
    for row in rows:
        one, two = row["first"], row["second"]
        unread += (one is None or one != one) + (two is None or two != two)
        # In the second order, the answer of model_b is read first.
        read = [one == "a"] * (one in TURNED) + [two == "b"] * (two in TURNED)
        if read:
            first.append(sum(read) / len(read))
        if row["consistent"] and one in TURNED and row["length_a"] != row["length_b"]:
            longer.append(float((row["length_a"] > row["length_b"]) == (one == "a")))
    intervals = {
        name: _interval_or_nan(values) for name, values in (("first", first), ("longer", longer))
    }
    always, never = sum(one > 0.5 for one in first), sum(one < 0.5 for one in first)
    p = stats.binomtest(always, always + never).pvalue if always + never else 1.0
    consistent = sum(bool(row["consistent"]) for row in rows) / len(rows)
    place = "first" if always > never else "second"
    preference = (
        f"prefers the answer that it reads {place} ({max(always, never)} of {always + never} "
        f"pairs on which the order decided, sign test, p = {p:.2g})"
        if p < SIGNIFICANT
        else "shows no preference for a place that these pairs could prove"
    )
    share = intervals["longer"]
    size = f"the longer answer won {share.value:.0%} of {share.n} decided pairs"
    sentence = f"{voter} gave the same verdict in both orders on {consistent:.0%} of "
    sentence += f"{len(rows)} pairs, {preference}; {size if share.n else 'it decided no pair'}."
    if unread == 2 * len(rows):
        sentence = f"{voter} gave no verdict that can be read, so its biases are not known."
    return {
        "voter": voter,
        "pairs": len(rows),
        "unread": unread / (2 * len(rows)),
        "consistent": consistent,
        **{
            name: value
            for key, one in intervals.items()
            for name, value in (
                (key, one.value),
                (f"{key}_low", one.low),
                (f"{key}_high", one.high),
            )
        },
        "sentence": sentence,
    }


def _interval_or_nan(values: Sequence[float]) -> Interval:
    """The mean with its interval; NaN without values."""
    return interval(values) if values else Interval(math.nan, math.nan, math.nan, 0, "none")


def check_judge(judged: pd.DataFrame, human: pd.DataFrame) -> pd.DataFrame:
    """Whether judges agree with people better than chance.

    Label 20 to 50 pairs yourself: ``slmlab.arena`` or ``add_vote``, and ``read_votes``. A pair is
    known by its prompt and its two models. Chance is how often the judge and people would agree if
    their verdicts had nothing to do with each other, each as often as it is; the test permutes the
    judge's verdicts. ``kappa`` is the agreement beyond that (Cohen 1960,
    https://doi.org/10.1177/001316446002000104).

    Args:
        judged: what ``judge`` returned.
        human: votes of people. Of several on one pair, the most frequent counts; without one, and
            for ``both bad``, it is a tie.

    Returns:
        One row for each judge: ``voter``, ``n`` (pairs that both judged), ``agreement`` with
        ``low`` and ``high``, ``chance``, ``kappa``, ``p``, ``better_than_chance`` and a
        ``sentence``.

    Raises:
        SlmlabError: the tables have no such columns, or fewer than 10 pairs in common.

    Examples:
        >>> import pandas as pd
        >>> pairs = [{"prompt": str(n), "model_a": "x", "model_b": "y"} for n in range(20)]
        >>> human = pd.DataFrame(pairs).assign(winner=["a", "b"] * 10)
        >>> judged = human.assign(voter="m")  # in real life from slmlab.votes.judge
        >>> bool(slmlab.votes.check_judge(judged, human)["better_than_chance"].item())
        True
    """
    import numpy as np
    import pandas as pd

    for table in (judged, human):
        need(table, "prompt", "model_a", "model_b", "winner")
    need(judged, "voter")
    labels = {pair: _majority(found) for pair, found in _by_pair(human).items()}
    rows = []
    for voter, own in judged.groupby("voter", sort=False):
        verdicts = _by_pair(own)
        pairs = [pair for pair in verdicts if pair in labels]
        if len(pairs) < FEWEST:
            raise SlmlabError(
                f"{voter} and people judged {len(pairs)} pairs in common. It takes {FEWEST} to "
                "test a judge, and 20 to 50 are better; a pair is known by its prompt and models."
            )
        kinds = ("a", "b", "tie")
        ours = np.array([kinds.index(_majority(verdicts[pair])) for pair in pairs])
        theirs = np.array([kinds.index(labels[pair]) for pair in pairs])
        found = interval((ours == theirs).astype(float).tolist())
        chance = sum(float((ours == k).mean() * (theirs == k).mean()) for k in range(len(kinds)))
        p = _permuted(ours, theirs, lambda x, y: float((x == y).mean()))
        kappa = (found.value - chance) / (1 - chance) if chance < 1 else 0.0
        better = p < SIGNIFICANT
        sentence = (
            f"{voter} agrees with people on {found.value:.0%} of {len(pairs)} pairs (95 % interval "
            f"{found.low:.0%} to {found.high:.0%}); by chance it would be {chance:.0%}: "
        )
        sentence += (
            f"better than chance (permutation test, p = {p:.2g}), kappa {kappa:.2f}."
            if better
            else f"no better than chance, as far as these pairs can tell (p = {p:.2g})."
        )
        rows.append(
            {
                "voter": voter,
                "n": len(pairs),
                "agreement": found.value,
                "low": found.low,
                "high": found.high,
                "chance": chance,
                "kappa": kappa,
                "p": p,
                "better_than_chance": better,
                "sentence": sentence,
            }
        )
    return pd.DataFrame(rows)


def _by_pair(votes: pd.DataFrame) -> dict[tuple[str, str, str], list[str]]:
    """The winners of each pair, with its models in one order."""
    winners: dict[tuple[str, str, str], list[str]] = collections.defaultdict(list)
    for row in votes.to_dict("records"):
        a, b, winner = str(row["model_a"]), str(row["model_b"]), str(row["winner"])
        if a > b:
            a, b, winner = b, a, TURNED.get(winner, winner)
        winners[prompt_text(row["prompt"]), a, b].append(winner if winner in TURNED else "tie")
    return winners


def _majority(winners: Sequence[str]) -> str:
    (most, count), *others = collections.Counter(winners).most_common()
    return "tie" if others and others[0][1] == count else most


def _permuted(ours: Any, theirs: Any, measure: Callable[[Any, Any], float]) -> float:
    """How often a measure is as high if the judge's verdicts are shuffled (one-sided p value)."""
    import numpy as np

    shuffle, reached = np.random.default_rng(0), measure(ours, theirs) - 1e-12
    as_high = sum(
        measure(shuffle.permutation(ours), theirs) >= reached for _ in range(PERMUTATIONS)
    )
    return (as_high + 1) / (PERMUTATIONS + 1)


@dataclass(frozen=True, repr=False)
class Calibration(Sentence):
    """What people would say, as far as some of their labels and a judge's scores tell.

    Attributes:
        estimate: the mean that people would give, by both, with its interval.
        human: the same by the labels alone.
        judge: the mean of the judge's scores, which may be far off.
        correlation: between the judge's scores and the labels (Pearson).
        p: how likely a correlation as high is by chance (permutation test, one-sided).
        better_than_chance: whether that is unlikely.
    """

    TITLE = "Calibrated judge"

    estimate: Interval
    human: Interval
    judge: float
    correlation: float
    p: float
    better_than_chance: bool

    def __str__(self) -> str:
        """The result in a sentence."""
        low, high = self.estimate.low, self.estimate.high
        if math.isnan(low):
            return (
                f"People would give {self.estimate.value:.2f}, as in all {self.human.n} labels, so "
                "there is no interval and the judge cannot be checked: label more answers. The "
                f"judge gave {self.judge:.2f}."
            )
        gained = 1 - (high - low) / ((self.human.high - self.human.low) or 1.0)
        width = f"{gained:.0%} narrower than" if gained >= 0.005 else "no narrower than"
        verdict = (
            f"the judge is better than chance (correlation {self.correlation:.2f}, "
            f"p = {self.p:.2g})"
            if self.better_than_chance
            else "the judge is no better than chance, as far as these labels can tell "
            f"(correlation {self.correlation:.2f}, p = {self.p:.2g})"
        )
        return (
            f"People would give {self.estimate.value:.2f} (95 % interval {low:.2f} to {high:.2f}, "
            f"{width} by the {self.human.n} labels alone); the judge gave {self.judge:.2f}; "
            f"{verdict}."
        )


def calibrate(judge: Sequence[Any], human: Sequence[Any]) -> Calibration:
    """The mean score that people would give, from a judge's scores of all answers and some labels.

    The judge's mean is corrected by how much it differs from people where both have scored
    (prediction-powered inference: Angelopoulos et al. 2023, https://arxiv.org/abs/2301.09633, with
    the weight of PPI++, https://arxiv.org/abs/2311.01453). The interval is right however bad the
    judge is; a good judge makes it narrower than the labels alone would. Student's t takes the
    place of the normal distribution, since the labels are few.

    **Label answers that were drawn at random**, 20 to 50: labels of the interesting ones say
    nothing about the others. Labels that are all equal have no interval, unless they are 0 or 1.

    Args:
        judge: the judge's score of each answer; None where it could not be read.
        human: the label of each answer by people, on the same scale; None where there is none.

    Raises:
        SlmlabError: the lists have different lengths, or fewer than 10 answers have a label.

    Examples:
        >>> judged, people = [0.2, 0.4, 0.9, 0.7] * 10, [0.0, 0.5, 1.0, 0.5] * 4 + [None] * 24
        >>> found = slmlab.votes.calibrate(judged, people)
        >>> found.better_than_chance
        True
    """
    import numpy as np
    from scipy import stats

    scores, labels = (
        np.array(as_scores(values, f"`{name}`"))
        for name, values in (("judge", judge), ("human", human))
    )
    known = ~np.isnan(labels)
    n, rest = int(known.sum()), int((~known).sum())
    if len(scores) != len(labels) or n < FEWEST or np.isnan(scores).all():
        raise SlmlabError(
            f"It takes a score by the judge and a place for a label for each answer, and {FEWEST} "
            f"labels, better 20 to 50; got {len(scores)} scores, {len(labels)} places, {n} labels."
        )
    # Any prediction may be corrected, so one that is missing can be the mean of the others.
    scores = np.where(np.isnan(scores), np.nanmean(scores), scores)
    ours, theirs = scores[known], labels[known]
    own = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    half = own * float(theirs.std(ddof=1)) / math.sqrt(n)
    mean = float(theirs.mean())
    same = not np.ptp(theirs)
    # Labels that are all equal say nothing about the spread of others.
    alone = interval(theirs.tolist()) if same else Interval(mean, mean - half, mean + half, n, "t")
    estimate = alone
    if rest and np.ptp(scores) and not same:
        weight = float(np.cov(theirs, ours)[0, 1] / ((1 + n / rest) * scores.var(ddof=1)))
        weight = min(1.0, max(0.0, weight))
        others = scores[~known]
        value = float(weight * others.mean() + (theirs - weight * ours).mean())
        spread = weight**2 * float(scores.var(ddof=1)) / rest
        spread += float((theirs - weight * ours).var(ddof=1)) / n
        half = own * math.sqrt(spread)
        estimate = Interval(value, value - half, value + half, len(scores), "prediction-powered")
    correlation, p = 0.0, 1.0
    if np.ptp(ours) and np.ptp(theirs):
        correlation = float(np.corrcoef(ours, theirs)[0, 1])
        p = _permuted(ours - ours.mean(), theirs - theirs.mean(), lambda x, y: float(x @ y))
    return Calibration(estimate, alone, float(scores.mean()), correlation, p, p < SIGNIFICANT)

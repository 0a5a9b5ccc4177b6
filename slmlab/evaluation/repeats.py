"""What repeats of a prompt show: whether a model is right every time, and what seeds change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError
from slmlab.evaluation.intervals import interval
from slmlab.evaluation.scorers.reading import answer
from slmlab.evaluation.statistics import CASE, PROMPT
from slmlab.run.frames import need, prompt_keys

if TYPE_CHECKING:
    import pandas as pd


def pass_rates(
    frame: pd.DataFrame,
    k: int | Iterable[int] | None = None,
    *,
    score: str = "score",
    by: str | Sequence[str] = "model",
    right: float = 1.0,
) -> pd.DataFrame:
    """How reliably each model is right over the repeats of a prompt.

    ``any_right`` is pass@k: the share of prompts of which at least one of k answers is right.
    ``all_right`` is pass^k: the share of which all k answers are. A model whose answers depend on
    the seed has a high first and a low second value; at temperature 0 both are equal. From n
    answers to a prompt, c of them right, they are estimated without bias over all choices of k:
    1 − C(n−c, k) / C(n, k) (Chen et al. 2021, https://arxiv.org/abs/2107.03374) and
    C(c, k) / C(n, k) (Yao et al. 2024, https://arxiv.org/abs/2406.12045). A prompt with fewer than
    k scored answers does not count.

    Args:
        frame: a scored comparison with repeats: ``slmlab.compare(…, repeats=5)``.
        k: how many answers, from 1 to the number of repeats; by default 1 and all of them.
        score: the column of scores.
        by: the columns that tell apart what is compared.
        right: the lowest score that counts as right.

    Returns:
        One row for each of ``by`` and each ``k``: ``any_right`` and ``all_right``, each with its
        95 % interval over prompts (``…_low``, ``…_high``), and ``n``, the number of prompts.

    Raises:
        SlmlabError: the table has no such column, or no prompt has k scored answers.

    Examples:
        >>> slmlab.repeats.pass_rates(frame, k=1)["k"].unique().tolist()
        [1]
    """
    import pandas as pd

    need(frame, score)
    counted = [
        (group, [(len(rows), int((rows[score] >= right).sum())) for rows in cases])
        for group, cases in _prompts(frame, score, by)
    ]
    most = max((n for _, cases in counted for n, _ in cases), default=0)
    if not most:
        raise SlmlabError(f"There is nothing to count: no answer has a score in `{score}`.")
    given = [1, most] if k is None else k
    wanted = list(given) if isinstance(given, Iterable) else [given]
    for one in wanted:
        if isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= most:
            raise SlmlabError(
                f"k is a whole number from 1 to {most}, the number of scored answers of a prompt; "
                f"got {one!r}. compare(…, repeats=…) makes more."
            )
    rows = []
    for group, cases in counted:
        for one in dict.fromkeys(wanted):
            enough = [(n, c) for n, c in cases if n >= one]
            if not enough:
                continue
            some = interval([1 - math.comb(n - c, one) / math.comb(n, one) for n, c in enough])
            every = interval([math.comb(c, one) / math.comb(n, one) for n, c in enough])
            rows.append(
                {
                    **group,
                    "k": one,
                    "any_right": some.value,
                    "any_right_low": some.low,
                    "any_right_high": some.high,
                    "all_right": every.value,
                    "all_right_low": every.low,
                    "all_right_high": every.high,
                    "n": len(enough),
                }
            )
    return pd.DataFrame(rows)


def variation(
    frame: pd.DataFrame, *, score: str = "score", by: str | Sequence[str] = "model"
) -> pd.DataFrame:
    """Where the spread of a model's scores comes from: from the prompts, or from the seeds.

    More prompts narrow an interval however large either is; more repeats help only against the
    seeds' share. The shares come from a one-way analysis of variance with random effects (Searle,
    Casella and McCulloch, Variance Components, 1992, chapter 3).

    Args:
        frame: a scored comparison with repeats.
        score: the column of scores.
        by: the columns that tell apart what is compared.

    Returns:
        One row for each of ``by``: ``prompts`` (with at least two scored answers), ``answers``,
        ``distinct`` (the mean number of different answers to a prompt; thoughts and white space at
        the ends do not count), ``seed_share`` (0: a prompt gets the same score every time; 1: the
        scores of a prompt differ as much as those of different prompts) and ``prompt_share`` (the
        rest); both NaN if all scores are equal, or if there is only one prompt.

    Raises:
        SlmlabError: the table has no such column, or no prompt has two scored answers.

    Examples:
        >>> prompts = slmlab.tasks.load("arithmetic", items=2)
        >>> frame = slmlab.compare(names, prompts, repeats=2, temperature=1, num_predict=5)
        >>> slmlab.repeats.variation(slmlab.score(frame))
    """
    import pandas as pd

    need(frame, "text")
    table = []
    for group, prompts in _prompts(frame, score, by):
        cases = [rows for rows in prompts if len(rows) > 1]
        if not cases:
            continue
        distinct = [len({answer(text).strip() for text in rows["text"]}) for rows in cases]
        seeds = _seed_share([rows[score].tolist() for rows in cases])
        table.append(
            {
                **group,
                "prompts": len(cases),
                "answers": sum(map(len, cases)),
                "distinct": sum(distinct) / len(distinct),
                "seed_share": seeds,
                "prompt_share": 1 - seeds,
            }
        )
    if not table:
        raise SlmlabError(
            "No prompt has two scored answers of one model; compare(…, repeats=5) makes them."
        )
    return pd.DataFrame(table)


def _prompts(
    frame: pd.DataFrame, score: str, by: str | Sequence[str]
) -> Iterator[tuple[dict[str, Any], list[pd.DataFrame]]]:
    """For each of ``by`` the scored rows of each prompt."""
    names = [by] if isinstance(by, str) else list(by)
    need(frame, score, *names)
    case = [PROMPT, *(name for name in CASE if name in frame and name not in names)]
    keyed = frame.assign(**{PROMPT: prompt_keys(frame, as_sent=True)}).dropna(subset=[score])
    for group, rows in keyed.groupby(names, sort=False, dropna=False):
        cases = [one for _, one in rows.groupby(case, sort=False, dropna=False)]
        yield dict(zip(names, group, strict=True)), cases


def _seed_share(cases: Sequence[Sequence[float]]) -> float:
    """The share of the variance within prompts, by the method of moments; NaN if unknown."""
    import numpy as np

    sizes = np.array([len(one) for one in cases])
    n, groups = int(sizes.sum()), len(cases)
    if groups < 2:
        return math.nan
    means = np.array([np.mean(one) for one in cases])
    within = sum(float(np.var(one)) * len(one) for one in cases) / (n - groups)
    between = float((sizes * (means - (sizes * means).sum() / n) ** 2).sum()) / (groups - 1)
    # The usual number of answers to a prompt, if they differ.
    usual = float((n - (sizes**2).sum() / n) / (groups - 1))
    prompts = max(0.0, (between - within) / usual)
    return within / (within + prompts) if within + prompts else math.nan

"""Which one is better, and how sure is that: intervals, paired tests and a plain sentence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError, did_you_mean
from slmlab.evaluation.intervals import Interval, binomial_below, difference, interval
from slmlab.run.frames import COMPARED, need, prompt_keys
from slmlab.run.options import DEFAULT_OPTIONS

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["Interval", "difference", "interval", "means", "paired", "prompts_needed", "sign_tests"]

SIGNIFICANT = 0.05
POWER = 0.8
# Columns that define a case: rows that agree in them can be compared with each other.
CASE = ("task", "prompt_id", "model", "template", "system", "quantization")
# A temporary column that tells prompts with the same number apart.
PROMPT = "_prompt"


def means(
    frame: pd.DataFrame, score: str = "score", by: str | Sequence[str] = "model"
) -> pd.DataFrame:
    """The mean score of each model (or each value of ``by``) with its 95 % interval.

    Repeats of a prompt are averaged first, so ``n`` counts prompts. Columns: those of ``by``,
    ``mean``, ``low``, ``high``, ``n``.

    Raises:
        SlmlabError: the table has no such column.

    Examples:
        >>> slmlab.statistics.means(frame)
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    need(frame, score, *by)
    case = [PROMPT, *(name for name in CASE if name in frame and name not in by)]
    with_keys = frame.assign(**{PROMPT: prompt_keys(frame, as_sent=True)})
    per_case = with_keys.groupby([*by, *case], sort=False, dropna=False)[score].mean().reset_index()
    rows = []
    for group, values in per_case.groupby(by, sort=False, dropna=False)[score]:
        names = group if isinstance(group, tuple) else (group,)
        if values.notna().any():
            mean = interval(values)
            rows.append([*names, mean.value, mean.low, mean.high, mean.n])
        else:
            rows.append([*names, math.nan, math.nan, math.nan, 0])
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def paired(
    frame: pd.DataFrame, score: str = "score", by: str = "model", against: Any = None
) -> pd.DataFrame:
    """Compare every two models (templates, …) on the same prompts, or each with one of them.

    Repeats of a prompt are averaged first; a prompt counts if both have a score. The test is the
    sign test: among the prompts on which one did better than the other, is the split further from
    half and half than chance explains? It only uses the order of the scores. ``p_adjusted`` is
    corrected for the number of pairs (Benjamini and Hochberg 1995).

    Args:
        frame: a scored comparison.
        score: the column with the scores.
        by: the column that says what is compared.
        against: one value of that column, with which each other one is compared. Fewer pairs need
            less of a correction, so name it before you see the scores.

    Returns:
        One row for each pair: ``a``, ``b``, ``a_better``, ``b_better``, ``same`` (prompts), ``n``,
        ``difference`` (mean of a − b) with ``low``, ``high`` and the interval's ``method`` (see
        ``difference``), ``p``, ``p_adjusted`` and ``sentence``.

    Raises:
        SlmlabError: there are not two to compare, or no prompts in common.

    Examples:
        >>> print(slmlab.statistics.paired(frame)["sentence"][0])
        >>> pairs = slmlab.statistics.paired(frame, against=names[0])
    """
    need(frame, score, by)
    if against is not None and against not in set(frame[by]):
        raise SlmlabError(
            f"No row has {against!r} in the column {by!r}."
            f"{did_you_mean(str(against), map(str, frame[by].unique()))}"
        )
    # A variant is a model with all its settings.
    case = [name for name in CASE if name in frame and name != by and by != "variant"]
    known = frame.assign(**{name: frame[name].fillna("") for name in case})
    known[PROMPT] = _prompts(frame, by)
    case.append(PROMPT)
    table = known.pivot_table(index=case, columns=by, values=score, sort=False)
    names = [name for name in dict.fromkeys(frame[by]) if name in table]
    pairs = [
        (a, b, both[a].tolist(), both[b].tolist())
        for a, b in (
            itertools.combinations(names, 2)
            if against is None
            else ((against, name) for name in names if name != against)
        )
        if a in table and len(both := table[[a, b]].dropna())
    ]
    if not pairs and len(names) == 1:
        raise SlmlabError(
            f"There is nothing to compare: `{by}` is {names[0]!r} in all rows that have a score."
        )
    if not pairs:
        raise SlmlabError(
            f"There is nothing to compare: no two of `{by}` have scores on the same prompts. If "
            "the table joins several comparisons, give each its own value in a column `task`."
        )
    return sign_tests(pairs)


def sign_tests(
    pairs: Iterable[tuple[str, str, Sequence[float], Sequence[float]]],
) -> pd.DataFrame:
    """Compare the scores of two models (runs, …) on the same prompts, for one or several pairs.

    Args:
        pairs: for each pair both names and both lists of scores, which have one order of prompts.

    Returns:
        The table of ``paired``, in which ``p_adjusted`` is corrected for the number of pairs.

    Raises:
        SlmlabError: two lists have different lengths, or no scores.

    Examples:
        >>> slmlab.statistics.sign_tests([("a", "b", [1, 1, 1], [0, 1, 0])])["a_better"].item()
        2
    """
    import pandas as pd

    rows = []
    for a, b, one, other in pairs:
        found = difference(one, other)
        gaps = [round(x - y, 12) for x, y in zip(one, other, strict=True)]
        better, worse = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        rows.append(
            {
                "a": a,
                "b": b,
                "a_better": better,
                "b_better": worse,
                "same": len(gaps) - better - worse,
                "n": len(gaps),
                "difference": found.value,
                "low": found.low,
                "high": found.high,
                "method": found.method,
                "p": _sign_test(better, worse),
            }
        )
    table = pd.DataFrame(rows)
    table["p_adjusted"] = _adjusted(table["p"].tolist())
    table["sentence"] = [_sentence(row, len(rows)) for row in table.to_dict("records")]
    return table


def _sign_test(better: int, worse: int) -> float:
    """The two-sided p value of so many wins and losses."""
    return min(1.0, 2 * binomial_below(min(better, worse), better + worse, 0.5))


def _adjusted(p_values: Sequence[float]) -> list[float]:
    """The p values, corrected for their number (Benjamini and Hochberg 1995)."""
    adjusted = [1.0] * len(p_values)
    lowest = 1.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in reversed(list(enumerate(order, 1))):
        lowest = min(lowest, p_values[place] * len(p_values) / rank)
        adjusted[place] = lowest
    return adjusted


def _prompts(frame: pd.DataFrame, by: str) -> list[str]:
    """For each row a key that tells its prompt from others with its number, if ``by`` is compared.

    That is the text as sent. But if ``by`` holds different ways to ask (templates, or a column of
    the user's own), each way makes another text of the same prompt. Then only the number counts,
    provided that it stands for a single text within each way.
    """
    if by == "variant":
        return prompt_keys(frame)
    sent = prompt_keys(frame, as_sent=True)
    if by in COMPARED or by in DEFAULT_OPTIONS or by == "quantization":
        return sent
    table = frame.assign(**{PROMPT: sent})
    if (table.groupby(PROMPT)[by].nunique() > 1).any():
        return sent
    within = [by, *(name for name in CASE if name in frame and name != by)]
    shared = (table.groupby(within, dropna=False)[PROMPT].nunique() > 1).any()
    return sent if shared else [""] * len(frame)


def _sentence(row: dict[str, Any], pairs: int) -> str:
    """The result of a paired test in one sentence."""
    a, b, n = row["a"], row["b"], row["n"]
    better, worse, same = row["a_better"], row["b_better"], row["same"]
    if worse > better:
        a, b, better, worse = b, a, worse, better
    p = row["p_adjusted"]
    p_value = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    test = f"sign test, {p_value}" + (f", corrected for {pairs} comparisons" if pairs > 1 else "")
    counts = f"{a} did better on {better} of {n} prompts, {b} on {worse}"
    if p < SIGNIFICANT:
        equal = f", the same on {same}" if same else ""
        return f"{counts}{equal} ({test})."
    needed = prompts_needed(better, worse, same, pairs)
    more = (
        f"about {needed:,} could, if the shares stay as they are"
        if needed
        else "by these counts, no number of prompts would"
    )
    these = f"These {n} prompts" if n > 1 else "This prompt"
    return f"{these} can't tell {a} and {b} apart ({counts}; {test}); {more}."


def prompts_needed(better: int, worse: int, same: int, comparisons: int = 1) -> int | None:
    """About how many prompts a sign test would need to detect such a difference (power 80 %).

    The observed shares are used, pulled a little towards even, since a split of 3 to 0 does not
    promise one of 100 to 0. None if the split is even, or if over a million would be needed.

    Args:
        better: the number of prompts on which one did better.
        worse: the number on which the other did.
        same: the number on which neither did; these decide nothing but have to be run too.
        comparisons: how many pairs are compared. The significance level is 5 % divided by this,
            which the correction requires if only one of the pairs differs.

    Examples:
        >>> slmlab.statistics.prompts_needed(better=9, worse=3, same=8)
    """
    import numpy as np
    from scipy.special import bdtr, bdtrc, bdtrik

    decided = better + worse
    if better == worse:
        return None
    share = (max(better, worse) + 0.5) / (decided + 1)
    for n in np.unique(np.geomspace(5, 1e6, 400).astype(int)):
        # The fewest wins that are significant in the two-sided test, and their probability.
        level = 1 - SIGNIFICANT / comparisons / 2
        most = np.ceil(bdtrik(level, n, 0.5))
        if most > 0 and bdtr(most - 1, n, 0.5) >= level:
            most -= 1
        if bdtrc(most, n, share) >= POWER:
            prompts = math.ceil(int(n) * (decided + same) / decided)
            return round(prompts, -2) if prompts > 1000 else prompts
    return None

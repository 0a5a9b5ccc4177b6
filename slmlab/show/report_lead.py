"""What a report says first: who did better, how sure that is, and at what speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.run import results
from slmlab.show.figure import colour, number

if TYPE_CHECKING:
    import pandas as pd

# More pairs than this are told further below.
MOST_PAIRS = 3


@dataclass(frozen=True)
class Lead:
    """A headline, the sentences that support it, and a row of numbers for each variant."""

    headline: str
    sentences: list[str]
    rows: list[dict[str, Any]]

    @property
    def timed(self) -> bool:
        """Whether any speed can be compared."""
        return any(row[one] == row[one] for row in self.rows for one in ("tokens_per_s", "ttft_s"))


def is_scored(frame: pd.DataFrame) -> bool:
    """Whether a comparison has scores."""
    return "score" in frame and bool(frame["score"].notna().any())


def lead(frame: pd.DataFrame) -> Lead:
    """What a comparison found, in which each variant is a model (``variants.as_models``)."""
    rows = _rows(frame)
    if frame["error"].notna().all():
        return Lead(f"No answer came: {_count(len(frame), 'run')} failed", [], rows)
    headline, found = _quality(frame, rows) if is_scored(frame) else _unscored(rows)
    fast = _speed(rows)
    return Lead(headline, [*found, *([fast] if fast else [])], rows)


def sentences(frame: pd.DataFrame, by_variant: pd.DataFrame) -> list[str]:
    """A sentence on every two variants; if settings vary too, on the values of each by itself.

    Args:
        frame: a scored comparison.
        by_variant: the same with each variant as a model.
    """
    settings = [name for name in ("model", "template", "system") if _several(frame, name)]
    # A grid has every combination; columns of a widget have settings of their own.
    grid = len(settings) > 1 and "variant" not in frame
    found: list[str] = []
    for table, by in ((by_variant, "model"), *((frame, name) for name in settings if grid)):
        if _several(table, by):
            try:
                found += list(statistics.paired(table, by=by)["sentence"])
            except SlmlabError as error:
                found.append(str(error))
    return found


def _several(frame: pd.DataFrame, name: str) -> bool:
    return name in frame and frame[name].nunique(dropna=False) > 1


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """For each variant its colour in the figures, score, speed, and which are the best."""
    numbers = results.summary(frame).set_index("model")
    means = statistics.means(frame).set_index("model") if is_scored(frame) else None
    rows = []
    for place, (name, one) in enumerate(numbers.iterrows()):
        row = {"name": name, "colour": colour(place), "answers": int(one["runs"])}
        row |= {"tokens_per_s": one["tokens_per_s"], "ttft_s": one["ttft_s"]}
        row["slowest"] = one["tokens_per_s_min"]
        if means is not None:
            row |= means.loc[name, ["mean", "low", "high", "n"]].to_dict()
        rows.append(row)
    known = [row["mean"] for row in rows if "mean" in row and row["mean"] == row["mean"]]
    for row in rows:
        value = row.get("mean")
        several = len({number(one) for one in known}) > 1
        row["mean_is_best"] = several and number(value) == number(max(known))
        others = [one for one in rows if one is not row]
        row["tokens_per_s_is_best"] = _is_fastest(row, others)
        row["ttft_s_is_best"] = _is_first(row, others)
    return rows


def _is_fastest(row: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether one writes clearly faster than all others, also in its slowest run.

    Runs of one model differ by a tenth on an idle machine, and by much more beside other work.
    """
    known = [one["tokens_per_s"] for one in others if one["tokens_per_s"] == one["tokens_per_s"]]
    return bool(known) and all(
        row["tokens_per_s"] >= one * results.CLEARLY and row["slowest"] > one for one in known
    )


def _is_first(row: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether one's first token comes clearly earlier than that of all others."""
    known = [one["ttft_s"] for one in others if one["ttft_s"] == one["ttft_s"]]
    return bool(known) and all(row["ttft_s"] * results.CLEARLY <= one for one in known)


def _quality(frame: pd.DataFrame, rows: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The headline and sentences of a comparison with scores."""
    ranked = sorted(
        (row for row in rows if row["mean"] == row["mean"]), key=lambda row: -row["mean"]
    )
    best = ranked[0]["name"]
    if len(ranked) < 2:
        prompts = _count(int(ranked[0]["n"]), "prompt")
        return f"{best} has a mean score of {ranked[0]['mean']:.2f} on {prompts}", []
    try:
        pairs = statistics.paired(frame)
    except SlmlabError as error:
        return "The scores cannot be compared", [str(error)]
    names = (best, ranked[1]["name"])
    sentences = list(pairs[pairs["a"].isin(names) & pairs["b"].isin(names)]["sentence"])
    if len(pairs) <= MOST_PAIRS:
        sentences += [one for one in pairs["sentence"] if one not in sentences]
    if _beats_all(best, pairs, len(ranked) - 1):
        return f"{best} did better" + (" than all others" if len(ranked) > 2 else ""), sentences
    highest = [row["name"] for row in ranked if row["mean"] == ranked[0]["mean"]]
    if len(highest) == len(ranked):
        none = "None did better than the others" if len(ranked) > 2 else "Neither did better"
        return none, sentences
    if len(highest) > 1:
        return f"{', '.join(highest[:-1])} and {highest[-1]} scored highest", sentences
    return f"{best} scored highest, which may be chance", sentences


def _beats_all(best: str, pairs: pd.DataFrame, others: int) -> bool:
    """Whether one did better than each other one, by more than chance explains."""
    mine = pairs[(pairs["a"] == best) | (pairs["b"] == best)]
    ahead = (mine["a_better"] > mine["b_better"]) == (mine["a"] == best)
    return bool(
        len(mine) == others and (ahead & (mine["p_adjusted"] < statistics.SIGNIFICANT)).all()
    )


def _unscored(rows: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The headline and sentences of a comparison without scores."""
    fastest = [row["name"] for row in rows if row["tokens_per_s_is_best"]]
    headline = (
        f"{fastest[0]} is the fastest" if fastest else f"{_count(len(rows), 'model')} answered"
    )
    return headline, [
        "These answers have no scores, so nothing is said of how good they are; "
        "slmlab.score(frame) adds them."
    ]


def _speed(rows: list[dict[str, Any]]) -> str:
    """A sentence on the fastest and the slowest; empty where that is not known."""
    timed = sorted(
        (row for row in rows if row["tokens_per_s"] == row["tokens_per_s"]),
        key=lambda row: row["tokens_per_s"],
    )
    if len(timed) < 2:
        return ""
    slow, fast = timed[0], timed[-1]
    ratio = fast["tokens_per_s"] / slow["tokens_per_s"]
    if ratio < 1.05:
        return f"All write about as fast: {number(fast['tokens_per_s'])} tokens per second."
    if fast["slowest"] <= slow["tokens_per_s"]:
        return (
            f"{fast['name']} writes {number(fast['tokens_per_s'])} tokens per second and "
            f"{slow['name']} {number(slow['tokens_per_s'])}, but from run to run the speeds differ "
            "by more than that."
        )
    times = f"{ratio:.1f} times as fast as" if ratio < 10 else f"{ratio:.0f} times as fast as"
    return (
        f"{fast['name']} writes {times} {slow['name']}: {number(fast['tokens_per_s'])} against "
        f"{number(slow['tokens_per_s'])} tokens per second."
    )


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"

"""Figures of scores: by model, by task, and the ratings of votes (see ``slmlab.plots``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmlab.evaluation import statistics
from slmlab.run.frames import need
from slmlab.show.charts import interval
from slmlab.show.figure import canvas, flagged, number, result, shorten, words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from slmlab.show.figure import Drawn


def scores(
    frame: pd.DataFrame,
    score: str = "score",
    by: str = "model",
    *,
    dark: bool = False,
    ax: Axes | None = None,
) -> Drawn:
    """The mean score of each model (or template, …) with its 95 % interval.

    Examples:
        >>> slmlab.plots.scores(frame)
    """
    need(frame, by, "flags", score)
    table = statistics.means(frame, score, by)
    note = flagged(
        f"Bars are 95 % intervals over prompts (n = {table['n'].min():.0f}). Where two overlap, a "
        "paired test\nmay still tell them apart (slmlab.statistics.paired).",
        frame,
        False,
    )
    return _intervals(table, by, "mean", f"Mean {score} (more is better)", note, dark, ax)


def ratings(table: pd.DataFrame, *, dark: bool = False, ax: Axes | None = None) -> Drawn:
    """Bradley–Terry ratings with their intervals; takes what ``slmlab.votes.ratings`` returns.

    Examples:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"model_a": "x", "model_b": "y", "winner": list("aaaaaabb")})
        >>> slmlab.plots.ratings(slmlab.votes.ratings(votes))
    """
    need(table, "model", "rating", "low", "high", "votes")
    note = f"Bars are 95 % bootstrap intervals; n = {table['votes'].sum() // 2} votes."
    return _intervals(table, "model", "rating", "Rating (1000 is the mean)", note, dark, ax)


def _intervals(
    table: pd.DataFrame,
    by: str,
    column: str,
    label: str,
    note: str,
    dark: bool,
    ax: Axes | None,
) -> Drawn:
    ranges = (
        f"{shorten(row[by])} {number(row[column])} ({number(row['low'])} to {number(row['high'])})"
        for row in table.to_dict("records")
    )
    alt = f"{label}, with 95 % intervals: {'; '.join(ranges)}."
    with canvas(ax, (9, 1.8 + 0.55 * len(table)), dark=dark, note=note, alt=alt) as axis:
        for index, row in enumerate(table.to_dict("records")):
            interval(axis, index, row[column], index, x_interval=(row["low"], row["high"]))
        axis.set_yticks(range(len(table)), [shorten(name) for name in table[by]])
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.grid(axis="y", visible=False)
    return result(ax, axis)


def heatmap(
    frame: pd.DataFrame, score: str = "score", *, dark: bool = False, ax: Axes | None = None
) -> Drawn:
    """Mean scores, models × tasks, the number in each field (needs a column ``task``).

    Examples:
        >>> slmlab.plots.heatmap(frame)
    """
    need(frame, "model", "task", "flags", score)
    table = statistics.means(frame, score, by=["model", "task"])
    means = table.pivot(index="model", columns="task", values="mean")
    counts = table.pivot(index="model", columns="task", values="n")
    names = frame["model"].unique()
    means, counts = means.loc[names], counts.loc[names]
    note = flagged("Each field: the mean score and the number of prompts behind it.", frame, False)
    models = [shorten(name) for name in means.index]
    longest = max(map(len, models), default=0)
    size = (1.9 + 0.1 * longest + 1.15 * len(means.columns), 2.2 + 0.75 * len(means))
    rows = (f"{name}: {words(row)}" for name, row in means.iterrows())
    alt = f"Mean {score} by model and task. {' '.join(rows)}"
    with canvas(ax, size, dark=dark, note=note, alt=alt) as axis:
        image = axis.imshow(means.to_numpy(float), vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for row, column in ((r, c) for r in range(len(means)) for c in range(means.shape[1])):
            value = means.iat[row, column]
            if value == value:
                axis.text(
                    column,
                    row,
                    f"{value:.2f}\nn = {counts.iat[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=10,
                    color="black" if value > 0.5 else "white",
                )
        axis.set_xticks(range(means.shape[1]), means.columns, rotation=30, ha="right")
        axis.set_yticks(range(len(means)), models)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.figure.colorbar(image, ax=axis, label=f"Mean {score}")
        axis.set_title("Score by model and task")
    return result(ax, axis)

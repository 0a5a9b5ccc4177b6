"""Every figure: one style, light or dark, colours that colour-blind readers tell apart, n stated.

Each function takes a table. Without ``ax`` it returns a new matplotlib ``Figure``: at its foot
stands what the bars mean and how many runs carry a flag, ``dark=True`` is for a dark page or slide,
and in a notebook, as the last line of a cell, it is shown once, with an alternative text for those
who do not see it: what is drawn, and its numbers in words.

With ``ax`` it draws into those axes and returns them, as seaborn's axes-level functions do. The
figure is then yours: its style, its title, the note and the alternative text.

>>> import matplotlib.pyplot as plt
>>> figure, (left, right) = plt.subplots(ncols=2)
>>> left = bars({"one": 1, "two": 2}, xlabel="Size", ax=left)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from slmlab import hardware
from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.run import results
from slmlab.run.frames import need
from slmlab.show.charts import bars, lines, points
from slmlab.show.figure import (
    COLOURS,
    HATCHES,
    MARKERS,
    canvas,
    colour,
    flagged,
    legend,
    marker,
    number,
    result,
    shorten,
    words,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from slmlab.models.fit import Fit
    from slmlab.show.figure import Drawn

__all__ = [
    "COLOURS",
    "HATCHES",
    "MARKERS",
    "bars",
    "context_latency",
    "heatmap",
    "lines",
    "memory",
    "pareto_front",
    "points",
    "quality_speed",
    "ratings",
    "scores",
    "speed",
]


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    timed = results.comparable(frame)
    if timed.empty:
        raise SlmlabError(
            "There is no run whose times may be compared (finished, warm, measured alone); look at "
            "the column `flags`. compare(…, timing=True) measures one request at a time."
        )
    return timed


def _names(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["model"]))


def _counts(frame: pd.DataFrame) -> str:
    runs = frame.groupby("model").size()
    low, high = runs.min(), runs.max()
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def speed(frame: pd.DataFrame, dark: bool = False, *, ax: Iterable[Axes] | None = None) -> Drawn:
    """Tokens per second and time to first token by model: each run a dot, the median a bar.

    Takes what ``slmlab.compare`` returns; runs that failed, were cold or not alone are left out.
    ``ax`` is a pair of axes here: for the speed, and for the time to first token.

    Raises:
        SlmlabError: there is no run to show.

    Examples:
        >>> slmlab.plots.speed(frame)
    """
    need(frame, "model", "flags", "tokens_per_s", "ttft_s")
    timed = _timed(frame)
    names = _names(timed)
    note = flagged(f"Dots are runs ({_counts(timed)} for each model), bars are medians.", frame)
    medians = timed.groupby("model", sort=False)[["tokens_per_s", "ttft_s"]].median()
    alt = (
        f"Speed by model. Median tokens per second: {words(medians['tokens_per_s'])} Median time "
        f"to first token: {words(medians['ttft_s'], ' s')}"
    )
    size = (10, 1.9 + 0.6 * len(names))
    with canvas(ax, size, dark=dark, note=note, alt=alt, ncols=2) as axes:
        left, right = axes
        _dots(left, timed, "tokens_per_s", "Tokens per second (more is better)", names)
        _dots(right, timed, "ttft_s", "Time to first token, s (less is better)", names)
        if ax is None:
            left.figure.suptitle("Speed by model")
    return result(ax, axes)


def _dots(axis: Axes, frame: pd.DataFrame, column: str, label: str, names: list[str]) -> None:
    for row, name in enumerate(names):
        values = frame.loc[frame["model"] == name, column].dropna().astype(float)
        if values.empty:
            continue
        axis.barh(row, values.median(), color=colour(row), alpha=0.4, height=0.5)
        spread = [row + 0.16 * ((index % 5) - 2) / 2 for index in range(len(values))]
        axis.plot(
            values,
            spread,
            marker(row),
            color=colour(row),
            markeredgecolor="black",
            markersize=7,
        )
    axis.set_yticks(range(len(names)), [shorten(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)


def quality_speed(
    frame: pd.DataFrame, score: str = "score", dark: bool = False, *, ax: Axes | None = None
) -> Drawn:
    """Quality against speed: each model's mean score and median tokens per second.

    The line joins the Pareto front: the models that no other one beats in both.

    Raises:
        SlmlabError: there are no scores or no runs whose times may be compared.

    Examples:
        >>> slmlab.plots.quality_speed(frame)
    """
    need(frame, "model", "flags", "tokens_per_s", score)
    quality = statistics.means(frame, score).set_index("model")
    speeds = _timed(frame).groupby("model", sort=False)["tokens_per_s"].median()
    models = quality.join(speeds, how="inner").dropna(subset=["mean", "tokens_per_s"])
    if models.empty:
        raise SlmlabError(
            "No model has both a score and a speed; a speed takes answers of five tokens or more."
        )
    front = pareto_front(list(zip(models["tokens_per_s"], models["mean"], strict=True)))
    note = flagged(
        "Bars are 95 % intervals of the mean score over prompts "
        f"(n = {models['n'].min():.0f}). The dashed line is the Pareto front.",
        frame,
    )
    alt = (
        f"Quality against speed. Mean {score}: {words(models['mean'])} Tokens per second: "
        f"{words(models['tokens_per_s'])}"
    )
    with canvas(ax, (8, 5.4), dark=dark, note=note, alt=alt) as axis:
        if len(front) > 1:
            best = models.iloc[front].sort_values("tokens_per_s")
            axis.plot(best["tokens_per_s"], best["mean"], "--", color="#8C8C8C", zorder=1)
        for index, (name, row) in enumerate(models.iterrows()):
            _with_bar(axis, row["tokens_per_s"], row, index)
            axis.annotate(
                f" {shorten(name)}",
                (row["tokens_per_s"], row["mean"]),
                xytext=(8, 6),
                textcoords="offset points",
            )
        axis.set_xlabel("Tokens per second (more is better)")
        axis.set_ylabel(f"Mean {score} (more is better)")
        axis.set_xlim(0, models["tokens_per_s"].max() * 1.35)
        axis.set_title("Quality against speed")
    return result(ax, axis)


def _with_bar(axis: Axes, x: float, row: pd.Series, index: int) -> None:
    down, up = max(0, row["mean"] - row["low"]), max(0, row["high"] - row["mean"])
    axis.errorbar(
        x,
        row["mean"],
        yerr=None if row["low"] != row["low"] else [[down], [up]],
        fmt=marker(index),
        color=colour(index),
        markersize=10,
        capsize=5,
        linewidth=2,
        markeredgecolor="black",
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The positions of the points that no other point equals or beats in both (more is better).

    Examples:
        >>> slmlab.plots.pareto_front([(1, 5), (2, 4), (1, 4)])
        [0, 1]
    """
    return [
        index
        for index, (x, y) in enumerate(points)
        if not any(ox >= x and oy >= y and (ox, oy) != (x, y) for ox, oy in points)
    ]


def heatmap(
    frame: pd.DataFrame, score: str = "score", dark: bool = False, *, ax: Axes | None = None
) -> Drawn:
    """Mean scores, models × tasks, the number in each field (needs a column ``task``).

    Examples:
        >>> slmlab.plots.heatmap(frame)
    """
    need(frame, "model", "task", "flags", score)
    table = statistics.means(frame, score, by=["model", "task"])
    means = table.pivot(index="model", columns="task", values="mean")
    counts = table.pivot(index="model", columns="task", values="n")
    means, counts = means.loc[_names(frame)], counts.loc[_names(frame)]
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


def scores(
    frame: pd.DataFrame,
    score: str = "score",
    by: str = "model",
    dark: bool = False,
    *,
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


def ratings(table: pd.DataFrame, dark: bool = False, *, ax: Axes | None = None) -> Drawn:
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
            down, up = max(0, row[column] - row["low"]), max(0, row["high"] - row[column])
            axis.errorbar(
                row[column],
                index,
                xerr=None if row["low"] != row["low"] else [[down], [up]],
                fmt=marker(index),
                color=colour(index),
                markersize=10,
                capsize=6,
                linewidth=2,
                markeredgecolor="black",
            )
        axis.set_yticks(range(len(table)), [shorten(name) for name in table[by]])
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.grid(axis="y", visible=False)
    return result(ax, axis)


def memory(fits: Iterable[Fit], dark: bool = False, *, ax: Axes | None = None) -> Drawn:
    """What each model needs of the memory, part by part; takes results of ``will_it_fit``.

    Examples:
        >>> slmlab.plots.memory([slmlab.will_it_fit(name) for name in names])
    """
    fits = list(fits)
    parts = [
        ("weights", [fit.weights for fit in fits]),
        ("KV cache", [fit.kv_cache or 0 for fit in fits]),
        ("overhead", [fit.overhead for fit in fits]),
    ]
    lengths = sorted({f"{fit.num_ctx:,}" for fit in fits})
    note = f"Computed for {', '.join(lengths)} tokens of context."
    total = {fit.model: fit.needed / hardware.GIB for fit in fits}
    alt = f"What models need in memory, as weights, KV cache and overhead: {words(total, ' GiB')}"
    with canvas(ax, (9, 2.2 + 0.55 * len(fits)), dark=dark, note=note, alt=alt) as axis:
        left = [0.0] * len(fits)
        for index, (name, sizes) in enumerate(parts):
            widths = [size / hardware.GIB for size in sizes]
            axis.barh(
                range(len(fits)),
                widths,
                left=left,
                label=name,
                color=COLOURS[index],
                hatch=HATCHES[index],
                edgecolor="black",
                height=0.6,
            )
            left = [start + width for start, width in zip(left, widths, strict=True)]
        free = max((fit.available for fit in fits), default=0) / hardware.GIB
        if free < 8 * max(left, default=0):
            axis.axvline(free, linestyle="--", color="#D55E00", label="free now")
        axis.set_yticks(range(len(fits)), [shorten(fit.model) for fit in fits])
        axis.invert_yaxis()
        axis.set_xlabel("GiB")
        axis.grid(axis="y", visible=False)
        axis.set_title("What a model needs in memory")
        legend(ax, axis, "outside upper right")
    return result(ax, axis)


def context_latency(frame: pd.DataFrame, dark: bool = False, *, ax: Axes | None = None) -> Drawn:
    """Time to first token against the length of the prompt in tokens, by model.

    Prompts that the server had read before, or cut, are left out: they look too fast.

    Raises:
        SlmlabError: no prompt is left.

    Examples:
        >>> slmlab.plots.context_latency(frame)
    """
    need(frame, "model", "flags", "prompt_fresh", "truncated", "prompt_tokens", "ttft_s")
    timed = _timed(frame)
    timed = timed[timed["prompt_fresh"].fillna(True).astype(bool) & timed["truncated"].ne(True)]
    if timed.empty:
        raise SlmlabError(
            "There is no run whose prompt was read for the first time and as a whole; look at the "
            "columns `prompt_fresh` and `truncated`."
        )
    note = flagged(f"Dots are runs with prompts not read before ({_counts(timed)}).", frame)
    return lines(
        timed,
        "prompt_tokens",
        "ttft_s",
        by="model",
        xlabel="Prompt, tokens",
        note=note,
        ylabel="Time to first token, s (less is better)",
        title="How long a longer prompt takes to read",
        dark=dark,
        ax=ax,
    )

"""Every figure: one style, light or dark, colours that colour-blind readers tell apart, n stated.

Each function takes a table and returns a matplotlib figure; at its foot stands what the bars mean
and how many runs carry a flag. ``dark=True`` is for a dark page or slide. In a notebook each figure
has its alternative text for those who do not see it: what is drawn, and its numbers in words.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmlab import hardware
from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.run import results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from slmlab.models.fit import Fit


# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), without the yellow that is hard to see
# on white; the marker tells models apart without colour.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx")


@contextlib.contextmanager
def _figure(
    width: float, height: float, dark: bool, note: str, alt: str, **more: Any
) -> Iterator[tuple]:
    """A figure in the house's style, with a note at its foot; shown once, by who returns it.

    ``alt`` goes along as the picture's alternative text, which nbconvert and JupyterLab put there.
    """
    import matplotlib.pyplot as plt

    ink, paper = ("#e8e8e8", "#1b1b1f") if dark else ("#1a1a1a", "#ffffff")
    style = {
        "font.size": 12,
        "axes.titlesize": 13,
        "figure.titlesize": 14,
        "legend.fontsize": 11,
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "savefig.facecolor": paper,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "figure.dpi": 100,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained", **more)
        yield figure, axes
        figure.supxlabel(note, fontsize=10, alpha=0.85, x=0.01, ha="left")
        figure._repr_mimebundle_ = functools.partial(_described, alt)
        plt.close(figure)


def _described(alt: str, *_: Any, **__: Any) -> tuple[dict, dict]:
    """What IPython shows of a figure beside its picture."""
    return {"text/plain": alt}, {"image/png": {"alt": alt}}


def _words(values: Mapping[Any, Any] | pd.Series, unit: str = "") -> str:
    """Names and numbers in a row, for alternative texts."""
    pairs = (f"{_short(name)} {_number(value)}{unit}" for name, value in dict(values).items())
    return "; ".join(pairs) + "."


def _number(value: float) -> str:
    if value is None or value != value:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _note(meaning: str, frame: pd.DataFrame, of_times: bool = True) -> str:
    flagged = results.warnings(frame, of_times)
    return "\n".join(filter(None, (meaning, f"Flagged: {flagged}." if flagged else "")))


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    good = results.comparable(frame)
    if good.empty:
        raise SlmlabError(
            "There is no run whose times may be compared (finished, warm, measured alone); look at "
            "the column `flags`. compare(…, timing=True) measures one request at a time."
        )
    return good


def _names(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["model"]))


def _counts(frame: pd.DataFrame) -> str:
    runs = frame.groupby("model").size()
    low, high = runs.min(), runs.max()
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def speed(frame: pd.DataFrame, dark: bool = False) -> Figure:
    """Tokens per second and time to first token by model: each run a dot, the median a bar.

    Takes what ``slmlab.compare`` returns; runs that failed, were cold or not alone are left out.

    Raises:
        SlmlabError: there is no run to show.
    """
    good = _timed(frame)
    names = _names(good)
    note = _note(f"Dots are runs ({_counts(good)} for each model), bars are medians.", frame)
    medians = good.groupby("model", sort=False)[["tokens_per_s", "ttft_s"]].median()
    alt = (
        f"Speed by model. Median tokens per second: {_words(medians['tokens_per_s'])} Median time "
        f"to first token: {_words(medians['ttft_s'], ' s')}"
    )
    size = (10, 1.9 + 0.6 * len(names))
    with _figure(*size, dark, note, alt, ncols=2, sharey=True) as (figure, axes):
        _dots(axes[0], good, "tokens_per_s", "Tokens per second (more is better)", names)
        _dots(axes[1], good, "ttft_s", "Time to first token, s (less is better)", names)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        figure.suptitle("Speed by model")
    return figure


def _dots(axis: Axes, frame: pd.DataFrame, column: str, label: str, names: list[str]) -> None:
    for row, name in enumerate(names):
        values = frame.loc[frame["model"] == name, column].dropna().astype(float)
        if values.empty:
            continue
        colour = COLOURS[row % len(COLOURS)]
        axis.barh(row, values.median(), color=colour, alpha=0.4, height=0.5)
        spread = [row + 0.16 * ((index % 5) - 2) / 2 for index in range(len(values))]
        axis.plot(
            values,
            spread,
            MARKERS[row % len(MARKERS)],
            color=colour,
            markeredgecolor="black",
            markersize=7,
        )
    axis.set_xlabel(label)
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)


def quality_speed(frame: pd.DataFrame, score: str = "score", dark: bool = False) -> Figure:
    """Quality against speed: each model's mean score and median tokens per second.

    The line joins the Pareto front: the models that no other one beats in both.

    Raises:
        SlmlabError: there are no scores or no runs whose times may be compared.
    """
    quality = statistics.means(frame, score).set_index("model")
    speeds = _timed(frame).groupby("model", sort=False)["tokens_per_s"].median()
    points = quality.join(speeds, how="inner").dropna(subset=["mean", "tokens_per_s"])
    front = pareto_front(list(zip(points["tokens_per_s"], points["mean"], strict=True)))
    note = _note(
        "Bars are 95 % intervals of the mean score over prompts "
        f"(n = {points['n'].min():.0f}). The dashed line is the Pareto front.",
        frame,
    )
    alt = (
        f"Quality against speed. Mean {score}: {_words(points['mean'])} Tokens per second: "
        f"{_words(points['tokens_per_s'])}"
    )
    with _figure(8, 5.4, dark, note, alt) as (_, axis):
        if len(front) > 1:
            best = points.iloc[front].sort_values("tokens_per_s")
            axis.plot(best["tokens_per_s"], best["mean"], "--", color="#8C8C8C", zorder=1)
        for index, (name, row) in enumerate(points.iterrows()):
            colour = COLOURS[index % len(COLOURS)]
            _with_bar(axis, row["tokens_per_s"], row, colour, MARKERS[index % len(MARKERS)])
            axis.annotate(
                f" {name}",
                (row["tokens_per_s"], row["mean"]),
                xytext=(8, 6),
                textcoords="offset points",
            )
        axis.set_xlabel("Tokens per second (more is better)")
        axis.set_ylabel(f"Mean {score} (more is better)")
        axis.set_xlim(0, points["tokens_per_s"].max() * 1.35)
        axis.set_title("Quality against speed")
    return axis.figure


def _with_bar(axis: Axes, x: float, row: pd.Series, colour: str, marker: str) -> None:
    down, up = max(0, row["mean"] - row["low"]), max(0, row["high"] - row["mean"])
    axis.errorbar(
        x,
        row["mean"],
        yerr=None if row["low"] != row["low"] else [[down], [up]],
        fmt=marker,
        color=colour,
        markersize=10,
        capsize=5,
        linewidth=2,
        markeredgecolor="black",
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The positions of the points that no other point equals or beats in both (more is better)."""
    return [
        index
        for index, (x, y) in enumerate(points)
        if not any(ox >= x and oy >= y and (ox, oy) != (x, y) for ox, oy in points)
    ]


def heatmap(frame: pd.DataFrame, score: str = "score", dark: bool = False) -> Figure:
    """Mean scores, models × tasks, the number in each field (needs a column ``task``)."""
    table = statistics.means(frame, score, by=["model", "task"])
    means = table.pivot(index="model", columns="task", values="mean")
    counts = table.pivot(index="model", columns="task", values="n")
    means, counts = means.loc[_names(frame)], counts.loc[_names(frame)]
    note = _note("Each field: the mean score and the number of prompts behind it.", frame, False)
    width = 3.2 + 1.15 * len(means.columns)
    rows = (f"{name}: {_words(row)}" for name, row in means.iterrows())
    alt = f"Mean {score} by model and task. {' '.join(rows)}"
    with _figure(width, 2.2 + 0.75 * len(means), dark, note, alt) as (figure, axis):
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
        axis.set_yticks(range(len(means)), means.index)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        figure.colorbar(image, label=f"Mean {score}")
        axis.set_title("Score by model and task")
    return figure


def scores(
    frame: pd.DataFrame, score: str = "score", by: str = "model", dark: bool = False
) -> Figure:
    """The mean score of each model (or template, …) with its 95 % interval."""
    table = statistics.means(frame, score, by)
    note = _note(
        f"Bars are 95 % intervals over prompts (n = {table['n'].min():.0f}). Where two overlap, a "
        "paired test\nmay still tell them apart (slmlab.statistics.paired).",
        frame,
        False,
    )
    return _intervals(table, by, "mean", f"Mean {score} (more is better)", note, dark)


def ratings(table: pd.DataFrame, dark: bool = False) -> Figure:
    """Bradley–Terry ratings with their intervals; takes what ``slmlab.votes.ratings`` returns."""
    note = f"Bars are 95 % bootstrap intervals; n = {table['votes'].sum() // 2} votes."
    return _intervals(table, "model", "rating", "Rating (1000 is the mean)", note, dark)


def _intervals(
    table: pd.DataFrame, by: str, column: str, label: str, note: str, dark: bool
) -> Figure:
    ranges = (
        f"{_short(row[by])} {_number(row[column])} ({_number(row['low'])} to "
        f"{_number(row['high'])})"
        for row in table.to_dict("records")
    )
    alt = f"{label}, with 95 % intervals: {'; '.join(ranges)}."
    with _figure(9, 1.8 + 0.55 * len(table), dark, note, alt) as (figure, axis):
        for index, row in enumerate(table.to_dict("records")):
            down, up = max(0, row[column] - row["low"]), max(0, row["high"] - row[column])
            axis.errorbar(
                row[column],
                index,
                xerr=None if row["low"] != row["low"] else [[down], [up]],
                fmt=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                markersize=10,
                capsize=6,
                linewidth=2,
                markeredgecolor="black",
            )
        axis.set_yticks(range(len(table)), [_short(name) for name in table[by]])
        axis.set_ylim(len(table) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.grid(axis="y", visible=False)
    return figure


def _short(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 40 else line[:39] + "…"


def memory(fits: Iterable[Fit], dark: bool = False) -> Figure:
    """What each model needs of the memory, part by part; takes results of ``will_it_fit``."""
    fits = list(fits)
    parts = [
        ("weights", [fit.weights for fit in fits]),
        ("KV cache", [fit.kv_cache or 0 for fit in fits]),
        ("overhead", [fit.needed - fit.weights - (fit.kv_cache or 0) for fit in fits]),
    ]
    lengths = sorted({f"{fit.num_ctx:,}" for fit in fits})
    note = f"Computed for {', '.join(lengths)} tokens of context."
    total = {fit.model: fit.needed / hardware.GIB for fit in fits}
    alt = f"What models need in memory, as weights, KV cache and overhead: {_words(total, ' GiB')}"
    with _figure(9, 2.2 + 0.55 * len(fits), dark, note, alt) as (figure, axis):
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
        axis.set_yticks(range(len(fits)), [fit.model for fit in fits])
        axis.invert_yaxis()
        axis.set_xlabel("GiB")
        axis.grid(axis="y", visible=False)
        axis.set_title("What a model needs in memory")
        figure.legend(loc="outside upper right", ncols=4)
    return figure


def context_latency(frame: pd.DataFrame, dark: bool = False) -> Figure:
    """Time to first token against the length of the prompt in tokens, by model.

    Prompts that the server had read before, or cut, are left out: they look too fast.
    """
    good = _timed(frame)
    good = good[good["prompt_fresh"].fillna(True).astype(bool) & ~good["truncated"]]
    note = _note(f"Dots are runs with prompts not read before ({_counts(good)}).", frame)
    return lines(
        good,
        "prompt_tokens",
        "ttft_s",
        by="model",
        xlabel="Prompt, tokens",
        note=note,
        ylabel="Time to first token, s (less is better)",
        title="How long a longer prompt takes to read",
        dark=dark,
    )


# Of any table.


def lines(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    xlabel: str,
    ylabel: str,
    by: str | None = None,
    title: str = "",
    note: str = "",
    log_x: bool = False,
    log_y: bool = False,
    dark: bool = False,
) -> Figure:
    """A line with markers through column ``y`` over column ``x``, one for each value of ``by``."""
    groups = [("", frame)] if by is None else list(frame.groupby(by, sort=False))
    parts = []
    for name, rows in groups:
        ends = rows.sort_values(x)[[x, y]].dropna().iloc[[0, -1]].to_numpy()
        (x0, y0), (x1, y1) = ends
        parts.append(
            f"{_short(name)} from {_number(y0)} at {_number(x0)} to {_number(y1)} at {_number(x1)}"
        )
    alt = f"{title or 'Lines'}. {ylabel} over {xlabel}: {'; '.join(parts).strip()}."
    with _figure(8, 4.8, dark, note, alt) as (figure, axis):
        for index, (name, rows) in enumerate(groups):
            rows = rows.sort_values(x)
            axis.plot(
                rows[x],
                rows[y],
                MARKERS[index % len(MARKERS)],
                linestyle="-",
                alpha=0.85,
                color=COLOURS[index % len(COLOURS)],
                label=_short(name),
                markeredgecolor="black",
            )
        _scales(axis, log_x, log_y)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        if by is not None:
            figure.legend(loc="outside lower center", ncols=4)
    return figure


def points(
    frame: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    by: str | None = None,
    note: str = "",
    log_x: bool = False,
    log_y: bool = False,
    dark: bool = False,
) -> Figure:
    """A labelled point for each row without gaps; colour and marker by column ``by``."""
    from adjustText import adjust_text

    known = frame.dropna(subset=[x, y]).astype({x: float, y: float})
    each = (
        f"{row[label]} at {_number(row[x])}, {_number(row[y])}" for row in known.to_dict("records")
    )
    alt = f"{title or 'Points'}. {ylabel} against {xlabel}: {'; '.join(each)}."
    groups = [("", known)] if by is None else list(known.groupby(by, sort=False))
    with _figure(9, 5.6, dark, note, alt) as (figure, axis):
        for index, (name, rows) in enumerate(groups):
            axis.plot(
                rows[x],
                rows[y],
                MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                label=_short(name),
                markersize=9,
                markeredgecolor="black",
            )
        _scales(axis, log_x, log_y)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axis.margins(0.12)
        if by is not None:
            figure.legend(loc="outside lower center", ncols=4)
        figure.draw_without_rendering()
        names = zip(known[x], known[y], known[label], strict=True)
        adjust_text(
            [axis.text(*name, fontsize=10) for name in names],
            ax=axis,
            expand=(1.15, 1.4),
            arrowprops={"arrowstyle": "-", "alpha": 0.5},
        )
    return figure


def bars(
    values: Mapping[str, float] | pd.Series,
    *,
    xlabel: str,
    title: str = "",
    note: str = "",
    log_x: bool = False,
    dark: bool = False,
) -> Figure:
    """A bar for each name, its number at the end; with ``log_x`` from 1 up, as perplexity does."""
    values = dict(values)
    alt = f"{title or 'Bars'}. {xlabel}: {_words(values)}"
    with _figure(9, 1.6 + 0.36 * len(values), dark, note, alt) as (figure, axis):
        drawn = axis.barh(
            range(len(values)),
            list(values.values()),
            color=COLOURS[0],
            edgecolor="black",
            height=0.6,
            alpha=0.8,
        )
        axis.bar_label(drawn, [_number(value) for value in values.values()], padding=4)
        axis.set_yticks(range(len(values)), [_short(name) for name in values])
        axis.invert_yaxis()
        axis.margins(x=0.12, y=0.03)
        axis.grid(axis="y", visible=False)
        if log_x:
            axis.set(xscale="log", xlim=(1, max(values.values()) ** 1.15))
            axis.xaxis.set_major_formatter("{x:,g}")
        axis.set(xlabel=xlabel, title=title)
    return figure


def _scales(axis: Axes, log_x: bool, log_y: bool) -> None:
    for name, is_log in (("x", log_x), ("y", log_y)):
        if is_log:
            axis.set(**{f"{name}scale": "log"})
            getattr(axis, f"{name}axis").set_major_formatter("{x:g}")
    if not log_x and axis.dataLim.xmin >= 0:
        axis.set_xlim(left=0)
    if not log_y and axis.dataLim.ymin >= 0:
        axis.set_ylim(bottom=0)

"""Figures of speed, quality against speed, and memory (see ``slmlab.plots``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from slmlab import hardware
from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.run import results
from slmlab.run.frames import need
from slmlab.show.charts import interval, lines, place_names
from slmlab.show.figure import (
    COLOURS,
    GREY,
    HATCHES,
    VERMILION,
    canvas,
    colour,
    flagged,
    legend,
    marker,
    result,
    shorten,
    words,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from slmlab.models.fit import Fit
    from slmlab.show.figure import Drawn


def speed(frame: pd.DataFrame, *, dark: bool = False, ax: Iterable[Axes] | None = None) -> Drawn:
    """Tokens per second and time to first token by model: each run a dot, the median a bar.

    Takes what ``slmlab.compare`` returns; runs that failed, were cold or not alone are left out.
    Here ``ax`` is a pair of axes: for the speed, and for the time to first token.

    Raises:
        SlmlabError: there is no run to show.

    Examples:
        >>> slmlab.plots.speed(frame)
    """
    need(frame, "model", "flags", "tokens_per_s", "ttft_s")
    timed = _timed(frame)
    names = list(timed["model"].unique())
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
    frame: pd.DataFrame, score: str = "score", *, dark: bool = False, ax: Axes | None = None
) -> Drawn:
    """Quality against speed: each model's mean score and median tokens per second.

    The line joins the Pareto front: the models that no other model beats in both.

    Raises:
        SlmlabError: there are no scores, or no runs whose times may be compared.

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
            axis.plot(best["tokens_per_s"], best["mean"], "--", color=GREY, zorder=1)
        for index, (_, row) in enumerate(models.iterrows()):
            ends = (row["low"], row["high"])
            interval(axis, index, row["tokens_per_s"], row["mean"], y_interval=ends)
        axis.set_xlabel("Tokens per second (more is better)")
        axis.set_ylabel(f"Mean {score} (more is better)")
        axis.set_xlim(0, models["tokens_per_s"].max() * 1.35)
        axis.set_title("Quality against speed")
        place_names(axis, models["tokens_per_s"], models["mean"], map(shorten, models.index))
    return result(ax, axis)


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


def context_latency(frame: pd.DataFrame, *, dark: bool = False, ax: Axes | None = None) -> Drawn:
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
    timed = timed[timed["ttft_s"].notna()]  # an empty answer has no first token
    if timed.empty:
        raise SlmlabError(
            "There is no answer to a prompt that was neither cached nor truncated; look at the "
            "columns `text`, `prompt_fresh` and `truncated`."
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


def memory(fits: Iterable[Fit], *, dark: bool = False, ax: Axes | None = None) -> Drawn:
    """The memory that each model needs, part by part; takes results of ``will_it_fit``.

    Raises:
        SlmlabError: something else was given.

    Examples:
        >>> slmlab.plots.memory([slmlab.will_it_fit(name) for name in names])
    """
    fits = list(fits) if isinstance(fits, Iterable) else [fits]
    for fit in fits:
        if not hasattr(fit, "kv_cache"):
            raise SlmlabError(f"memory() takes what slmlab.will_it_fit(…) returns; got {fit!r}.")
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
            axis.axvline(free, linestyle="--", color=VERMILION, label="free now")
        axis.set_yticks(range(len(fits)), [shorten(fit.model) for fit in fits])
        axis.invert_yaxis()
        axis.set_xlabel("GiB")
        axis.grid(axis="y", visible=False)
        axis.set_title("What a model needs in memory")
        legend(ax, axis, "outside upper right")
    return result(ax, axis)


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    timed = results.comparable(frame)
    if timed.empty:
        raise SlmlabError(
            "There is no run whose times may be compared (finished, warm, measured alone); look at "
            "the column `flags`. compare(…, timing=True) measures one request at a time."
        )
    return timed


def _counts(frame: pd.DataFrame) -> str:
    runs = frame.groupby("model").size()
    low, high = runs.min(), runs.max()
    return f"n = {low}" if low == high else f"n = {low} to {high}"

"""Lines, points and bars of any table, in the style of all figures (see ``slmlab.plots``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from slmlab.run.frames import need
from slmlab.show.figure import (
    BLUE,
    GREY,
    canvas,
    colour,
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

    from slmlab.show.figure import Drawn


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
    ax: Axes | None = None,
) -> Drawn:
    """A line with markers through column ``y`` over column ``x``, one for each value of ``by``.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"bits": [2, 4, 8], "perplexity": [31.0, 13.4, 12.1]})
        >>> slmlab.plots.lines(table, "bits", "perplexity", xlabel="bits", ylabel="perplexity")
    """
    need(frame, x, y, *([] if by is None else [by]))
    groups = [("", frame)] if by is None else list(frame.groupby(by, sort=False))
    parts = []
    for name, rows in groups:
        known = rows.sort_values(x)[[x, y]].dropna().to_numpy()
        if not len(known):
            parts.append(f"{shorten(name)} unknown")
            continue
        (x0, y0), (x1, y1) = known[0], known[-1]
        parts.append(
            f"{shorten(name)} from {number(y0)} at {number(x0)} to {number(y1)} at {number(x1)}"
        )
    alt = f"{title or 'Lines'}. {ylabel} over {xlabel}: {'; '.join(parts).strip()}."
    with canvas(ax, (8, 4.8), dark=dark, note=note, alt=alt) as axis:
        for index, (name, rows) in enumerate(groups):
            rows = rows.sort_values(x)
            axis.plot(
                rows[x],
                rows[y],
                marker(index),
                linestyle="-",
                alpha=0.85,
                color=colour(index),
                label=shorten(name),
                markeredgecolor="black",
            )
        _scales(axis, log_x, log_y)
        _label(axis, xlabel, ylabel, title)
        if by is not None:
            legend(ax, axis, "outside lower center")
    return result(ax, axis)


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
    ends: tuple[str, str] | None = None,
    note: str = "",
    log_x: bool = False,
    log_y: bool = False,
    dark: bool = False,
    ax: Axes | None = None,
) -> Drawn:
    """A labelled point for each row without gaps; colour and marker by column ``by``.

    ``ends`` names two columns with the lower and the upper end of an interval of ``y``.

    Examples:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"name": ["x", "y"], "size": [0.3, 1.2], "score": [0.4, 0.7]})
        >>> slmlab.plots.points(table, "size", "score", "name", xlabel="size (GB)", ylabel="score")
    """
    need(frame, x, y, label, *([] if by is None else [by]), *(ends or ()))
    known = frame.dropna(subset=[x, y]).astype({x: float, y: float})
    each = (
        f"{row[label]} at {number(row[x])}, {number(row[y])}" + _from_to(row, ends)
        for row in known.to_dict("records")
    )
    alt = f"{title or 'Points'}. {ylabel} against {xlabel}: {'; '.join(each)}."
    groups = [("", known)] if by is None else list(known.groupby(by, sort=False))
    # Many names need room.
    height = 5.6 if len(known) <= 12 else 7.5
    with canvas(ax, (9, height), dark=dark, note=note, alt=alt) as axis:
        for index, (name, rows) in enumerate(groups):
            axis.plot(
                rows[x],
                rows[y],
                marker(index),
                linestyle="none",
                color=colour(index),
                label=shorten(name),
                markersize=9,
                markeredgecolor="black",
            )
            if ends:
                below, above = rows[y] - rows[ends[0]], rows[ends[1]] - rows[y]
                spread = [below.clip(lower=0), above.clip(lower=0)]
                axis.errorbar(
                    rows[x], rows[y], yerr=spread, fmt="none", ecolor=colour(index), capsize=6
                )
        _scales(axis, log_x, log_y)
        _label(axis, xlabel, ylabel, title)
        axis.margins(0.12)
        if by is not None:
            legend(ax, axis, "outside lower center")
        place_names(axis, known[x], known[y], map(str, known[label]))
    return result(ax, axis)


def interval(
    axis: Axes,
    index: int,
    x: float,
    y: float,
    *,
    x_interval: tuple[float, float] | None = None,
    y_interval: tuple[float, float] | None = None,
) -> None:
    """A point with a bar for its interval; without one where the interval is not known (NaN).

    Args:
        axis: the axes to draw into.
        index: the position of the series, which decides its colour and marker.
        x: the point's x.
        y: the point's y.
        x_interval: the lower and upper end of the interval of ``x``.
        y_interval: the same for ``y``.
    """
    axis.errorbar(
        x,
        y,
        xerr=_distances(x, x_interval),
        yerr=_distances(y, y_interval),
        fmt=marker(index),
        color=colour(index),
        markersize=10,
        capsize=6,
        linewidth=2,
        markeredgecolor="black",
    )


def _from_to(row: Mapping[Any, Any], ends: tuple[str, str] | None) -> str:
    """The interval of a point in words; nothing where it is not known."""
    if ends is None or math.isnan(row[ends[0]]):
        return ""
    return f" ({number(row[ends[0]])} to {number(row[ends[1]])})"


def _distances(value: float, ends: tuple[float, float] | None) -> list[list[float]] | None:
    """How far an interval reaches below and above a value, as matplotlib takes it."""
    if ends is None or math.isnan(ends[0]):
        return None
    return [[max(0, value - ends[0])], [max(0, ends[1] - value)]]


def place_names(axis: Axes, x: Iterable[float], y: Iterable[float], names: Iterable[str]) -> None:
    """Write a name beside each point without overlaps; call this after everything else is drawn."""
    from adjustText import adjust_text

    # The names can only be placed once the figure has been laid out.
    axis.figure.canvas.figure.draw_without_rendering()
    adjust_text(
        [axis.text(*name, fontsize=10) for name in zip(x, y, names, strict=True)],
        ax=axis,
        expand=(1.15, 1.4),
        arrowprops={"arrowstyle": "-", "color": GREY},
    )


def bars(
    values: Mapping[str, float] | pd.Series,
    *,
    xlabel: str,
    title: str = "",
    note: str = "",
    log_x: bool = False,
    dark: bool = False,
    ax: Axes | None = None,
) -> Drawn:
    """A bar for each name with its number at the end; with ``log_x`` the axis starts at 1.

    Examples:
        >>> slmlab.plots.bars({"8 bits": 12.1, "4 bits": 13.4}, xlabel="perplexity")
    """
    values = dict(values)
    alt = f"{title or 'Bars'}. {xlabel}: {words(values)}"
    size = (9, 1.6 + 0.36 * len(values))
    with canvas(ax, size, dark=dark, note=note, alt=alt) as axis:
        drawn = axis.barh(
            range(len(values)),
            list(values.values()),
            color=BLUE,
            edgecolor="black",
            height=0.6,
            alpha=0.8,
        )
        axis.bar_label(drawn, [number(value) for value in values.values()], padding=4)
        axis.set_yticks(range(len(values)), [shorten(name) for name in values])
        axis.invert_yaxis()
        axis.margins(x=0.12, y=0.03)
        axis.grid(axis="y", visible=False)
        if log_x:
            axis.set(xscale="log", xlim=(1, max(values.values()) ** 1.15))
            axis.xaxis.set_major_formatter("{x:,g}")
        _label(axis, xlabel, "", title)
    return result(ax, axis)


def _label(axis: Axes, xlabel: str, ylabel: str, title: str) -> None:
    """Set the labels and the title that were given; others stay unchanged."""
    given = {"xlabel": xlabel, "ylabel": ylabel, "title": title}
    axis.set(**{name: text for name, text in given.items() if text})


def _scales(axis: Axes, log_x: bool, log_y: bool) -> None:
    from matplotlib.ticker import LogLocator

    for name, is_log in (("x", log_x), ("y", log_y)):
        if is_log:
            axis.set(**{f"{name}scale": "log"})
            along = getattr(axis, f"{name}axis")
            along.set_major_formatter("{x:g}")
            # Less than about two powers of ten have one tick or none: 2 and 5 get numbers then.
            low, high = getattr(axis.dataLim, f"interval{name}")
            if 0 < low < high < 30 * low:
                along.set_minor_locator(LogLocator(subs=(2, 5)))
                along.set_minor_formatter("{x:g}")
    if not log_x and axis.dataLim.xmin >= 0:
        axis.set_xlim(left=0)
    if not log_y and axis.dataLim.ymin >= 0:
        axis.set_ylim(bottom=0)

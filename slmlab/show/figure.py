"""What all figures share: style, colours, the note at the foot, and the alternative text."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from slmlab.run import results

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    # A new figure, or the axes that were passed in.
    Drawn = Figure | Any
    Place = Literal["outside lower center", "outside upper right"]

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/) without its yellow, which is hard to
# see on white. Markers tell models apart without colour.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, GREY = COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8C8C8C",
)
# For style sheets, so that no other file repeats these colours.
CSS_COLOURS = "".join(
    f"--slmlab-{name}: {value}; "
    for name, value in zip(
        ("blue", "orange", "green", "purple", "sky", "vermilion"), COLOURS[:-1], strict=True
    )
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "//", "..", "xx")


def colour(index: int) -> str:
    """The colour of the n-th model or line."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The marker of the n-th model or line."""
    return MARKERS[index % len(MARKERS)]


@contextlib.contextmanager
def canvas(
    ax: Any, size: tuple[float, float], *, dark: bool, note: str, alt: str, ncols: int = 1
) -> Iterator[Any]:
    """The axes to draw on: the given ones unchanged, or those of a new figure.

    A new figure has slmlab's style, a note at its foot and an alternative text, which JupyterLab
    and nbconvert attach to its picture. It is not registered with pyplot, which would show it a
    second time and would lose its own settings with the style (among them ``interactive``, without
    which notebooks show nothing).
    """
    if ax is not None:
        yield ax
        return
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style(dark)):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.supxlabel(note, fontsize=10, alpha=0.85, x=0.01, ha="left")
        yield figure.subplots(ncols=ncols, sharey=ncols > 1)
        show = functools.partial(_shown, figure, alt)
        figure._repr_mimebundle_ = show  # type: ignore[attr-defined]  # read by IPython


def result(ax: Any, axes: Any) -> Drawn:
    """The return value of a plot: the given axes, or the new figure."""
    if ax is not None:
        return ax
    first: Axes = axes.flat[0] if hasattr(axes, "flat") else axes
    return first.figure


def legend(ax: Axes | None, axes: Axes, place: Place) -> None:
    """A legend: outside the axes of a new figure, inside given axes."""
    if ax is None:
        figure: Figure = axes.figure  # type: ignore[assignment]  # it may be part of one
        below = place == "outside lower center" and figure.get_supxlabel()
        # The foot is taken where there is a note.
        figure.legend(loc="outside upper center" if below else place, ncols=4)
    else:
        axes.legend()


def _style(dark: bool) -> dict[Any, Any]:
    ink, paper = ("#e8e8e8", "#1b1b1f") if dark else ("#1a1a1a", "#ffffff")
    return {
        "font.size": 12,
        "axes.titlesize": 13,
        "figure.titlesize": 14,
        "legend.fontsize": 11,
        "figure.facecolor": paper,
        "axes.facecolor": paper,
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
        "figure.dpi": 100,
    }


def _shown(figure: Figure, alt: str, *_: Any, **__: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figure for IPython: its picture, with the alternative text."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return {"text/plain": alt, "image/png": picture.getvalue()}, {"image/png": {"alt": alt}}


# Words.

UNKNOWN = "unknown"


def flagged(meaning: str, frame: pd.DataFrame, of_times: bool = True) -> str:
    """A note: what the marks mean, and how many runs carry a flag."""
    flags = results.warnings(frame, of_times)
    return f"{meaning}\nFlagged: {flags}." if flags else meaning


def words(values: Mapping[Any, Any] | pd.Series, unit: str = "") -> str:
    """Names and numbers as a list in text, for alternative texts."""
    pairs = ((shorten(name), number(value)) for name, value in dict(values).items())
    return "; ".join(f"{name} {n}{'' if n == UNKNOWN else unit}" for name, n in pairs) + "."


def number(value: float | None) -> str:
    """A number with three significant digits, or without decimals from 1,000 on."""
    if value is None or value != value:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def shorten(text: object, width: int = 40) -> str:
    """One line of at most ``width`` characters.

    Cuts anywhere: ``textwrap.shorten`` cuts only between words, and would leave nothing of a long
    model name.
    """
    line = " ".join(str(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"

"""Every figure: one style, colours that colour-blind readers tell apart, n always stated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmlab.errors import SlmlabError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


def speed(frame: pd.DataFrame) -> Figure:
    """Tokens per second and time to first token by model: each run a dot, the median a bar.

    Takes what ``slmlab.compare`` returns. Failed and cold runs are left out.

    Raises:
        SlmlabError: there is no run to show.
    """
    import matplotlib.pyplot as plt

    good = frame[frame["error"].isna() & ~frame["cold"]]
    if good.empty:
        raise SlmlabError("There is no warm, finished run to plot; look at the column `error`.")
    names = list(dict.fromkeys(good["model"]))
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 1.4 + 0.6 * len(names)), sharey=True, layout="constrained"
    )
    _dots(axes[0], good, "tokens_per_s", "Tokens per second (more is better)", names)
    _dots(axes[1], good, "ttft_s", "Time to first token, s (less is better)", names)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    runs = good.groupby("model").size()
    n = f"n = {runs.min()}" if runs.nunique() == 1 else f"n = {runs.min()} to {runs.max()}"
    figure.suptitle(f"Speed by model: dots are runs ({n} for each model), bars are medians")
    # The figure is returned and shown once by the notebook, not twice.
    plt.close(figure)
    return figure


def _dots(axis: Axes, frame: pd.DataFrame, column: str, label: str, names: list[str]) -> None:
    for row, name in enumerate(names):
        values = frame.loc[frame["model"] == name, column].dropna().astype(float)
        if values.empty:
            continue
        colour = COLOURS[row % len(COLOURS)]
        axis.barh(row, values.median(), color=colour, alpha=0.35, height=0.5)
        spread = [row + 0.16 * ((index % 5) - 2) / 2 for index in range(len(values))]
        axis.plot(values, spread, "o", color=colour, markeredgecolor="black", markersize=7)
    axis.set_xlabel(label)
    axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)

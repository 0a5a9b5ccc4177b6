"""All figures, in one style: light or dark, with colours for colour-blind readers, and with n.

Each function takes a table. Without ``ax`` it returns a new matplotlib ``Figure``. A note at its
foot explains the bars and counts the flagged runs; ``dark=True`` is for a dark page or slide. As
the last line of a notebook cell it is shown once, with an alternative text that describes it and
gives its numbers.

With ``ax`` it draws into those axes and returns them, as seaborn's axes-level functions do. Style,
title, note and alternative text are then up to you.

>>> import matplotlib.pyplot as plt
>>> figure, (left, right) = plt.subplots(ncols=2)
>>> left = bars({"one": 1, "two": 2}, xlabel="Size", ax=left)
"""

from slmlab.show.charts import bars, lines, points
from slmlab.show.figure import COLOURS, HATCHES, MARKERS
from slmlab.show.plots_scores import heatmap, ratings, scores
from slmlab.show.plots_speed import context_latency, memory, pareto_front, quality_speed, speed
from slmlab.show.plots_tokens import tokens

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
    "tokens",
]

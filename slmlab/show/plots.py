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

from slmlab.show.charts import bars, lines, points
from slmlab.show.figure import COLOURS, HATCHES, MARKERS
from slmlab.show.plots_scores import heatmap, ratings, scores
from slmlab.show.plots_speed import context_latency, memory, pareto_front, quality_speed, speed

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

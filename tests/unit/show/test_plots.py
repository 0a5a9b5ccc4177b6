"""Plots, without a comparison."""

from __future__ import annotations

import pandas as pd

from slmlab.show import plots


def test_the_pareto_front():
    assert plots.pareto_front([(1, 3), (2, 2), (3, 1), (1, 1), (2, 1.5)]) == [0, 1, 2]
    assert plots.pareto_front([(1, 1), (1, 1)]) == [0, 1]


def test_figures_are_described_in_words():

    frame = pd.DataFrame({"x": [1, 2, 3], "y": [2.0, 3.0, 5.0], "name": ["a", "b", "<c>"]})
    labels = {"xlabel": "Here", "ylabel": "There"}
    for figure, words in (
        (plots.lines(frame, "x", "y", **labels), "from 2 at 1 to 5 at 3"),
        (plots.points(frame, "x", "y", "name", by="name", **labels), "b at 2, 3"),
        (plots.bars({"one": 1, "two": 2345.6}, xlabel="Size"), "one 1; two 2,346."),
        (plots.lines(frame, "x", "y", log_x=True, log_y=True, dark=True, **labels), "Here"),
    ):
        data, metadata = figure._repr_mimebundle_()
        assert words in metadata["image/png"]["alt"]
        assert data["text/plain"] == metadata["image/png"]["alt"]

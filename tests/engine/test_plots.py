"""Plots of real comparisons."""

from __future__ import annotations

import re

import pytest

import slmlab
from slmlab.errors import SlmlabError
from slmlab.show import plots
from tests.support.engines import SMOL


class TestPlots:
    @pytest.mark.parametrize("dark", [False, True])
    def test_each_says_n_and_what_its_bars_mean(self, frame, dark):
        figures = [
            plots.speed(frame, dark=dark),
            plots.quality_speed(frame, dark=dark),
            plots.heatmap(frame, dark=dark),
            plots.scores(frame, dark=dark),
        ]
        for figure in figures:
            note = figure._supxlabel.get_text()
            assert re.search(r"\bn = \d|number of prompts", note)
            assert "answer cut" in note, "flags are in the note"
            assert sum(figure.get_facecolor()[:3]) < 1 if dark else figure.get_facecolor()[0] == 1

    @pytest.mark.alone
    def test_longer_prompts_take_longer_to_read(self, here):
        prompts = [f"{word} " * n for word, n in (("sun", 20), ("moon", 200), ("star", 600))]
        found = slmlab.compare(SMOL, prompts, num_predict=2, quiet=True)
        assert found["ttft_s"].is_monotonic_increasing
        assert found["prompt_fresh"].all()
        (line,) = plots.context_latency(found).axes[0].get_lines()
        assert len(line.get_xdata()) == 3

    def test_nothing_to_plot_is_a_sentence(self, frame):
        with pytest.raises(SlmlabError, match="no run whose times may be compared"):
            plots.speed(frame.assign(cold=True))
        with pytest.raises(SlmlabError, match="Score the answers first"):
            plots.scores(frame.drop(columns="score"))

"""Plots, without a comparison: what is drawn is what stands in the table."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import slmlab
from slmlab.errors import SlmlabError
from slmlab.evaluation import statistics
from slmlab.hardware import GIB
from slmlab.models.fit import Fit
from slmlab.run import results
from slmlab.show import figure, plots
from slmlab.widgets.panel import STYLE
from tests.support.records import record

MODELS = ("small:1b", "large:8b", "hf.co/somebody/a-model-with-a-name-that-is-long-GGUF:Q4_K_M")
LABELS = {"xlabel": "Here", "ylabel": "There"}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Scored runs of three models: two tasks of four prompts; one run is cold, one failed."""
    rng = np.random.default_rng(1)
    rows, columns = [], []
    for model in MODELS:
        for task in ("sums", "colours"):
            for prompt in range(4):
                rows.append(
                    record(
                        model=model,
                        prompt=f"{task} {prompt}",
                        tokens=60,
                        generation_s=float(rng.uniform(1, 6)),
                        ttft_s=float(rng.uniform(0.1, 2)),
                        prompt_tokens=int(rng.integers(5, 500)),
                        prompt_fresh=True,
                    )
                )
                score = float(rng.integers(0, 2))
                columns.append({"prompt_id": prompt, "repeat": 0, "task": task, "score": score})
    rows += [record(model=MODELS[0], cold=True, tokens=60, generation_s=0.1, ttft_s=99.0)]
    rows += [record(model=MODELS[0], error="gone")]
    columns += [{"prompt_id": 9, "repeat": 0, "task": "sums", "score": None}] * 2
    return results.to_frame(rows, columns)


def widths(axes: Axes) -> list[float]:
    """How long the bars are, from the first to the last."""
    return [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]


def dots(axes: Axes) -> list[tuple[float, float]]:
    """The positions of the markers, line by line."""
    return [
        (float(x), float(y))
        for line in axes.get_lines()
        if line.get_marker() in plots.MARKERS
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


class TestValues:
    def test_speed(self, frame):
        timed = frame[frame["error"].isna() & ~frame["cold"]]
        for axes, column in zip(plots.speed(frame).axes, ("tokens_per_s", "ttft_s"), strict=True):
            median = timed.groupby("model", sort=False)[column].median()
            assert widths(axes) == pytest.approx(list(median))
            assert sorted(x for x, _ in dots(axes)) == pytest.approx(sorted(timed[column]))
            for x, y in dots(axes):
                model = MODELS[round(y)]
                assert any(timed.loc[timed["model"] == model, column] == x)
        names = [text.get_text() for text in plots.speed(frame).axes[0].get_yticklabels()]
        assert names == [figure.shorten(name) for name in MODELS]

    def test_scores(self, frame):
        table = statistics.means(frame).set_index("model")
        (axes,) = plots.scores(frame).axes
        shown = dict(zip(MODELS, (x for x, _ in dots(axes)), strict=True))
        assert shown == pytest.approx(dict(table["mean"]))
        ends = [bar.get_segments()[0][:, 0].tolist() for bar in axes.collections]
        assert np.allclose(ends, table[["low", "high"]])

    def test_heatmap(self, frame):
        axes = plots.heatmap(frame).axes[0]
        image = pd.DataFrame(
            axes.get_images()[0].get_array(),
            [text.get_text() for text in axes.get_yticklabels()],
            [text.get_text() for text in axes.get_xticklabels()],
        )
        numbers = {text.get_position(): text.get_text() for text in axes.texts}
        for (model, task), scores in frame.groupby(["model", "task"])["score"]:
            assert image.loc[figure.shorten(model), task] == pytest.approx(scores.mean())
            place = (image.columns.get_loc(task), image.index.get_loc(figure.shorten(model)))
            assert numbers[place] == f"{scores.mean():.2f}\nn = {scores.count()}"

    def test_quality_against_speed(self, frame):
        (axes,) = plots.quality_speed(frame).axes
        timed = frame[frame["error"].isna() & ~frame["cold"]]
        speed = timed.groupby("model", sort=False)["tokens_per_s"].median()
        quality = statistics.means(frame).set_index("model")["mean"]
        expected = [(speed[name], quality[name]) for name in MODELS]
        assert np.allclose(dots(axes), expected)
        front = [expected[place] for place in plots.pareto_front(expected)]
        dashed = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        if len(front) > 1:
            assert np.allclose(dashed[0].get_xydata(), sorted(front))
        else:
            assert not dashed

    def test_context_latency(self, frame):
        read_again = frame.index[3]
        frame.loc[read_again, "prompt_fresh"] = False
        (axes,) = plots.context_latency(frame).axes
        fresh = frame[frame["error"].isna() & ~frame["cold"]].drop(index=read_again)
        expected = sorted(zip(fresh["prompt_tokens"], fresh["ttft_s"], strict=True))
        assert np.allclose(sorted(dots(axes)), expected)
        with pytest.raises(SlmlabError, match="neither cached nor truncated"):
            plots.context_latency(frame.assign(prompt_fresh=False))
        with pytest.raises(SlmlabError, match="neither cached nor truncated"):
            plots.context_latency(frame.assign(truncated=True))
        with pytest.raises(SlmlabError, match="There is no answer to a prompt"):
            plots.context_latency(frame.assign(ttft_s=None))

    def test_memory(self):
        fits = [
            Fit("one", 4096, 1, 2 * GIB, GIB, 4 * GIB, 8 * GIB, "memory"),
            Fit("two", 4096, 4, 5 * GIB, None, 6 * GIB, 8 * GIB, "memory"),
        ]
        (axes,) = plots.memory(fits).axes
        ends: dict[float, float] = {}
        for patch in axes.patches:
            row = patch.get_y() + patch.get_height() / 2
            assert patch.get_x() == pytest.approx(ends.get(row, 0)), "each begins where one ended"
            ends[row] = patch.get_x() + patch.get_width()
        assert [ends[row] * GIB for row in sorted(ends)] == pytest.approx(
            [fit.needed for fit in fits]
        )
        (free,) = [line for line in axes.get_lines() if line.get_label() == "free now"]
        assert set(free.get_xdata()) == {8}

    def test_ratings(self):
        table = pd.DataFrame(
            {
                "model": ["a", "b"],
                "rating": [1100.0, 900.0],
                "low": [1050.0, 800.0],
                "high": [1200.0, 950.0],
                "votes": [30, 30],
            }
        )
        drawn = plots.ratings(table)
        (axes,) = drawn.axes
        assert [x for x, _ in dots(axes)] == [1100, 900]
        ends = [bar.get_segments()[0][:, 0].tolist() for bar in axes.collections]
        assert ends == [[1050, 1200], [800, 950]]
        assert "n = 30 votes" in drawn.get_supxlabel()

    def test_points_with_intervals(self):
        ends = {"low": [0.1, 0.5, math.nan], "high": [0.4, 0.9, math.nan]}
        table = pd.DataFrame({"x": [1, 2, 3], "y": [0.2, 0.7, 0.5], "name": list("abc"), **ends})
        (axes,) = plots.points(table, "x", "y", "name", ends=("low", "high"), **LABELS).axes
        (bars,) = axes.containers[0][2]
        reach = [[float(y) for _, y in segment] for segment in bars.get_segments()]
        assert reach[:2] == [pytest.approx([0.1, 0.4]), pytest.approx([0.5, 0.9])]
        data, _ = axes.figure._repr_mimebundle_()
        assert (
            "a at 1, 0.2 (0.1 to 0.4); b at 2, 0.7 (0.5 to 0.9); c at 3, 0.5." in data["text/plain"]
        )

    def test_lines_points_and_bars(self):
        table = pd.DataFrame({"x": [3, 1, 2], "y": [5.0, 2.0, None], "name": ["c", "a", "b"]})
        (axes,) = plots.lines(table, "x", "y", **LABELS).axes
        assert axes.get_lines()[0].get_xdata().tolist() == [1, 2, 3]
        (axes,) = plots.points(table, "x", "y", "name", **LABELS).axes
        assert sorted(dots(axes)) == [(1, 2), (3, 5)]
        assert {text.get_text() for text in axes.texts} == {"a", "c"}
        (axes,) = plots.bars({"one": 1, "two": 2345.6}, xlabel="Size").axes
        assert widths(axes) == [1, 2345.6]
        assert [text.get_text() for text in axes.texts] == ["1", "2,346"]


def each_plot(frame: pd.DataFrame) -> dict:
    table = pd.DataFrame({"x": [1, 2], "y": [2.0, 3.0], "name": ["a", "b"]})
    fits = [Fit("one", 4096, 1, 2 * GIB, GIB, 4 * GIB, 8 * GIB, "memory")]
    ratings = pd.DataFrame(
        {"model": ["a"], "rating": [1000.0], "low": [900.0], "high": [1100.0], "votes": [2]}
    )
    return {
        "quality_speed": lambda **more: plots.quality_speed(frame, **more),
        "heatmap": lambda **more: plots.heatmap(frame, **more),
        "scores": lambda **more: plots.scores(frame, **more),
        "context_latency": lambda **more: plots.context_latency(frame, **more),
        "memory": lambda **more: plots.memory(fits, **more),
        "ratings": lambda **more: plots.ratings(ratings, **more),
        "lines": lambda **more: plots.lines(table, "x", "y", by="name", **LABELS, **more),
        "points": lambda **more: plots.points(table, "x", "y", "name", **LABELS, **more),
        "bars": lambda **more: plots.bars({"one": 1}, xlabel="Size", **more),
    }


class TestAxes:
    @pytest.fixture(autouse=True)
    def no_figure_is_left(self):
        yield
        plt.close("all")

    @pytest.mark.parametrize("name", each_plot(pd.DataFrame()))
    def test_given_axes_are_drawn_into_and_returned(self, frame, name):
        plot = each_plot(frame)[name]
        mine, (left, right) = plt.subplots(ncols=2)
        left.set_title("Mine")
        assert plot(ax=right) is right
        assert right.has_data() or right.get_images()
        assert not left.has_data()
        assert left.get_title() == "Mine"
        assert not mine.get_supxlabel(), "the note is for figures of our own"
        assert "_repr_mimebundle_" not in vars(mine)
        assert not mine.legends, "a legend of the figure would be about the other axes too"
        alone = plot()
        assert isinstance(alone, Figure)
        drawn = dots(alone.axes[0]), widths(alone.axes[0])
        assert (dots(right), widths(right)) == drawn, "the same is drawn either way"
        assert plt.get_fignums() == [mine.number], "pyplot would show a figure of ours again"

    @pytest.mark.parametrize("name", ["context_latency", "memory"])
    def test_a_legend_does_not_stand_on_the_note(self, frame, name):
        drawn = each_plot(frame)[name]()
        drawn.draw_without_rendering()
        (legend,) = drawn.legends
        (note,) = (text for text in drawn.texts if text.get_text() == drawn.get_supxlabel())
        assert not legend.get_window_extent().overlaps(note.get_window_extent())

    def test_speed_takes_a_pair(self, frame):
        mine, axes = plt.subplots(ncols=2, sharey=True)
        assert plots.speed(frame, ax=axes) is axes
        for drawn, alone in zip(axes, plots.speed(frame).axes, strict=True):
            assert widths(drawn) == widths(alone)
        low, high = axes[0].get_ylim()
        assert low > high, "the first model stands above the others"
        assert not mine.get_suptitle()

    def test_what_fails_leaves_no_figure(self, frame, monkeypatch):
        def fail(*_):
            raise RuntimeError("in the middle")

        monkeypatch.setattr(Axes, "set_title", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            plots.heatmap(frame)
        assert plt.get_fignums() == [], "pyplot would show it below the error"


def test_names_of_models_with_equal_numbers_do_not_overlap():
    rows = [
        record(model=f"model-number-{n}:1b", prompt=f"{p}", tokens=60, generation_s=s, ttft_s=0.5)
        for n, s in enumerate((1.0, 1.0, 1.0, 1.02))
        for p in range(3)
    ]
    columns = [{"prompt_id": n % 3, "repeat": 0, "score": 1.0} for n in range(len(rows))]
    drawn = plots.quality_speed(results.to_frame(rows, columns))
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in drawn.axes[0].texts if text.get_text()]
    assert len(boxes) == 4
    assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))


def test_the_pareto_front():
    assert plots.pareto_front([(1, 3), (2, 2), (3, 1), (1, 1), (2, 1.5)]) == [0, 1, 2]
    assert plots.pareto_front([(1, 1), (1, 1)]) == [0, 1]


def test_long_texts_are_cut():
    assert figure.shorten("one\n two") == "one two"
    assert figure.shorten("x" * 41) == "x" * 39 + "…"
    assert figure.shorten("x" * 40) == "x" * 40


def test_what_is_not_known_has_no_unit():
    assert figure.words({"a": 1.5, "b": float("nan")}, " s") == "a 1.5 s; b unknown."


def test_figures_are_described_in_words():
    frame = pd.DataFrame({"x": [1, 2, 3], "y": [2.0, 3.0, 5.0], "name": ["a", "b", "<c>"]})
    for drawn, words in (
        (plots.lines(frame, "x", "y", **LABELS), "from 2 at 1 to 5 at 3"),
        (plots.points(frame, "x", "y", "name", by="name", **LABELS), "b at 2, 3"),
        (plots.lines(frame.assign(y=None), "x", "y", by="name", **LABELS), "a unknown; b unknown"),
        (plots.bars({"one": 1, "two": 2345.6}, xlabel="Size"), "one 1; two 2,346."),
        (plots.lines(frame, "x", "y", log_x=True, log_y=True, dark=True, **LABELS), "Here"),
    ):
        data, metadata = drawn._repr_mimebundle_()
        assert words in metadata["image/png"]["alt"]
        assert data["text/plain"] == metadata["image/png"]["alt"]


def test_dark_and_ax_are_given_by_name_everywhere():
    drawing = [
        inspect.signature(getattr(plots, name)).parameters
        for name in plots.__all__
        if inspect.isfunction(getattr(plots, name)) and name != "pareto_front"
    ]
    assert len(drawing) == 11
    for parameters in drawing:
        for name in ("dark", "ax"):
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_colours_stand_in_one_file():
    """The style sheets take the palette from there."""
    folder = Path(slmlab.__file__).parent
    found = {
        path.name
        for path in folder.rglob("*")
        if path.suffix in (".py", ".css", ".html", ".js")
        and re.search("|".join(figure.COLOURS), path.read_text(encoding="utf-8"), re.I)
    }
    assert found == {"figure.py"}
    for name in set(re.findall(r"var\(--slmlab-(\w+)\)", STYLE)):
        assert f"--slmlab-{name}: #" in STYLE

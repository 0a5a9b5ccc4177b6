"""The figures of a report, as pictures within its page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slmlab.run import results
from slmlab.show import plots

if TYPE_CHECKING:
    import pandas as pd


# In bytes.
LONGEST_SVG = 80_000


@dataclass(frozen=True)
class Picture:
    """The addresses of a figure for light and for dark pages, and what it shows in words."""

    alt: str
    light: str
    dark: str


def pictures(frame: pd.DataFrame) -> list[Picture]:
    """The figures that a comparison has data for; the first says the most.

    Args:
        frame: a comparison in which each variant is a model (``variants.as_models``).
    """
    scored = "score" in frame and bool(frame["score"].notna().any())
    timed = results.comparable(frame)
    fast = bool(timed["tokens_per_s"].notna().any())
    several = "task" in frame and frame["task"].nunique() > 1
    wanted: list[tuple[bool, Callable[..., Any]]] = [
        (scored and fast, plots.quality_speed),
        (scored, plots.scores),
        (scored and several, plots.heatmap),
        (len(timed) > 0, plots.speed),
    ]
    return [_picture(draw, frame) for holds, draw in wanted if holds]


def _picture(draw: Callable[..., Any], frame: pd.DataFrame) -> Picture:
    light = draw(frame)
    alt = light._repr_mimebundle_()[0]["text/plain"]
    return Picture(alt, _address(light), _address(draw(frame, dark=True)))


def _address(figure: Any) -> str:
    """A figure as a ``data:`` address: as SVG, or as PNG where hundreds of dots make that long."""
    svg = _svg(figure)
    if len(svg) <= LONGEST_SVG:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _svg(figure: Any) -> bytes:
    """A figure without remarks, and with hundredths of a point."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|^.*?(?=<svg)", "", out.getvalue(), flags=re.S
    )
    return re.sub(r"(\d\d\.\d\d)\d+", r"\1", " ".join(text.split())).encode()

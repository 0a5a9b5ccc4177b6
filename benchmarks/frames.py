"""What it costs to draw an answer once: while it is written, and when it is finished.

    python benchmarks/frames.py

Answers of real models, and what no model should write, are drawn as ``slmlab.side_by_side()`` draws
a column: in the kernel from text to HTML, in headless Chromium from HTML to layout. All times are
processor time. While it is written an answer grows in twenty steps; the slowest one counts, each as
the best of three.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import slmlab
from slmlab.run.streaming import Answer
from slmlab.widgets import markup
from slmlab.widgets.panel import STYLE

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support import browser
from tests.support.paths import ROOT

STEPS, REPEATS = 20, 3
PAGE = (
    f"<!doctype html><meta charset='utf-8'>{STYLE}<div class='slmlab'>"
    "<div class='slmlab-columns'><div class='slmlab-card'></div></div></div>"
)
# Take the HTML and lay it out.
DRAW = """html => { document.querySelector('.slmlab-card').innerHTML = html;
    document.body.offsetHeight; }"""


def texts() -> dict[str, str]:
    """What is drawn, by what it is."""
    lines = (ROOT / "tests/corpus/answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["text"] for line in lines]
    count = {
        "formulas": lambda one: one.count("\\") + one.count("$"),
        "code": lambda one: one.count("```") * len(one),
        "a table": lambda one: one.count("|"),
        "the longest": len,
    }
    chosen = {name: max(answers, key=measure) for name, measure in count.items()}
    return chosen | {
        "all fifty in one": "\n\n".join(answers),
        "a thousand formulas": "so $x_1^2 + \\frac{a}{b}$ and " * 1000,
        "a megabyte of $": "$" * 10**6,
    }


def kernel_ms(text: str, state: str) -> tuple[float, str]:
    """Milliseconds to draw an answer, and its HTML."""
    answer = Answer("m", "p", "h", state=state, pieces=[text])
    started = time.process_time()
    html = markup.answer_html(answer)
    return 1000 * (time.process_time() - started), str(html)


def page_ms(page: Any, tools: Any, html: str) -> float:
    """Milliseconds that the page's thread works on it."""

    def worked() -> float:
        metrics = tools.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    before = worked()
    page.evaluate(DRAW, html)
    return 1000 * (worked() - before)


def frame_ms(page: Any, tools: Any, text: str, state: str) -> tuple[float, float]:
    """Milliseconds of a frame in the kernel and in the page."""
    drawn = [kernel_ms(text, state) for _ in range(REPEATS)]
    return min(drawn)[0], min(page_ms(page, tools, html) for _, html in drawn)


def main() -> None:
    """Draw all of them and print Markdown."""
    machine = slmlab.machine()
    print(f"{date.today()}, {machine.cpu}, {machine.cores} cores\n")
    print("| an answer of | characters | while written: kernel | page | finished: kernel | page |")
    print("|---|---|---|---|---|---|")
    with browser.chromium() as chromium:
        page = chromium.new_page()
        page.set_content(PAGE)
        tools = page.context.new_cdp_session(page)
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})
        frame_ms(page, tools, "```python\n1\n```\n$x$", "done")
        for name, text in texts().items():
            written = [
                frame_ms(page, tools, text[: len(text) * step // STEPS], "writing")
                for step in range(1, STEPS + 1)
            ]
            slowest = (max(one[place] for one in written) for place in (0, 1))
            numbers = (*slowest, *frame_ms(page, tools, text, "done"))
            cells = " | ".join(f"{one:.0f} ms" for one in numbers)
            print(f"| {name} | {len(text):,} | {cells} |")


if __name__ == "__main__":
    main()

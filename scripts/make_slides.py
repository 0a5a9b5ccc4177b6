"""Make slides of a lesson: a page for reveal.js, which it gets from the network when it is shown.

    python scripts/make_slides.py notebooks/05_tasks_and_scores.ipynb     # once run and saved
    python scripts/make_slides.py FOLDER/*.ipynb --to OTHER_FOLDER

Each heading begins a slide. What does not fit on it goes on below it, to be reached with the down
arrow: code with what it printed, or what it printed alone. Only what is longer than a page by
itself has to be scrolled.
"""

from __future__ import annotations

import argparse
import base64
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from traitlets.config import Config

# A page in pixels; reveal.js makes it as large as the screen.
WIDTH, HEIGHT = 1240, 800
HIGHEST_PICTURE = 700
CODE_LINE, TEXT_LINE = 24, 32
CODE_WIDTH, TEXT_WIDTH = 104, 110  # characters
MARGIN = 30
OUTPUT_ONLY = "output-only"
STYLE = f"""<style>
.reveal .jp-OutputArea img {{ max-height: {HIGHEST_PICTURE}px; max-width: 100%; margin: 0; }}
</style>"""


def main() -> int:
    """Write the slides of each notebook; returns 1 where one has no outputs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", type=Path, nargs="+", help="run and saved")
    parser.add_argument("--to", type=Path, default=Path(), help="folder for the slides")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    status = 0
    for path in arguments.notebooks:
        book = nbformat.read(path, as_version=4)
        if not any(cell.get("outputs") for cell in book.cells):
            print(f"{path} has no outputs to show: run it, save it, and try again.")
            status = 1
            continue
        target = arguments.to / f"{path.stem}.slides.html"
        target.write_text(slides(book), encoding="utf-8")
        print(target)
    return status


def slides(book: nbformat.NotebookNode) -> str:
    """A lesson with its outputs as a page of slides."""
    book.cells = [part for cell in book.cells for part in parts(cell)]
    used = 0
    for cell in book.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        needed = height(cell)
        if kind == "-" and used and used + needed > HEIGHT:
            kind = "subslide"
        cell.metadata["slideshow"] = {"slide_type": kind}
        if kind != "skip":
            used = needed + (used if kind == "-" else 0)
    settings = Config()
    settings.SlidesExporter.exclude_input_prompt = True
    settings.SlidesExporter.exclude_output_prompt = True
    settings.SlidesExporter.reveal_scroll = True
    settings.SlidesExporter.reveal_width = str(WIDTH)
    settings.SlidesExporter.reveal_height = str(HEIGHT)
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_input_tags = {OUTPUT_ONLY}
    page: str = SlidesExporter(config=settings).from_notebook_node(book)[0]
    return page.replace("</head>", f"{STYLE}</head>", 1)


def parts(cell: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """A cell; its code and its outputs apart, where they do not fit on a page together."""
    if not cell.get("outputs") or height(cell) <= HEIGHT:
        yield cell
        return
    shown = nbformat.from_dict(cell)
    shown.id = nbformat.v4.new_code_cell().id
    shown.metadata["tags"] = [*cell.metadata.get("tags", []), OUTPUT_ONLY]
    if shown.metadata.get("slideshow", {}).get("slide_type") != "skip":
        shown.metadata["slideshow"] = {"slide_type": "-"}
    cell.outputs = []
    yield cell
    yield shown


def height(cell: nbformat.NotebookNode) -> float:
    """About how many pixels a cell takes on a page."""
    if cell.cell_type != "code":
        headings = len(re.findall(r"^#+ ", cell.source, re.MULTILINE))
        return MARGIN + 60 * headings + TEXT_LINE * lines(cell.source, TEXT_WIDTH)
    taken = sum(output_height(one) for one in cell.outputs)
    if OUTPUT_ONLY in cell.metadata.get("tags", []):
        return taken
    return MARGIN + CODE_LINE * lines(cell.source, CODE_WIDTH) + taken


def output_height(output: nbformat.NotebookNode) -> float:
    """About how many pixels an output takes: a picture, a table, a text."""
    data = output.get("data", {})
    if "image/png" in data:
        wide, high = struct.unpack(">II", base64.b64decode(data["image/png"])[16:24])
        return MARGIN + min(HIGHEST_PICTURE, high * min(1, WIDTH / wide))
    if "text/html" in data:
        page = re.sub(r"(?s)<style.*?</style>", "", data["text/html"])
        rows = len(re.findall(r"<tr|<p|<li|<div|<summary", page))
        words = re.sub(r"<[^>]*>", "", page)
        return MARGIN + TEXT_LINE * max(rows, lines(words, TEXT_WIDTH))
    text = output.get("text", data.get("text/plain", ""))
    return MARGIN + CODE_LINE * lines(text, CODE_WIDTH)


def lines(text: str, width: int) -> int:
    """How many lines a text takes."""
    return sum(max(1, math.ceil(len(line) / width)) for line in text.strip().split("\n"))


if __name__ == "__main__":
    raise SystemExit(main())

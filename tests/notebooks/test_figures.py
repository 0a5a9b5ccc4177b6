"""Figures in a notebook: each once, with words for those who do not see it."""

from __future__ import annotations

import base64

import nbformat
from nbclient import NotebookClient

CELLS = (
    "from slmlab import plots",
    "plots.bars({'one': 1, 'two': 2}, xlabel='Size')",
    "figure = plots.bars({'one': 1}, xlabel='Size')",
    "import matplotlib.pyplot as plt\nfigure, ax = plt.subplots()\n"
    "plots.bars({'one': 1}, xlabel='Size', ax=ax)",
    "figure, (left, right) = plt.subplots(ncols=2)\n"
    "plots.bars({'one': 1}, xlabel='Size', ax=left)\n"
    "right = plots.bars({'one': 1}, xlabel='Size', ax=right)",
)


def test_each_is_shown_once(tmp_path):
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        [output for output in cell.outputs if "image/png" in output.get("data", {})]
        for cell in book.cells
    ]
    assert [len(pictures) for pictures in shown] == [0, 1, 0, 1, 1]
    (ours,) = shown[1]
    assert base64.b64decode(ours.data["image/png"]).startswith(b"\x89PNG")
    assert ours.data["text/plain"] == "Bars. Size: one 1; two 2."
    assert ours.metadata["image/png"]["alt"] == "Bars. Size: one 1; two 2."

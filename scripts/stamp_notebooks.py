"""Stamp the badge, the bootstrap cell and the health check into every notebook.

The project's public address stands in pyproject.toml, under [project.urls], and nowhere else; this
copies it from there. Run it after changing the address or adding a notebook:

    python scripts/stamp_notebooks.py            # write
    python scripts/stamp_notebooks.py --check    # exit 1 where a notebook is not as stamped
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
# ruff: noqa: E501
BOOTSTRAP = """\
try:
    import slmlab
except ImportError:  # on Colab: from an uploaded zip, from Drive, or from the project's address
    %pip install --quiet $(ls -d slmlab*.zip drive/MyDrive/slmlab* 2>/dev/null | head -1 | grep . || echo {archive})
"""
HEALTH = """\
import slmlab

slmlab.start()
names = slmlab.ready()
print("Models:", ", ".join(names))
"""
NOT_PUBLISHED = (
    "\n\n*The project is not published yet. On Colab, first upload it as `slmlab.zip` (folder icon "
    "on the left), or mount Drive with the folder `slmlab` in it; the next cell finds either.*"
)


def address() -> str:
    """The public address of the project, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = re.findall(r'^Repository = "(https://github\.com/[^"]+)"$', text, re.MULTILINE)
    return found


def stamped(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with its stamped cells as they should be."""
    repository = address().removeprefix("https://github.com/")
    badge = (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name})"
    )
    texts = {
        "badge": badge + (NOT_PUBLISHED if "_" in repository.split("/")[0] else ""),
        "bootstrap": BOOTSTRAP.format(archive=f"{address()}/archive/refs/heads/main.zip").rstrip(),
        "health": HEALTH.rstrip(),
    }
    for cell in notebook.cells:
        if cell.id in texts:
            cell.source = texts.pop(cell.id)
    if texts:
        raise SystemExit(f"{name} has no cell with the id {', '.join(texts)}")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def main() -> int:
    """Stamp all notebooks, or check that they are."""
    wrong = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        notebook = stamped(nbformat.reads(before, as_version=4), path.name)
        after = nbformat.writes(notebook) + "\n"
        if before == after:
            continue
        wrong.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(after, encoding="utf-8")
    verb = "not as stamped" if "--check" in sys.argv else "stamped"
    print("\n".join(f"{name}: {verb}" for name in wrong) or "all notebooks are as stamped")
    return int(bool(wrong) and "--check" in sys.argv)


if __name__ == "__main__":
    raise SystemExit(main())

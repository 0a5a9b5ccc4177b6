"""Render the course: every notebook with its outputs, and the documents, as one web site.

    python scripts/build_docs.py                       # runs all notebooks first (20 minutes)
    python scripts/build_docs.py --executed FOLDER     # takes the teacher's copies from a run
    python scripts/build_docs.py --links               # asks every outside link, needs a network

The site is in ``build/course/html``; internal links that lead nowhere are errors.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import api_reference
import nbformat

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/course"
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
PICTURE = """\
```{{image}} docs/pictures/side-by-side-{theme}.png
:alt: Two models answer the same question side by side, one of them at two temperatures, with \
formulas and their speed below each answer
:class: only-{theme}
```
"""
INDEX = """\
# Meet small language models by running them

slmlab is a course of {count} notebooks and a library. You put questions to real small language
models on the machine in front of you, see them answer side by side, measure them, open them up, and
train one. What you type stays on the machine.

{pictures}

```{{container}} doors
- [Take the course](notebooks/00_start_here.ipynb) ten minutes to the first answer: no account, no
  key, no GPU
- [Teach it](docs/instructor-guide.md) lesson plans, discussion questions, and how thirty people
  share one host
- [Use the library](reference/index.rst) compare models on a task of your own, and say how sure you
  are
```

## The course

Every figure and every answer in these pages came out of a run; your own run gives your own numbers.

```{{container}} course
{table}
```

```{{toctree}}
:caption: The course
:hidden:
{notebooks}
```

```{{toctree}}
:caption: For teachers
:hidden:
docs/instructor-guide
docs/compared
```

```{{toctree}}
:caption: Reference
:hidden:
docs/comparing
docs/widgets
reference/index
docs/performance
docs/reliability
docs/architecture
```
"""


def main() -> int:
    """Write the sources and run Sphinx; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--executed", type=Path, help="folder with the teacher's copies, run")
    parser.add_argument("--links", action="store_true", help="check the links to other sites")
    arguments = parser.parse_args()
    source = BUILD / "source"
    shutil.rmtree(source, ignore_errors=True)
    (source / "notebooks").mkdir(parents=True)
    executed = arguments.executed or run_all(BUILD / "executed")
    names = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = with_outputs(path, executed / path.name)
        nbformat.write(book, source / "notebooks" / path.name)
        names.append(f"notebooks/{path.stem}")
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("conf.py", "_*"))
    table = (ROOT / "notebooks/README.md").read_text(encoding="utf-8").split("\n\n", 2)[2]
    table = table.split("\n\n")[0].replace("](", "](notebooks/")
    pictures = "\n".join(PICTURE.format(theme=theme) for theme in ("light", "dark"))
    index = INDEX.format(
        count=len(names), pictures=pictures, table=table.strip(), notebooks="\n".join(names)
    )
    (source / "index.md").write_text(index, encoding="utf-8")
    (source / "reference").mkdir()
    (source / "reference/index.rst").write_text(api_reference.index(), encoding="utf-8")
    for area in api_reference.AREAS:
        text = api_reference.page(area)
        (source / "reference" / f"{area.page}.rst").write_text(text, encoding="utf-8")
    builder = "linkcheck" if arguments.links else "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder]
    done = subprocess.run([*command, "-c", ROOT / "docs", source, BUILD / builder])
    if not done.returncode:
        print(f"Built: {BUILD / builder}")
    return done.returncode


def run_all(folder: Path) -> Path:
    """Run the teacher's copies, in this Python."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks/teacher", folder)
    for path in sorted(folder.glob("*.ipynb")):
        print("Running", path.name, flush=True)
        run = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--inplace"]
        subprocess.run([*run, "--execute", "--log-level=WARN", path], check=True)
    return folder


def with_outputs(student: Path, teacher: Path) -> nbformat.NotebookNode:
    """The student's notebook with the outputs of the same cells in the teacher's copy."""
    book, run = (nbformat.read(path, as_version=4) for path in (student, teacher))
    models = run.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    given = {
        cell.id: cell.outputs
        for cell in run.cells
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", [])
    }
    for cell in book.cells:
        if cell.cell_type != "code":
            cell.source = cell.source.replace("](README.md)", "](../index.md)")
            continue
        cell.outputs = [one for output in given.get(cell.id, []) for one in still(output, models)]
        for output in cell.outputs:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt, "width": "100%"}}
    # A badge that leads nowhere yet would only confuse.
    book.cells = [cell for cell in book.cells if cell.id != "badge"]
    return book


def still(output: nbformat.NotebookNode, models: dict[str, Any]) -> list[nbformat.NotebookNode]:
    """What a widget shows without its page: where its sliders stand, and what it drew for that.

    Nothing of a progress bar, which would stand at zero for ever.
    """
    view = output.get("data", {}).get(VIEW)
    if view is None or "text/html" in output.data:
        return [output]
    states, wanted = [], [view["model_id"]]
    while wanted:
        state = models.get(wanted.pop(0), {}).get("state", {})
        states.append(state)
        wanted += [child.removeprefix("IPY_MODEL_") for child in state.get("children", [])]
    drawn = [one for state in states for one in state.get("outputs", [])]
    sliders = [state for state in states if "readout" in state]
    places = " · ".join(f"{one['description']} {one['value']:g}" for one in sliders)
    note = nbformat.v4.new_output("display_data", {"text/html": f"<p>{places}</p>"})
    return [note, *drawn] if drawn else []


if __name__ == "__main__":
    raise SystemExit(main())

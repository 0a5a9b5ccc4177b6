"""Make the students' notebooks from the teacher's, and write the cells that all of them share.

The teacher's copies in ``notebooks/teacher/`` are the source: prose, cells, exercises with their
solutions. Everything in ``notebooks/`` is made from them. In a code cell tagged ``exercise``, a
student gets the lines that begin with ``#:`` (as code) in place of what stands between the markers:

    #: answer = ...  # a record of slmlab.ask
    ### BEGIN SOLUTION
    answer = slmlab.ask(names[0], "Why is the sky blue?")
    ### END SOLUTION
    slmlab.check("01.1", answer)

What was taken out, with the Markdown cells tagged ``solution``, goes into one folded cell behind
the last exercise. Markdown cells tagged ``teacher`` (what came out, what goes wrong in class, what to
answer) stay with the teacher. The project's public address stands in pyproject.toml and nowhere else.

    python scripts/make_notebooks.py            # write
    python scripts/make_notebooks.py --check    # exit 1 if a notebook is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
STUDENT, TEACHER = ROOT / "notebooks", ROOT / "notebooks/teacher"
# ruff: noqa: E501
BOOTSTRAP = """\
try:
    import slmlab
except ImportError:  # on Colab: from an uploaded zip, from Drive, or from the project's address
    from glob import glob

    archive = "{archive}"
    found = glob("slmlab*.zip") + glob("drive/MyDrive/slmlab*")
    place = f"{{found[0]}}[embedded]" if found else f"slmlab[embedded] @ {{archive}}"
    %pip install --quiet "{{place}}"
"""
HEALTH = """\
import slmlab

slmlab.start()
names = slmlab.ready()
print("Models:", ", ".join(names))
"""
# These open the file of SmolLM2 themselves, so the server has to hold no models for them.
WITHOUT_MODELS = ("07", "08", "09", "11")
HEALTH_WITHOUT_MODELS = """\
import slmlab

slmlab.start()
"""
NOT_PUBLISHED = (
    "\n\n*The project is not published yet. On Colab, first upload it as `slmlab.zip` (folder icon "
    "on the left), or mount Drive with the folder `slmlab` in it; the next cell finds either.*"
)
SOLUTION = re.compile(
    r"^ *### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n?", re.MULTILINE | re.DOTALL
)


def address() -> str:
    """The public address of the project, from pyproject.toml."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = re.findall(r'^Repository = "(https://github\.com/[^"]+)"$', text, re.MULTILINE)
    return found


def published() -> bool:
    """Whether that address is a real one: no account's name at GitHub has an underscore."""
    return "_" not in address().removeprefix("https://github.com/").split("/")[0]


def reference() -> str:
    """What the first cell installs from: the tag of this release; before there is one, main."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "([^"]+)"$', text, re.MULTILINE)
    return f"refs/tags/v{version}" if published() else "refs/heads/main"


def badge(place: str) -> str:
    """The button that opens a notebook in Colab; ``place`` is its path in notebooks/."""
    repository = address().removeprefix("https://github.com/")
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{repository}/blob/main/notebooks/{place})"
    )


def stamped(notebook: nbformat.NotebookNode, place: str) -> nbformat.NotebookNode:
    """The notebook with its stamped cells as they should be; ``place`` is its path in notebooks/."""
    without = Path(place).name.startswith(WITHOUT_MODELS)
    archive = f"{address()}/archive/{reference()}.zip"
    texts = {
        "badge": badge(place) + ("" if published() else NOT_PUBLISHED),
        "bootstrap": BOOTSTRAP.format(archive=archive).rstrip(),
        "health": (HEALTH_WITHOUT_MODELS if without else HEALTH).rstrip(),
    }
    for cell in notebook.cells:
        if cell.id in texts:
            cell.source = texts.pop(cell.id)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.metadata["slideshow"] = {"slide_type": _slide(cell)}
    if texts:
        raise SystemExit(f"{place} has no cell with the id {', '.join(texts)}")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def _slide(cell: nbformat.NotebookNode) -> str:
    """A cell's slide type, for `jupyter nbconvert --to slides`."""
    if cell.id in ("badge", "bootstrap") or "teacher" in cell.metadata.get("tags", []):
        return "skip"
    return (
        "slide"
        if re.match(r"#{1,2} ", cell.source)
        else "subslide"
        if "Exercise" in cell.source
        else "-"
    )


def student(teacher: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The student's copy: scaffolds in place of solutions, which are folded away at the end."""
    cells, folded, last = [], [], 0
    for cell in teacher.cells:
        tags = cell.metadata.get("tags", [])
        if "teacher" in tags:
            continue
        if "solution" in tags:
            folded.append(cell.source)
            continue
        copy = nbformat.from_dict(cell)
        if "exercise" in tags:
            (solved,) = SOLUTION.findall(cell.source)
            (number,) = re.findall(r'slmlab\.check\("\d\d\.(\d)"', cell.source)
            folded.append(f"**{number}.**\n\n```python\n{solved.rstrip()}\n```")
            copy.source = re.sub(
                r"^( *)#: ?", r"\1", SOLUTION.sub("", cell.source), flags=re.MULTILINE
            )
            last = len(cells) + 1
        cells.append(copy)
    text = "\n\n".join(folded)
    head = "<details><summary>Solutions (open after you have tried)</summary>"
    cell = nbformat.v4.new_markdown_cell(f"{head}\n\n{text}\n\n</details>", id="solutions")
    cells.insert(last, cell)
    book = nbformat.v4.new_notebook(cells=cells)
    book.nbformat_minor = teacher.nbformat_minor
    return stamped(book, name)


def made() -> dict[Path, str]:
    """Every notebook as it should be, and README with its badge."""
    readme = ROOT / "README.md"
    button = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
    books = {
        readme: button.sub(badge("00_start_here.ipynb"), readme.read_text(encoding="utf-8")),
    }
    for path in sorted(TEACHER.glob("*.ipynb")):
        teacher = nbformat.read(path, as_version=4)
        for target, book in (
            (path, stamped(teacher, f"teacher/{path.name}")),
            (STUDENT / path.name, student(teacher, path.name)),
        ):
            books[target] = nbformat.writes(book) + "\n"
    return books


def main() -> int:
    """Write all notebooks, or check that they are up to date."""
    check = "--check" in sys.argv
    books = made()
    wrong = [path for path in STUDENT.glob("*.ipynb") if path not in books]
    wrong += [
        path
        for path, text in books.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in wrong:
        if not check and path in books:
            path.write_text(books[path], encoding="utf-8")
        verb = "out of date" if check or path not in books else "written"
        print(f"{path.relative_to(ROOT)}: {verb}")
    if not wrong:
        print("all notebooks are up to date")
    return int(bool(wrong) and check)


if __name__ == "__main__":
    raise SystemExit(main())

"""Every notebook, found by glob: how it is built."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import nbformat
import pytest

import slmlab
from scripts import make_notebooks
from tests.support.paths import NOTEBOOKS, ROOT, TEACHERS
from tests.support.processes import run

LONGEST_CELL = 12

NAMES = [path.name for path in NOTEBOOKS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "notebook" in metafunc.fixturenames:
        metafunc.parametrize("notebook", NOTEBOOKS, ids=NAMES)
    if "teachers" in metafunc.fixturenames:
        metafunc.parametrize("teachers", TEACHERS, ids=[path.name for path in TEACHERS])


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


class TestForm:
    def test_the_course_is_whole(self):
        assert [name[:2] for name in NAMES] == [f"{n:02}" for n in range(13)]
        assert [path.name for path in TEACHERS] == NAMES

    def test_it_opens_as_all_do(self, notebook):
        title, badge, bootstrap, health = read(notebook).cells[:4]
        assert title.source.startswith("# ")
        assert "**You will**" in title.source
        assert re.search(r"\*\*Needs\*\* about \d+ minutes", title.source)
        assert (badge.id, bootstrap.id, health.id) == ("badge", "bootstrap", "health")
        assert f"/notebooks/{notebook.name})" in badge.source
        assert len(bootstrap.source.splitlines()) <= 9

    def test_once_published_it_installs_the_release_and_not_whatever_main_has(self, monkeypatch):
        monkeypatch.setattr(make_notebooks, "address", lambda: "https://github.com/who/slmlab")
        book = make_notebooks.stamped(read(TEACHERS[0]), "00.ipynb")
        texts = {cell.id: cell.source for cell in book.cells}
        tag = f"https://github.com/who/slmlab/archive/refs/tags/v{slmlab.__version__}.zip"
        assert f'archive = "{tag}"' in texts["bootstrap"]
        assert "not published" not in texts["badge"]

    def test_the_students_copies_are_made_from_the_teachers(self):
        run(sys.executable, ROOT / "scripts/make_notebooks.py", "--check")

    def test_what_is_for_teachers_stays_in_their_copies(self, notebook):
        teachers = read(ROOT / "notebooks/teacher" / notebook.name).cells
        notes = [cell for cell in teachers if "teacher" in cell.metadata.get("tags", [])]
        text = "\n".join(cell.source for cell in notes)
        assert re.search(r"\b20\d\d-\d\d-\d\d\b", text), "a result has a date"
        assert "in class" in text.lower()
        students = "\n".join(cell.source for cell in read(notebook).cells)
        for paragraph in text.split("\n"):
            assert len(paragraph) < 3 or paragraph not in students
        assert "For teachers" not in students

    def test_outputs_are_stripped_and_cells_are_short(self, notebook):
        for cell in read(notebook).cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None
                # Black's way to write calls takes more lines than an author does.
                assert len(cell.source.splitlines()) <= LONGEST_CELL + 4, cell.source

    def test_it_has_exercises_in_three_grades_with_checks_and_without_answers(self, notebook):
        cells = read(notebook).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        number = notebook.name[:2]
        for n, grade in enumerate(("warm-up", "core", "stretch"), 1):
            assert f"**Exercise {n} ({grade}).**" in text
            assert f'slmlab.check("{number}.{n}"' in code
            assert f"\n**{n}.**\n" in text.split("<details>")[1]
        assert "SOLUTION" not in code
        assert "..." in code

    def test_it_asks_before_it_shows_and_hides_its_solutions(self, notebook):
        text = "\n".join(cell.source for cell in read(notebook).cells)
        assert text.count("> **Predict.**") >= 2
        assert "## Exercises" in text
        assert "<details><summary>Solutions" in text
        assert text.index("<details><summary>") > text.index("## Exercises")

    def test_headings_go_down_one_step_at_a_time(self, notebook):
        levels = [
            len(line.split(" ", 1)[0])
            for cell in read(notebook).cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines()
            if re.match(r"#{1,6} ", line)
        ]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))

    def test_links_to_other_notebooks_lead_somewhere(self, notebook):
        for cell in read(notebook).cells:
            for link in re.findall(r"\]\(([\w.]+\.(?:ipynb|md))\)", cell.source):
                assert (notebook.parent / link).exists(), link

    def test_the_index_lists_them_all(self):
        index = (ROOT / "notebooks/README.md").read_text()
        for name in NAMES:
            assert f"]({name})" in index

    def test_the_index_and_the_heads_tell_the_same_minutes(self, notebook):
        (head,) = re.findall(r"\*\*Needs\*\* about (\d+) minutes", read(notebook).cells[0].source)
        index = (ROOT / "notebooks/README.md").read_text()
        (row,) = re.findall(rf"^.*\]\({re.escape(notebook.name)}\).*$", index, re.MULTILINE)
        assert row.split("|")[3].strip() == head

"""Every notebook, found by glob: how it is built, and that it runs, in both notebook worlds.

The two worlds are the newest packages, and the versions that Google Colab has (``colab-pins.txt``:
ipywidgets 7, IPython 7.34, ipykernel 6.17). Colab's Python is 3.13 and this runs on the Python at
hand, so a package that behaves otherwise on 3.13 would not be noticed here.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import free_port, give_models, run

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]
LONGEST_CELL = 12


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "notebook" in metafunc.fixturenames:
        metafunc.parametrize("notebook", NOTEBOOKS, ids=NAMES)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


class TestForm:
    def test_there_are_notebooks(self):
        assert NAMES[:3] == [
            "00_start_here.ipynb",
            "01_first_prompt.ipynb",
            "02_compare_models.ipynb",
        ]

    def test_it_opens_as_all_do(self, notebook):
        title, badge, bootstrap, health = read(notebook).cells[:4]
        assert title.source.startswith("# ")
        assert "**You will**" in title.source
        assert re.search(r"\*\*Needs\*\* about \d+ minutes", title.source)
        assert (badge.id, bootstrap.id, health.id) == ("badge", "bootstrap", "health")
        assert f"/notebooks/{notebook.name})" in badge.source
        assert len(bootstrap.source.splitlines()) <= 5

    def test_it_is_stamped(self):
        run(sys.executable, ROOT / "scripts/stamp_notebooks.py", "--check")

    def test_outputs_are_stripped_and_cells_are_short(self, notebook):
        for cell in read(notebook).cells:
            if cell.cell_type == "code":
                assert cell.outputs == []
                assert cell.execution_count is None
                assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source

    def test_it_asks_before_it_shows_and_hides_its_solutions(self, notebook):
        text = "\n".join(cell.source for cell in read(notebook).cells)
        assert "> **Predict.**" in text
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


@pytest.fixture(scope="module")
def class_home(shelf_home, tmp_path_factory):
    """One SLMLAB_HOME with models for all notebooks of a run."""
    home = tmp_path_factory.mktemp("class")
    give_models(shelf_home, home)
    env = {
        **os.environ,
        "SLMLAB_HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "LANGSMITH_TRACING": "false",
    }
    yield env
    run(sys.executable, "-m", "slmlab", "stop", env=env)


@pytest.mark.slow
class TestRuns:
    def test_colabs_packages_stay_as_they_are(self, colab_python):
        import ast

        folder = colab_python.parent.parent
        before, after = (
            ast.literal_eval((folder / name).read_text()) for name in ("before", "after")
        )
        pins = (ROOT / "tests/colab-pins.txt").read_text().lower().replace("_", "-")
        assert before["ipywidgets"] == "7.7.1"
        assert len(before) > 80
        for name, version in before.items():
            assert after[name] == version, name
        assert f"pandas=={before['pandas']}" in pins
        assert "langchain-ollama" not in before
        assert "langchain-ollama" in after

    @pytest.mark.parametrize("world", ["newest", "colab"])
    def test_it_runs(self, notebook, world, class_home, request):
        python = sys.executable if world == "newest" else request.getfixturevalue("colab_python")
        command = (python, "-m", "pytest", "--nbmake", "--nbmake-timeout=240", "-q", "-p")
        run(*command, "no:cacheprovider", "--rootdir", notebook.parent, notebook, env=class_home)

    def test_the_bootstrap_cell_installs_from_an_uploaded_zip(self, colab_python, tmp_path):
        """In Colab's packages, without slmlab, in a folder that has only the zip."""
        run(
            "git",
            "-C",
            ROOT,
            "archive",
            "--prefix=slmlab-main/",
            "-o",
            tmp_path / "slmlab.zip",
            "HEAD",
        )
        run(colab_python, "-m", "pip", "uninstall", "--quiet", "--yes", "slmlab")
        try:
            bootstrap = next(cell for cell in read(NOTEBOOKS[0]).cells if cell.id == "bootstrap")
            check = nbformat.v4.new_code_cell("import slmlab; print('at', slmlab.__file__)")
            book = nbformat.v4.new_notebook(cells=[bootstrap, check])
            nbformat.write(book, tmp_path / "book.ipynb")
            convert = (colab_python, "-m", "jupyter", "nbconvert", "--to", "markdown", "--execute")
            run(*convert, tmp_path / "book.ipynb", cwd=tmp_path)
            assert "site-packages/slmlab/__init__.py" in (tmp_path / "book.md").read_text()
        finally:
            run(colab_python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT)

    def test_the_setup_script_on_colab_uses_the_running_python(
        self, colab_python, class_home, tmp_path
    ):
        run("git", "clone", "--quiet", ROOT, tmp_path / "clone")
        env = class_home | {"COLAB_RELEASE_TAG": "release-colab-test", "PYTHON": str(colab_python)}
        try:
            setup = ("bash", tmp_path / "clone/colab_setup.sh", "--engine", "embedded", "--no-demo")
            done = run(*setup, env=env)
            assert "Models: smollm2:135m" in done.stdout
            assert not (tmp_path / "clone/.venv").exists()
            assert "Installing" not in run(*setup, env=env).stdout, "a second time is quick"
        finally:
            run(colab_python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT)

"""The students' copies run on Colab, as far as a test can be there.

Colab's packages (``colab-pins.txt``: ipywidgets 7, IPython 7.34, ipykernel 6.17), on its Python
3.13 where the machine has one; every cell of the lesson, with short answers and open exercises.
"""

from __future__ import annotations

import ast
import os
import subprocess

import nbformat
import pytest

from tests.support.environments import PINS, layer
from tests.support.notebooks import World, execute, exercises, texts
from tests.support.paths import NOTEBOOKS, ROOT
from tests.support.processes import run


def test_its_packages_stay_as_they_are(colab_python):
    folder = colab_python.parent.parent
    before, after = (ast.literal_eval((folder / name).read_text()) for name in ("before", "after"))
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in PINS.read_text().splitlines()
        if "==" in line
    )
    assert before["ipywidgets"] == "7.7.1"
    assert len(before) > 80
    unpinned = {name for name, version in before.items() if pins.get(name) != version}
    assert unpinned <= {"pip", "setuptools"}, "these come with the environment"
    for name, version in before.items():
        assert after[name] == version, name
    assert "langchain-ollama" not in before
    assert "langchain-ollama" in after


def test_it_runs_and_leaves_its_exercises_open(notebook, colab: World):
    book = colab.run(notebook)
    for cell in book.cells:
        assert "Traceback" not in texts(cell), cell.source
        assert "FutureWarning" not in texts(cell), cell.source
        assert "✗" not in texts(cell), cell.source
    printed = [texts(cell) for cell in exercises(book)]
    assert "".join(printed).count(": open. ") == 3, printed


def test_no_lesson_asked_another_machine_for_anything(colab: World):
    for path in NOTEBOOKS:
        colab.run(path)
    seen = colab.connections()
    assert seen["socket.connect", "127.0.0.1"] > 100
    assert {where for _, where in seen} <= {"127.0.0.1", "localhost", "None"}, seen


@pytest.fixture
def own_python(colab_python, tmp_path):
    """Colab's Python, into which this test may install."""
    return layer(colab_python, tmp_path / "layer")


def alone(**more: str) -> dict[str, str]:
    """An environment in which slmlab is only where it is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def test_the_bootstrap_cell_installs_from_an_uploaded_zip(own_python, tmp_path):
    """Without slmlab, in a folder that has only the zip, as a browser names a second download."""
    archive = ("git", "-C", ROOT, "archive", "--prefix=slmlab-main/", "-o")
    run(*archive, tmp_path / "slmlab (1).zip", "HEAD")
    find = [own_python, "-c", "import slmlab"]
    looks = subprocess.run(find, env=alone(), cwd=tmp_path, capture_output=True)
    assert looks.returncode, "slmlab is here before it is installed"
    cells = nbformat.read(NOTEBOOKS[0], as_version=4).cells
    bootstrap = next(cell for cell in cells if cell.id == "bootstrap")
    check = nbformat.v4.new_code_cell("import slmlab; print('at', slmlab.__file__)")
    book = nbformat.v4.new_notebook(cells=[bootstrap, check])
    execute(book, own_python, tmp_path, alone())
    assert f"at {own_python.parent.parent}" in texts(book.cells[1])
    assert "site-packages/slmlab/__init__.py" in texts(book.cells[1])


def test_the_setup_script_uses_the_running_python(own_python, colab: World, tmp_path):
    run("git", "clone", "--quiet", ROOT, tmp_path / "clone")
    names = ("SLMLAB_HOME", "OLLAMA_HOST", "COLAB_RELEASE_TAG")
    env = alone(PYTHON=str(own_python), **{name: colab.env[name] for name in names})
    setup = ("bash", tmp_path / "clone/colab_setup.sh", "--engine", "embedded", "--no-demo")
    done = run(*setup, env=env)
    assert "Models: smollm2:135m" in done.stdout
    assert not (tmp_path / "clone/.venv").exists()
    assert "Installing" not in run(*setup, env=env).stdout, "a second time is quick"

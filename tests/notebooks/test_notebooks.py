"""Every notebook runs, in both notebook worlds.

The two worlds are the newest packages, and the versions that Google Colab has (``colab-pins.txt``:
ipywidgets 7, IPython 7.34, ipykernel 6.17), on Colab's Python 3.13 where the machine has one.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest

import slmlab
from tests.support.engines import give_models
from tests.support.paths import NOTEBOOKS, ROOT, TEACHERS
from tests.support.processes import free_port, run

NAMES = [path.name for path in NOTEBOOKS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "notebook" in metafunc.fixturenames:
        metafunc.parametrize("notebook", NOTEBOOKS, ids=NAMES)
    if "teachers" in metafunc.fixturenames:
        metafunc.parametrize("teachers", TEACHERS, ids=[path.name for path in TEACHERS])


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def execute(python: Path | str, book: Path, env: dict[str, str]) -> None:
    """Run a notebook by nbmake and keep its outputs in it."""
    # Looking for all the other plugins of an environment takes longer than some notebooks.
    env = env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = (python, "-m", "pytest", "-p", "nbmake.pytest_plugin", "-p", "no:cacheprovider", "-q")
    run(*command, "--nbmake", "--nbmake-timeout=240", "--overwrite", book, cwd=book.parent, env=env)


def figures(page: str) -> list[str]:
    """The tags of a page's figures."""
    return re.findall(r'<img[^>]+src="[^"]*_images/[^>]+>', page)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A folder for the notebooks with their outputs; ``SLMLAB_EXECUTED`` keeps them."""
    folder = Path(os.environ.get("SLMLAB_EXECUTED") or tmp_path_factory.mktemp("executed"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# Notes where each socket of a process is told to connect, and which names are looked up.
SPY = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        to = arguments[1] if event != "socket.getaddrinfo" else arguments
        if isinstance(to, tuple):
            with open(os.environ["CONNECTIONS"], "a") as file:
                file.write(f"{event} {to[0]} {sys.argv}\\n")
sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def class_home(shelf_home, tmp_path_factory):
    """The world of all notebooks of a run: one home with models, one server that stays."""
    home = tmp_path_factory.mktemp("class")
    spy = tmp_path_factory.mktemp("spy")
    (spy / "sitecustomize.py").write_text(SPY)
    give_models(shelf_home, home)
    env = {
        **os.environ,
        "SLMLAB_HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
        "LANGSMITH_TRACING": "false",
        # A little of each task set, and short answers, show that a notebook works; all steps run.
        "SLMLAB_ITEMS": "2",
        "SLMLAB_TOKENS": "60",
        # Python runs sitecustomize.py at the start of each process: the kernels', the server's.
        "PYTHONPATH": str(spy),
        "CONNECTIONS": str(spy / "connections"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        slmlab.start("embedded", quiet=True)
    yield env
    run(sys.executable, "-m", "slmlab", "stop", env=env)


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

    def test_the_teachers_copy_runs_and_its_solutions_are_right(
        self, teachers, class_home, executed
    ):
        """In the newest packages: the whole lesson, with solutions in place of scaffolds."""
        book = executed / teachers.name
        shutil.copy(teachers, book)
        execute(sys.executable, book, class_home)
        cells = nbformat.read(book, as_version=4).cells
        printed = [
            output.text
            for cell in cells
            if "exercise" in cell.metadata.get("tags", [])
            for output in cell.outputs
            if output.output_type == "stream" and output.name == "stdout"
        ]
        assert "".join(printed).count(": right.") == 3, printed
        for cell in cells:
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    alt = output.metadata.get("image/png", {}).get("alt", "")
                    assert len(alt) > 40, f"a figure without words: {cell.source}"

    def test_the_course_is_rendered_with_its_outputs(self, executed):
        """One web site of all that was run; a link inside that leads nowhere is an error."""
        missing = {path.name for path in TEACHERS} - {path.name for path in executed.iterdir()}
        if missing:
            pytest.skip(f"not run before: {', '.join(sorted(missing))}")
        run(sys.executable, ROOT / "scripts/build_docs.py", "--executed", executed)
        site = ROOT / "build/course/html"
        for notebook in NOTEBOOKS:
            page = (site / "notebooks" / f"{notebook.stem}.html").read_text()
            assert "cell_output" in page
            assert "Solutions (open after you have tried)" in page
            assert all(re.search(r'alt="[^"]{40}', image) for image in figures(page))
        speed = (site / "notebooks/04_measure_speed.html").read_text()
        assert len(figures(speed)) >= 4

    def test_a_lesson_becomes_slides(self, executed, tmp_path):
        book = "03_compare_models.ipynb"
        source = executed / book if (executed / book).exists() else ROOT / "notebooks" / book
        slides = (sys.executable, "-m", "nbconvert", "--to", "slides")
        run(*slides, "--output-dir", tmp_path, source)
        deck = (tmp_path / "03_compare_models.slides.html").read_text()
        assert deck.count("<section") >= 15

    def test_the_students_copy_runs_on_colab(self, notebook, class_home, colab_python, tmp_path):
        """In Colab's packages: every cell of the lesson, with short answers and open exercises."""
        shutil.copy(notebook, tmp_path)
        env = class_home | {"SLMLAB_TOKENS": "8"}
        execute(colab_python, tmp_path / notebook.name, env)

    def test_no_lesson_asked_another_machine_for_anything(self, class_home):
        """Whoever reads or runs the course with the embedded engine and its models is alone."""
        file = Path(class_home["CONNECTIONS"])
        if not file.exists():
            pytest.skip("no notebook ran before")
        seen = Counter(tuple(line.split(" ", 2)[:2]) for line in file.read_text().splitlines())
        assert seen["socket.connect", "127.0.0.1"] > 100
        assert {where for _, where in seen} <= {"127.0.0.1", "localhost", "None"}, seen

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
            convert = (colab_python, "-m", "nbconvert", "--to", "markdown", "--execute")
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

"""The two worlds in which notebooks run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import real_ollama
from tests.support.engines import GEMMA, MINILM, SMOL, Engine
from tests.support.notebooks import World, world
from tests.support.paths import NOTEBOOKS, TEACHERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, paths in (("notebook", NOTEBOOKS), ("teachers", TEACHERS)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, paths, ids=[path.name for path in paths])


@pytest.fixture(scope="session")
def course_ollama(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine | None]:
    """The Ollama given by ``--ollama``, with models by the names that the embedded engine has."""
    if not request.config.getoption("--ollama"):
        yield None
        return
    release: Path = request.getfixturevalue("ollama_release")
    smol, gemma = (request.getfixturevalue(name) for name in ("smol_gguf", "gemma_gguf"))
    minilm: Path = request.getfixturevalue("minilm_gguf")
    if not real_ollama.writes_text(release):
        gemma = smol  # 0.5.4 is older than Gemma 3
    home = tmp_path_factory.mktemp("course-ollama")
    with real_ollama.running(release, home, {SMOL: smol, GEMMA: gemma, MINILM: minilm}) as engine:
        yield engine


@pytest.fixture(scope="module")
def newest(
    course_ollama: Engine | None, pulled_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The newest packages; with ``--ollama``, that Ollama in place of the embedded engine.

    ``SLMLAB_EXECUTED`` names a folder that keeps the notebooks with their outputs; these come from
    all models, as readers have them.
    """
    folder = tmp_path_factory.mktemp("newest")
    kept = os.environ.get("SLMLAB_EXECUTED")
    slow = not kept and not course_ollama
    more = {"SLMLAB_TOKENS": "8" if slow else "24"}
    host = None
    if course_ollama:
        host = course_ollama.url
        # What is at hand is enough; the library's models are gigabytes.
        more["HTTPS_PROXY"] = "http://127.0.0.1:9"
    with world(Path(sys.executable), folder, pulled_home, host, slow, **more) as made:
        yield made
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        for name in made.executed:
            shutil.copy(folder / name, kept)


@pytest.fixture(scope="module")
def colab(
    colab_python: Path, pulled_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Colab's packages, its sign in the environment, records and a server of its own.

    Its answers come from the same models and engine as those in the newest packages. Exercises stay
    open, so nothing that is computed has to be right: the world is a rough one.
    """
    folder = tmp_path_factory.mktemp("colab")
    more = {"SLMLAB_TOKENS": "8", "COLAB_RELEASE_TAG": "release-colab-test"}
    with world(colab_python, folder, pulled_home, slow=True, rough=True, **more) as made:
        yield made

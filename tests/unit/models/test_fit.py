"""Whether a model fits, by the facts from a server, or from the library if it is not installed."""

from __future__ import annotations

import sys

import pytest

from slmlab.errors import ModelError
from slmlab.kv_cache import CacheShape, kv_cache_bytes
from slmlab.models import fit
from tests.support.recording_server import SIZE, RecordingServer

INFO = {
    "general.architecture": "llama",
    "llama.context_length": 8192,
    "llama.block_count": 16,
    "llama.embedding_length": 2048,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
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


@pytest.mark.parametrize(
    ("system", "place", "more"),
    [("linux", "memory", 0), ("linux", "T4's memory", SIZE), ("darwin", "memory", SIZE)],
)
def test_what_the_model_holds_now_counts_as_free_once(server, monkeypatch, system, place, more):
    """Its weights are pages of a file, which Linux counts as free in main memory already."""
    monkeypatch.setattr(fit, "free_for", lambda engine: (5 * SIZE, place))
    monkeypatch.setattr(sys, "platform", system)
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE
    server.loaded = {"b:latest": 4096}
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE
    server.loaded = {"a:latest": 4096}
    assert fit.will_it_fit("a", host=server.url).available == 5 * SIZE + more


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

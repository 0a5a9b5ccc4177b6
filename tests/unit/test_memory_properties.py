"""The one formula for memory over any metadata, and from files and the catalogue alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmlab.kv_cache import CacheShape, kv_cache_bytes
from slmlab.memory import memory_needed
from slmlab.models import catalog
from tests.support.gguf_metadata import LLAMA, info, shape


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("OLLAMA_KV_CACHE_TYPE", "OLLAMA_NUM_PARALLEL"):
        monkeypatch.delenv(name, raising=False)


# Anything that a damaged or hostile file, or a server, may put in the place of a number.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.integers(),
    st.floats(),
    st.sampled_from(["", "28", "f16"]),
    st.lists(st.one_of(st.integers(-1, 9), st.booleans(), st.none(), st.just("8"))),
    st.lists(st.integers(0, 8), min_size=28, max_size=40),
    st.just({}),
)
NAMES = [
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "nextn_predict_layers",
    "full_attention_interval",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.causal",
    "attention.key_length_mla",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.shared_kv_layers",
    "attention.recurrent_layers",
    "ssm.conv_kernel",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.group_count",
    "shortconv.l_cache",
    "wkv.head_size",
    "token_shift_count",
]
ARCHS = ["llama", "gemma3", "gemma4", "qwen35", "falcon-h1", "nemotron_h", "mamba", "rwkv7", "bert"]


@st.composite
def metadata(draw: st.DrawFn) -> dict[str, Any]:
    """The metadata of a sound file, with anything in place of some of them."""
    arch = draw(st.sampled_from(ARCHS))
    sound = {name.replace("llama.", f"{arch}."): value for name, value in LLAMA.items()}
    odd = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
    return sound | {"general.architecture": arch} | {f"{arch}.{k}": v for k, v in odd.items()}


CONTEXTS = st.integers(0, 10**6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(metadata(), CONTEXTS, CONTEXTS, st.integers(1, 8))
def test_any_metadata_give_none_or_bytes_that_grow(known, one, other, parallel):
    found = CacheShape.from_metadata(known)
    if found is not None:
        shorter, longer = sorted((one, other))
        assert kv_cache_bytes(found, shorter, parallel) >= 0
        assert kv_cache_bytes(found, shorter, parallel) <= kv_cache_bytes(found, longer, parallel)
        assert kv_cache_bytes(found, one, parallel) == parallel * kv_cache_bytes(found, one)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 80),
    st.integers(1, 32),
    st.sampled_from([64, 80, 96, 128, 256]),
    st.sampled_from([None, 512, 1024, 4096]),
    st.sampled_from(["gemma2", "gemma3"]),
    st.integers(1, 200_000),
    st.integers(1, 8),
    st.integers(10**8, 10**10),
)
def test_all_who_ask_agree_to_the_byte(
    layers, heads, size, window, arch, num_ctx, parallel, weights
):
    """The catalogue from its facts; the engine and ``will_it_fit`` from the file."""
    known = info(
        arch,
        block_count=layers,
        attention__head_count=2 * heads,
        attention__head_count_kv=heads,
        attention__key_length=size,
        attention__value_length=size,
    )
    if window:
        known[f"{arch}.attention.sliding_window"] = window
    every = {"gemma2": 2, "gemma3": 6}[arch]
    row = {
        "parameters": 1,
        "download_gb": weights / 1e9,
        "layers": layers,
        "kv_heads": heads,
        "head_size": size,
        "sliding_window": window,
        "full_attention_every": every if window else None,
    }
    by_file = memory_needed(int(row["download_gb"] * 1e9), shape(known), num_ctx, parallel)
    assert catalog.memory(row, num_ctx, parallel) == by_file

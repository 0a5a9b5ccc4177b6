"""How much memory a model takes: weights, KV cache and overhead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# Beyond weights and KV cache: 54 MiB (SmolLM2 135M) and 126 MiB (Gemma 3 270M, whose vocabulary is
# five times as large) were measured on a CPU, as what a runner's RSS grew by over both. On a GPU
# the driver's own context comes on top, which was not measured.
OVERHEAD = 150 * 2**20
# Bytes per value of the KV cache, by OLLAMA_KV_CACHE_TYPE: 32 values of q8_0 take 34 bytes, of
# q4_0 18 (ggml's block formats).
KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
# In these families only every n-th layer looks at the whole context, the others at a window
# (set_swa_pattern in llama.cpp's src/models). Elsewhere every layer is taken to look at all.
FULL_LAYER_EVERY = {"gemma2": 2, "gemma3": 6}
# What a windowed layer caches beyond its window: one batch (llama.cpp's n_ubatch).
BATCH = 512


def kv_cache_bytes(info: Mapping[str, Any], tokens: int) -> int | None:
    """Bytes of the keys and values that a model keeps for so many tokens.

    2 (keys and values) × layers × KV heads × head size × tokens × bytes per value. ``info`` is the
    ``model_info`` of ``/api/show``, which are the GGUF file's own metadata. None where they do not
    say enough.
    """
    arch = info.get("general.architecture")
    layers = info.get(f"{arch}.block_count")
    heads = info.get(f"{arch}.attention.head_count")
    kv_heads = info.get(f"{arch}.attention.head_count_kv") or heads
    if not all(isinstance(value, int) and value > 0 for value in (layers, heads, kv_heads)):
        return None
    head_size = info.get(f"{arch}.attention.key_length")
    head_size = head_size or info.get(f"{arch}.embedding_length", 0) // heads
    each = 2 * kv_heads * head_size
    each *= KV_BYTES.get(os.environ.get("OLLAMA_KV_CACHE_TYPE", "f16"), 2.0)
    window, every = info.get(f"{arch}.attention.sliding_window"), FULL_LAYER_EVERY.get(arch)
    if not (window and every):
        return int(each * layers * tokens)
    full = layers // every
    return int(each * (full * tokens + (layers - full) * min(tokens, window + BATCH)))


# A rule of thumb for what a model needs in memory beyond its file: KV cache and buffers.
MEMORY_OVER_FILE = 1.2

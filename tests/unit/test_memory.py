"""Memory of the KV cache, from a model's metadata."""

from __future__ import annotations

from slmlab import memory


def test_the_kv_cache_of_known_architectures():
    # Llama 3.2 3B: 28 layers, 8 KV heads of 128; 112 KiB for each token.
    llama = {
        "general.architecture": "llama",
        "llama.block_count": 28,
        "llama.attention.head_count": 24,
        "llama.attention.head_count_kv": 8,
        "llama.attention.key_length": 128,
    }
    assert memory.kv_cache_bytes(llama, 1) == 112 * 1024
    gemma = {
        "general.architecture": "gemma3",
        "gemma3.block_count": 18,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 1,
        "gemma3.attention.key_length": 256,
        "gemma3.attention.sliding_window": 512,
    }
    full = memory.kv_cache_bytes({k: v for k, v in gemma.items() if "window" not in k}, 32768)
    assert memory.kv_cache_bytes(gemma, 32768) < full / 4
    assert memory.kv_cache_bytes({}, 1) is None

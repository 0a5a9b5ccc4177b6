"""Metadata of models as they stand in GGUF files."""

from __future__ import annotations

from typing import Any

from slmlab.kv_cache import CacheShape


def info(arch: str, **facts: Any) -> dict[str, Any]:
    """Metadata as in a GGUF file; ``__`` stands for a dot."""
    named = {f"{arch}.{name.replace('__', '.')}": value for name, value in facts.items()}
    return {"general.architecture": arch, **named}


# Llama 3.2 3B: 28 layers, 8 KV heads of 128.
LLAMA = info(
    "llama",
    block_count=28,
    embedding_length=3072,
    attention__head_count=24,
    attention__head_count_kv=8,
    attention__key_length=128,
    attention__value_length=128,
)
GEMMA = info(
    "gemma3",
    block_count=18,
    embedding_length=640,
    attention__head_count=4,
    attention__head_count_kv=1,
    attention__key_length=256,
    attention__value_length=256,
    attention__sliding_window=512,
)


def shape(known: dict[str, Any]) -> CacheShape:
    found = CacheShape.from_metadata(known)
    assert found is not None
    return found

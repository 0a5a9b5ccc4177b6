"""A transformer small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slmlab.course.transformer import Transformer


@pytest.fixture(scope="module")
def tiny() -> Transformer:
    """A transformer of 24 blocks with random weights, whose tokens are single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    rng, size, inner = np.random.default_rng(0), 16, 32
    tokens = sorted(ByteLevel.alphabet())
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(tokens), size),
        "output_norm.weight": (size,),
    }
    for layer in range(24):
        for part in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{part}.weight"] = (size,)
        for part, shape in {
            "attn_q": (size, size),
            "attn_k": (size // 2, size),
            "attn_v": (size // 2, size),
            "attn_output": (size, size),
            "ffn_gate": (inner, size),
            "ffn_up": (inner, size),
            "ffn_down": (size, inner),
        }.items():
            shapes[f"blk.{layer}.{part}.weight"] = shape
    tensors = {
        name: np.float32(1 + 0 * rng.random(shape))
        if len(shape) == 1
        else rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    metadata = {
        "llama.block_count": 24,
        "llama.embedding_length": size,
        "llama.feed_forward_length": inner,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10_000.0,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.token_type": [1] * len(tokens),
    }
    return Transformer(Path("tiny.gguf"), metadata, tensors, {}, None)

"""Small real GGUF files: a model with random weights, and files that are no model by themselves."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

WIDTH, VOCABULARY = 32, [chr(code) for code in range(33, 127)]
SQUARE = ("attn_q", "attn_k", "attn_v", "attn_output")


def write(
    path: Path,
    *,
    architecture: str = "llama",
    tokenizer: str = "gpt2",
    tensors: bool = True,
    sizes: bool = True,
    template: str = "",
    facts: dict[str, str | int] | None = None,
    words: Sequence[str] = (),
) -> Path:
    """A model of one layer that llama.cpp loads; each argument but ``path`` can spoil it.

    ``words`` are further entries of the vocabulary.
    """
    vocabulary = [*VOCABULARY, *words]
    writer = gguf.GGUFWriter(path, architecture)
    if sizes:
        writer.add_context_length(512)
        writer.add_embedding_length(WIDTH)
        writer.add_block_count(1)
        writer.add_feed_forward_length(2 * WIDTH)
        writer.add_head_count(2)
        writer.add_layer_norm_rms_eps(1e-5)
    if tokenizer:
        writer.add_tokenizer_model(tokenizer)
        writer.add_tokenizer_pre("default")
        writer.add_token_list(vocabulary)
        writer.add_token_types([1] * len(vocabulary))
        writer.add_token_merges(["a b"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    if template:
        writer.add_chat_template(template)
    for name, value in (facts or {}).items():
        if isinstance(value, int):
            writer.add_uint16(name, value)
        else:
            writer.add_string(name, value)
    if tensors:
        rng = np.random.default_rng(0)
        shapes = {
            "token_embd": (len(vocabulary), WIDTH),
            "output": (len(vocabulary), WIDTH),
            "output_norm": (WIDTH,),
            "blk.0.attn_norm": (WIDTH,),
            "blk.0.ffn_norm": (WIDTH,),
            "blk.0.ffn_gate": (2 * WIDTH, WIDTH),
            "blk.0.ffn_up": (2 * WIDTH, WIDTH),
            "blk.0.ffn_down": (WIDTH, 2 * WIDTH),
        } | {f"blk.0.{name}": (WIDTH, WIDTH) for name in SQUARE}
        for name, shape in shapes.items():
            weights = rng.standard_normal(shape).astype(np.float32)
            writer.add_tensor(f"{name}.weight", weights * np.float32(0.02))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def with_template(source: Path, path: Path, template: str) -> Path:
    """A copy of a model's file with another chat template.

    The template grows by whole blocks of 32 bytes, the alignment of the tensors behind it.
    """
    content = source.read_bytes()
    key = b"tokenizer.chat_template"
    at = content.index(key) + len(key) + 4
    (length,) = struct.unpack_from("<Q", content, at)
    text = template.encode() + b"{#"
    text += b" " * (-(len(text) + 2 - length) % 32) + b"#}"
    rest = content[at + 8 + length :]
    path.write_bytes(content[:at] + struct.pack("<Q", len(text)) + text + rest)
    return path

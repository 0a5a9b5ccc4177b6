"""A projector that is no more than it takes to see a colour, made for a model that is there."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import gguf
import numpy as np

from slmlab.course import weights

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
WIDTH, PATCH, SIDE = 32, 14, 4


def write(path: Path, model: Path) -> Path:
    """A projector in the shape of Gemma 3's, for the model in the file ``model``.

    It takes the mean colour of an image to the model's own embedding of the word for it, with a
    transformer layer that adds nothing. So to the model an image is one word of its prompt.
    """
    reader = weights._FastReader(model)
    words = reader.fields["tokenizer.ggml.tokens"].contents()
    table = next(one for one in reader.tensors if one.name == "token_embd.weight")
    rows = [words.index(f"Ġ{colour}") for colour in COLOURS]
    embeddings = gguf.quants.dequantize(table.data[rows], table.tensor_type)

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.projector_type", "gemma3")
    for name, number in {
        "image_size": PATCH * SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "projection_dim": embeddings.shape[1],
        "block_count": 1,
        "attention.head_count": 1,
    }.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])

    patches = np.zeros((WIDTH, 3, PATCH, PATCH))
    patches[range(3), range(3)] = 1 / PATCH**2
    tensors = {"v.patch_embd.weight": patches, "v.position_embd.weight": np.zeros((SIDE**2, WIDTH))}
    for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
        tensors[f"v.blk.0.{name}.weight"] = np.zeros((WIDTH, WIDTH))
    for name in ("ln1", "ln2"):
        tensors[f"v.blk.0.{name}.weight"] = np.ones(WIDTH)
        tensors[f"v.blk.0.{name}.bias"] = np.zeros(WIDTH)
    # The colour comes as three numbers of 1 and -1, once its norm, which is that of the whole
    # width, is taken back.
    tensors["mm.soft_emb_norm.weight"] = np.full(WIDTH, (3 / WIDTH) ** 0.5)
    projection = np.zeros((WIDTH, embeddings.shape[1]))
    projection[:3] = (0.75 * np.eye(3) - 0.25) @ embeddings
    tensors["mm.input_projection.weight"] = projection
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def png(colour: tuple[int, int, int], side: int = 56) -> bytes:
    """A square of one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    rows = (b"\0" + bytes(colour) * side) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )

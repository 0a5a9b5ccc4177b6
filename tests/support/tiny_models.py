"""Models of about a megabyte, one for each kind of attention: real files for the real engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# By architecture: the file's metadata, and the shapes of its tensors. ``blk.*.`` stands for every
# layer, ``blk.0,2.`` for some. All that llama.cpp insists on and no more.
_FILE = Path(__file__).with_suffix(".json")
_KNOWN: dict[str, dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))
ARCHITECTURES = sorted(_KNOWN)


def write(architecture: str, folder: Path) -> Path:
    """A GGUF file of this architecture; its weights mean nothing, and it has no vocabulary."""
    path = folder / f"{architecture}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in _KNOWN[architecture]["metadata"].items():
        _add(writer, name if name.startswith("tokenizer.") else f"{architecture}.{name}", value)
    writer.add_string("tokenizer.ggml.model", "no_vocab")
    writer.add_uint32(f"{architecture}.vocab_size", 32)
    layers = range(_KNOWN[architecture]["metadata"]["block_count"])
    for name, shape in _KNOWN[architecture]["tensors"].items():
        numbers = np.full(shape[::-1], 0.01, dtype=np.float32)
        which = name.split(".")[1]
        for layer in layers if which == "*" else which.split(",") if "blk." in name else [None]:
            writer.add_tensor(
                name if layer is None else name.replace(which, str(layer), 1), numbers
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, list):
        writer.add_array(name, value)
    else:
        raise TypeError(name)

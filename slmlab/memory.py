"""How much memory a model takes: its weights, its KV cache, and what the engine needs besides.

Everything that has to know whether a model fits (``slmlab.will_it_fit``, the embedded engine before
it loads a model, the catalogue) uses these functions, so all of them give the same number of bytes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slmlab import hardware

log = logging.getLogger(__name__)

# Memory beyond weights and KV cache. Measured on a CPU, as the rest of the growth of a process's
# RSS: 54 MiB (SmolLM2 135M) and 126 MiB (Gemma 3 270M, whose vocabulary is five times as large). On
# a GPU the driver's context comes on top; it was not measured.
OVERHEAD = 150 * 2**20
# A rule of thumb for the memory of a model whose shape is not known, as a multiple of its weights.
MEMORY_OVER_FILE = 1.2

# Bytes of 32 values in the KV cache, by OLLAMA_KV_CACHE_TYPE (ggml's block formats).
_BYTES_OF_32 = {"f16": 64, "q8_0": 34, "q4_0": 18}
# llama.cpp allocates the cache for tokens in multiples of this.
_CELLS = 256
# How a text's vector is made of its tokens' (llama.cpp's llama_pooling_type): their mean, or the
# last one.
_MEAN, _LAST = 1, 3
# Tokens processed in one batch (llama.cpp's n_ubatch). A sliding-window layer caches its window and
# one batch.
BATCH = 512
# The most layers that llama.cpp can load (its LLAMA_MAX_LAYERS); a file with more is damaged.
_MAX_LAYERS = 512
# In these families only every n-th layer attends to the whole context, the others to a sliding
# window; llama.cpp has n built in (set_swa_pattern in its src/models).
_FULL_LAYER_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "olmo2": 4}
# Every n-th layer has attention, the others are recurrent; for files that do not give n.
_ATTENTION_EVERY = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
# Architectures without attention; with attention and a recurrent state in every layer; with some
# layers that have neither.
_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
_BOTH = {"falcon-h1"}
_WITH_LAYERS_OF_NEITHER = {"nemotron_h", "nemotron_h_moe"}
# Encoders, which process a text at once and cache nothing. (``attention.causal`` alone does not say
# so: llama.cpp gives other non-causal models a cache.)
_ENCODERS = {
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
}

# How many requests each engine runs at once unless OLLAMA_NUM_PARALLEL says otherwise.
_PARALLEL = {"embedded": 4, "ollama": 1}


def parallel_requests(engine: str) -> int:
    """How many requests a server runs at once for one model; each has a KV cache of its own.

    That is ``OLLAMA_NUM_PARALLEL`` if it is set in this process (set it for a server elsewhere
    too), else the engine's default.
    """
    return hardware.env_number("OLLAMA_NUM_PARALLEL") or _PARALLEL.get(engine, 1)


def effective_context(num_ctx: int, trained: object) -> int:
    """The context length that a model is loaded with when ``num_ctx`` is requested.

    Ollama and the embedded engine both cap it at the length that the model was trained with, and
    use at least four tokens.

    Args:
        num_ctx: the requested context length in tokens.
        trained: the context length in the model's file; anything but a positive number counts as
            unknown.
    """
    num_ctx = max(4, num_ctx)
    if isinstance(trained, int) and not isinstance(trained, bool) and trained > 0:
        return min(num_ctx, trained)
    return num_ctx


def free_for(engine: str) -> tuple[int, str]:
    """Bytes that are free for models now, and the name of that memory.

    The embedded engine runs models on the processor, in main memory; Ollama uses the GPU if there
    is one.
    """
    if engine == "embedded":
        return hardware.memory()[1], "memory"
    machine = hardware.machine()
    gpu = machine.gpu
    return machine.model_memory, f"{gpu.name}'s memory" if gpu and gpu.total_memory else "memory"


def freed_by_unloading(held: int, weights: int) -> int:
    """Bytes of main memory that become free when a loaded model is unloaded, roughly.

    Engines map the weights from their file. On Linux the pages of a mapped file count as free
    already, since the system drops them when memory is needed; only the rest is freed. (Weights
    that the engine copied into another order are freed too, but servers do not say how many.)

    Args:
        held: bytes that the model holds now, by ``/api/ps``.
        weights: bytes of its file.
    """
    return max(0, held - weights) if sys.platform == "linux" else held


def cache_type() -> str:
    """The type of the values in the KV cache: ``OLLAMA_KV_CACHE_TYPE``, by default f16."""
    name = os.environ.get("OLLAMA_KV_CACHE_TYPE", "").lower()
    return name if name in _BYTES_OF_32 else "f16"


class _NotKnown(Exception):
    """The metadata lack a value, or hold an impossible one."""


@dataclass(frozen=True)
class CacheShape:
    """What a model caches for the tokens in its context, summed over its layers.

    ``full`` and ``windowed`` count the numbers per token (keys and values together): in layers that
    attend to the whole context, and in those that attend to the last ``window`` tokens only.
    ``state`` is bytes per request in recurrent layers, whatever the length of the context.
    """

    full: int
    windowed: int = 0
    window: int = 0
    state: int = 0

    @classmethod
    def from_layers(
        cls, layers: int, kv_heads: int, head_size: int, window: int = 0, full_every: int = 1
    ) -> CacheShape:
        """The shape of a model whose layers are all alike.

        Args:
            layers: the number of layers.
            kv_heads: key-value heads in each layer.
            head_size: dimensions of each head.
            window: the size of the sliding window in tokens; 0 for none.
            full_every: every so many layers, one attends to the whole context, the others to the
                window.
        """
        full = layers // full_every if window else layers
        each = 2 * kv_heads * head_size
        return cls(full * each, (layers - full) * each, window)

    @classmethod
    def from_metadata(cls, info: Mapping[str, Any]) -> CacheShape | None:
        """The shape from a GGUF file's metadata (``model_info`` in ``/api/show``).

        None if the metadata are not enough.
        """
        try:
            return _read(info)
        except _NotKnown as error:
            log.debug("KV cache of %s not known: %s", info.get("general.architecture"), error)
            return None


def kv_cache_bytes(shape: CacheShape, num_ctx: int, parallel: int = 1, batch: int = BATCH) -> int:
    """Bytes of the KV cache, including the states of recurrent layers.

    For each request, tokens × numbers per token × bytes per number
    (``OLLAMA_KV_CACHE_TYPE``: f16, q8_0 or q4_0). llama.cpp rounds tokens up to a multiple of 256,
    and a sliding-window layer caches the window and one batch.

    Checked against what llama.cpp logs when it loads a model (xllamacpp 2026.10.11549,
    on a CPU): SmolLM2 135M and Gemma 3 270M with 256 to 16,384 tokens, 1 to 4 requests and the
    three types; and small files of random weights of llama, qwen3, phi3, gemma2, gemma3, gemma3n,
    gemma4, gpt-oss, cohere2, olmo2, deepseek2 (latent attention), granitehybrid, lfm2, qwen35,
    falcon-h1, mamba and bert. All agree to the log's two decimals. Servers whose requests share one
    cache need less for windows, so for those it is an upper limit.

    Args:
        shape: the model's shape.
        num_ctx: the context length of one request, in tokens.
        parallel: how many requests run at once.
        batch: how many tokens are processed in one batch.
    """
    cells = _padded(num_ctx)
    windowed = min(cells, _padded(shape.window + batch))
    values = shape.full * cells + shape.windowed * windowed
    return max(0, parallel) * (values * _BYTES_OF_32[cache_type()] // 32 + shape.state)


def memory_needed(
    weights: int, shape: CacheShape | None, num_ctx: int, parallel: int = 1, batch: int = BATCH
) -> int:
    """Bytes that a model needs: weights, KV cache and overhead.

    If its shape is not known (None), a rule of thumb: the weights and a fifth more.
    """
    if shape is None:
        return int(weights * MEMORY_OVER_FILE)
    return weights + kv_cache_bytes(shape, num_ctx, parallel, batch) + OVERHEAD


def embeds(info: Mapping[str, Any]) -> bool:
    """Whether a model makes vectors of texts and does not write any, by its file's metadata."""
    architecture = info.get("general.architecture")
    return architecture in _ENCODERS or f"{architecture}.pooling_type" in info


def pooling(info: Mapping[str, Any]) -> int:
    """How the vector of a text is made of its tokens', as a number of ``llama_pooling_type``."""
    return int(info.get(f"{info.get('general.architecture')}.pooling_type", _MEAN))


def batch_size(info: Mapping[str, Any], num_ctx: int) -> int:
    """Tokens that llama.cpp processes in one batch (its n_ubatch) for a model.

    A text to embed has to be in one batch, except where the vector is that of its last token.
    """
    return num_ctx if embeds(info) and pooling(info) != _LAST else BATCH


def embedding_buffer(info: Mapping[str, Any], num_ctx: int) -> int:
    """Bytes of llama.cpp's compute buffer for a model that embeds; none for others.

    What a batch takes beyond ``OVERHEAD``: for each of its tokens the widest layer's values twice
    (some have two such layers beside each other), five times the model's width, and a row of the
    attention's mask; 32-bit numbers, the mask 16. The widest layer of a model that could also write
    is the one over its vocabulary. Checked against llama.cpp's log (xllamacpp 2026.10.11549): a
    BERT of 384 and one of 768 values with 256 to 8192 tokens, Qwen2.5 0.5B with 512 to 2048; with
    the widest layer once, all agree to 1 %.
    """
    if not embeds(info):
        return 0
    file = _Metadata(info)
    try:
        wide = 2 * file.number("feed_forward_length", 0)
        if file.arch not in _ENCODERS:
            wide = max(wide, file.number("vocab_size", 0))
        each = 4 * (wide + 5 * file.number("embedding_length", 0)) + 2 * num_ctx
    except _NotKnown:
        return 0
    return batch_size(info, num_ctx) * each


def _padded(tokens: int) -> int:
    return -(-max(0, tokens) // _CELLS) * _CELLS


# Reading a GGUF file's metadata as llama.cpp does (in its src/llama-model.cpp and src/models).


def _read(info: Mapping[str, Any]) -> CacheShape:
    file = _Metadata(info)
    if file.arch in _ENCODERS:
        return CacheShape(0)
    all_layers = file.number("block_count", least=1)
    layers = all_layers - file.number("nextn_predict_layers", 0)  # multi-token prediction only
    if not 0 < layers <= _MAX_LAYERS:
        raise _NotKnown("block_count")
    if file.arch in _RECURRENT:
        return CacheShape(0, state=layers * _state(file))
    heads = file.each("attention.head_count", layers)
    kv_heads = file.each("attention.head_count_kv", layers, heads)
    if max(heads) < 1 or max(kv_heads) < 1:
        raise _NotKnown("no layer has attention")
    size = file.number("embedding_length", 0) // max(heads)
    key = file.number("attention.key_length", size)
    value = file.number("attention.value_length", size)
    narrow_key = file.number("attention.key_length_swa", key)
    narrow_value = file.number("attention.value_length_swa", value)
    if file.number("attention.key_length_mla", 0):
        value = 0  # multi-head latent attention: the keys contain the values
    if key < 1:
        raise _NotKnown("attention.key_length")
    recurrent = _recurrent(file, layers, kv_heads)
    windowed = _windowed(file, layers)
    # The last layers may share the cache of earlier ones.
    with_cache = min(layers, all_layers - file.number("attention.shared_kv_layers", 0))
    full = narrow = 0
    for layer in range(with_cache):
        if recurrent[layer] and file.arch not in _BOTH:
            continue
        if windowed[layer]:
            narrow += kv_heads[layer] * (narrow_key + narrow_value)
        else:
            full += kv_heads[layer] * (key + value)
    state = sum(recurrent) * _state(file) if any(recurrent) else 0
    return CacheShape(full, narrow, file.number("attention.sliding_window", 0), state)


def _recurrent(file: _Metadata, layers: int, kv_heads: list[int]) -> list[bool]:
    """Which layers are recurrent, with a state instead of keys and values."""
    if file.arch in _BOTH:
        return [True] * layers
    if file.get("attention.recurrent_layers") is not None:
        return file.flags("attention.recurrent_layers", layers)
    every = file.number("full_attention_interval", _ATTENTION_EVERY.get(file.arch, 1), least=1)
    if every > 1:
        return [layer % every < every - 1 for layer in range(layers)]
    none = [heads == 0 for heads in kv_heads]
    if file.arch in _WITH_LAYERS_OF_NEITHER:
        widths = file.each("feed_forward_length", layers)
        return [flag and width == 0 for flag, width in zip(none, widths, strict=True)]
    return none


def _windowed(file: _Metadata, layers: int) -> list[bool]:
    """Which layers attend to a sliding window only."""
    every = _FULL_LAYER_EVERY.get(file.arch)
    pattern = file.get("attention.sliding_window_pattern", every)
    if not file.number("attention.sliding_window", 0) or pattern is None:
        return [False] * layers
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        every = file.number("attention.sliding_window_pattern", every)
        return [every == 0 or layer % every < every - 1 for layer in range(layers)]
    return file.flags("attention.sliding_window_pattern", layers)


def _state(file: _Metadata) -> int:
    """Bytes of one request's state in a recurrent layer, with its convolution's (32-bit floats)."""
    width = file.number("embedding_length", 0)
    if (cached := file.number("shortconv.l_cache", 0)) > 0:
        return 4 * width * (cached - 1)
    if (head := file.number("wkv.head_size", 0)) > 0:
        return 4 * width * (file.number("token_shift_count", 2) + head)
    inner, state = file.number("ssm.inner_size", 0), file.number("ssm.state_size", 0)
    groups = file.number("ssm.group_count", 0)
    before = max(0, file.number("ssm.conv_kernel", 0) - 1)
    return 4 * (before * (inner + 2 * groups * state) + state * inner)


class _Metadata:
    """The metadata of a file's architecture; missing or impossible values raise ``_NotKnown``."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        arch = info.get("general.architecture")
        if not isinstance(arch, str):
            raise _NotKnown("general.architecture")
        self.info, self.arch = info, arch

    def get(self, name: str, default: Any = None) -> Any:
        return self.info.get(f"{self.arch}.{name}", default)

    def number(self, name: str, default: int | None = None, least: int = 0) -> int:
        return self._whole(name, self.get(name, default), least)

    def each(self, name: str, layers: int, default: int | list[int] | None = None) -> list[int]:
        """A number for each layer; the file has one for all, or a list."""
        value = self.get(name, default)
        if not isinstance(value, list):
            return [self._whole(name, value)] * layers
        if len(value) < layers:
            raise _NotKnown(name)
        return [self._whole(name, one) for one in value[:layers]]

    def flags(self, name: str, layers: int) -> list[bool]:
        """A yes or no for each layer, from a list."""
        value = self.get(name)
        if not isinstance(value, list) or len(value) < layers:
            raise _NotKnown(name)
        if any(one not in (True, False) for one in value):
            raise _NotKnown(name)
        return [bool(one) for one in value[:layers]]

    def _whole(self, name: str, value: object, least: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
            raise _NotKnown(name)
        return value

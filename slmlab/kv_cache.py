"""The KV cache: what a model's layers keep of each token, by its file, and in how many bytes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

# Bytes of 32 values in the KV cache, by OLLAMA_KV_CACHE_TYPE (ggml's block formats).
_BYTES_OF_32 = {"f16": 64, "q8_0": 34, "q4_0": 18}
# llama.cpp allocates the cache for tokens in multiples of this.
_CELLS = 256
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
ENCODERS = {
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


class NotKnown(Exception):
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
        except NotKnown as error:
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


def cache_type() -> str:
    """The type of the values in the KV cache: ``OLLAMA_KV_CACHE_TYPE``, by default f16."""
    name = os.environ.get("OLLAMA_KV_CACHE_TYPE", "").lower()
    return name if name in _BYTES_OF_32 else "f16"


def _padded(tokens: int) -> int:
    return -(-max(0, tokens) // _CELLS) * _CELLS


# Reading a GGUF file's metadata as llama.cpp does (in its src/llama-model.cpp and src/models).


def _read(info: Mapping[str, Any]) -> CacheShape:
    file = Metadata(info)
    if file.arch in ENCODERS:
        return CacheShape(0)
    all_layers = file.number("block_count", least=1)
    layers = all_layers - file.number("nextn_predict_layers", 0)  # multi-token prediction only
    if not 0 < layers <= _MAX_LAYERS:
        raise NotKnown("block_count")
    if file.arch in _RECURRENT:
        return CacheShape(0, state=layers * _state(file))
    heads = file.each("attention.head_count", layers)
    kv_heads = file.each("attention.head_count_kv", layers, heads)
    if max(heads) < 1 or max(kv_heads) < 1:
        raise NotKnown("no layer has attention")
    size = file.number("embedding_length", 0) // max(heads)
    key = file.number("attention.key_length", size)
    value = file.number("attention.value_length", size)
    narrow_key = file.number("attention.key_length_swa", key)
    narrow_value = file.number("attention.value_length_swa", value)
    if file.number("attention.key_length_mla", 0):
        value = 0  # multi-head latent attention: the keys contain the values
    if key < 1:
        raise NotKnown("attention.key_length")
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


def _recurrent(file: Metadata, layers: int, kv_heads: list[int]) -> list[bool]:
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


def _windowed(file: Metadata, layers: int) -> list[bool]:
    """Which layers attend to a sliding window only."""
    every = _FULL_LAYER_EVERY.get(file.arch)
    pattern = file.get("attention.sliding_window_pattern", every)
    if not file.number("attention.sliding_window", 0) or pattern is None:
        return [False] * layers
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        every = file.number("attention.sliding_window_pattern", every)
        return [every == 0 or layer % every < every - 1 for layer in range(layers)]
    return file.flags("attention.sliding_window_pattern", layers)


def _state(file: Metadata) -> int:
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


class Metadata:
    """The metadata of a file's architecture; missing or impossible values raise ``NotKnown``."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        arch = info.get("general.architecture")
        if not isinstance(arch, str):
            raise NotKnown("general.architecture")
        self.info, self.arch = info, arch

    def get(self, name: str, default: Any = None) -> Any:
        """The value under the architecture's name, as it stands."""
        return self.info.get(f"{self.arch}.{name}", default)

    def number(self, name: str, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        return self._whole(name, self.get(name, default), least)

    def each(self, name: str, layers: int, default: int | list[int] | None = None) -> list[int]:
        """A number for each layer; the file has one for all, or a list."""
        value = self.get(name, default)
        if not isinstance(value, list):
            return [self._whole(name, value)] * layers
        if len(value) < layers:
            raise NotKnown(name)
        return [self._whole(name, one) for one in value[:layers]]

    def flags(self, name: str, layers: int) -> list[bool]:
        """A yes or no for each layer, from a list."""
        value = self.get(name)
        if not isinstance(value, list) or len(value) < layers:
            raise NotKnown(name)
        if any(one not in (True, False) for one in value):
            raise NotKnown(name)
        return [bool(one) for one in value[:layers]]

    def _whole(self, name: str, value: object, least: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
            raise NotKnown(name)
        return value

"""How much memory a model takes: its weights, its KV cache, and what the engine needs besides.

Everything that has to know whether a model fits (``slmlab.will_it_fit``, the embedded engine before
it loads a model, the catalogue) uses these functions, so all of them give the same number of bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from slmlab import hardware
from slmlab.devices import gpu_names
from slmlab.kv_cache import BATCH, ENCODERS, CacheShape, Metadata, NotKnown, kv_cache_bytes

# Memory beyond weights and KV cache. Measured on a CPU, as the rest of the growth of a process's
# RSS: 54 MiB (SmolLM2 135M) and 126 MiB (Gemma 3 270M, whose vocabulary is five times as large). On
# a GPU it was 10 to 110 MiB with 512 and 4096 tokens, and 180 to 280 MiB with 32,768 (files of
# random weights in the shape of models of 1, 3 and 7 billion parameters, an H100, 2026-11-26).
OVERHEAD = 150 * 2**20
# On a GPU two things come on top: the context of CUDA with its libraries (on that H100 585 to 612
# MiB, whatever the model; servers do not count it), and what llama.cpp leaves free. Where there is
# less, it puts some of the layers into main memory.
GPU_CONTEXT = 600 * 2**20
GPU_LEFT_FREE = 2**30  # llama.cpp's --fit-target
# A rule of thumb for the memory of a model whose shape is not known, as a multiple of its weights.
MEMORY_OVER_FILE = 1.2

# How a text's vector is made of its tokens' (llama.cpp's llama_pooling_type): their mean, or the
# last one.
_MEAN, _LAST = 1, 3

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


def gpus_of(engine: str) -> tuple[str, ...]:
    """The names of this machine's GPUs that an engine uses.

    The embedded engine's llama.cpp knows only those of Macs.
    """
    return () if engine == "embedded" and sys.platform != "darwin" else gpu_names()


def free_for(engine: str) -> tuple[int, str]:
    """Bytes that are free for models now, and the name of that memory.

    The embedded engine runs models in main memory, Ollama on the GPU if there is one. Apple's GPUs
    share main memory.
    """
    gpu = None if engine == "embedded" else hardware.machine().gpu
    if gpu is None or gpu.total_memory is None:
        return hardware.memory()[1], "memory"
    free = gpu.total_memory if gpu.free_memory is None else gpu.free_memory
    return free, f"{gpu.name}'s memory"


def room_for(engine: str) -> int:
    """Bytes that a model may take now if all of it is to run in the memory of ``free_for``."""
    free, place = free_for(engine)
    return max(0, free - beside_a_model(place))


def beside_a_model(place: str) -> int:
    """Bytes that have to be free beside a model so that all of it runs in ``place``.

    Args:
        place: the name of the memory, as ``free_for`` gives it.
    """
    return 0 if place == "memory" else GPU_CONTEXT + GPU_LEFT_FREE


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
    return architecture in ENCODERS or f"{architecture}.pooling_type" in info


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
    file = Metadata(info)
    try:
        wide = 2 * file.number("feed_forward_length", 0)
        if file.arch not in ENCODERS:
            wide = max(wide, file.number("vocab_size", 0))
        each = 4 * (wide + 5 * file.number("embedding_length", 0)) + 2 * num_ctx
    except NotKnown:
        return 0
    return batch_size(info, num_ctx) * each

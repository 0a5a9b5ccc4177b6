"""Will a model fit into this machine's memory? Weights, KV cache and overhead, added up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slmlab import hardware, models, server
from slmlab.errors import ModelError
from slmlab.hardware import gib

# Beyond weights and KV cache: 54 MiB (SmolLM2 135M) and 126 MiB (Gemma 3 270M, whose vocabulary is
# five times as large) were measured on a CPU, as what a runner's RSS grew by over both. On a GPU
# the driver's own context comes on top, which was not measured.
OVERHEAD = 150 * 2**20
# Bytes per value of the KV cache, by OLLAMA_KV_CACHE_TYPE: 32 values of q8_0 take 34 bytes, of
# q4_0 18 (ggml's block formats).
KV_BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
# In these families only every n-th layer looks at the whole context, the others at a window
# (set_swa_pattern in llama.cpp's src/models). Elsewhere every layer is taken to look at all.
FULL_LAYER_EVERY = {"gemma2": 2, "gemma3": 6}
# What a windowed layer caches beyond its window: one batch (llama.cpp's n_ubatch).
BATCH = 512


@dataclass(frozen=True)
class Fit:
    """What a model needs and what there is, in bytes. ``kv_cache`` is None where it is not known.

    ``needed`` is with the context full; a model that was just loaded may show less, since systems
    hand out memory when it is first written to.
    """

    model: str
    num_ctx: int
    parallel: int
    weights: int
    kv_cache: int | None
    overhead: int
    available: int
    place: str

    @property
    def needed(self) -> int:
        """Weights, KV cache and overhead; without a known KV cache a rule of thumb."""
        if self.kv_cache is None:
            return int(self.weights * models.MEMORY_OVER_FILE)
        return self.weights + self.kv_cache + self.overhead

    @property
    def fits(self) -> bool:
        """Whether what is needed is there now."""
        return self.needed <= self.available

    def __str__(self) -> str:
        """A line for a person."""
        verdict = "fits" if self.fits else "does not fit"
        if self.kv_cache is None:
            parts = f"{gib(self.weights)} of weights and a fifth more, as a rule of thumb"
        else:
            times = f" × {self.parallel} at once" if self.parallel > 1 else ""
            parts = (
                f"weights {gib(self.weights)} + KV cache {gib(self.kv_cache)} "
                f"({self.num_ctx:,} tokens{times}) + overhead {gib(self.overhead)}"
            )
        return (
            f"{self.model} {verdict}: it needs {gib(self.needed)} ({parts}); "
            f"{gib(self.available)} of {self.place} are free."
        )


def will_it_fit(model: str, num_ctx: int = 4096, host: str | None = None) -> Fit:
    """Whether a model fits into this machine's memory, and why.

    For an installed model the architecture is asked of the server; for another one, the size of
    its download in Ollama's library is the base of a rule of thumb.

    Args:
        model: a model's name.
        num_ctx: the context length in tokens.
        host: a server on this machine (default: ``slmlab.server.host()``).

    Raises:
        ModelError: the model is neither here nor in Ollama's library (or that is out of reach).
    """
    host = host or server.host()
    machine = hardware.machine()
    resident = [one for one in models.loaded(host) if models.is_among(model, [one.name])]
    try:
        weights = models.resolve(model, host).size
        kv_cache: int | None = None
        info = models.show(model, host)["modelinfo"] or {}
        engine = (server.ask_version(host) or {}).get("engine", "ollama")
        parallel = _parallel(engine)
        kv_cache = kv_cache_bytes(info, num_ctx * parallel)
    except ModelError:
        size = models.download_size(model)
        if size is None:
            raise
        weights, kv_cache, parallel = size, None, 1
    gpu = machine.gpu
    return Fit(
        model=model, num_ctx=num_ctx, parallel=parallel, weights=weights, kv_cache=kv_cache,
        overhead=OVERHEAD,
        # What the model itself holds now would be free for it.
        available=machine.model_memory + sum(one.memory for one in resident),
        place=f"{gpu.name}'s memory" if gpu and gpu.total_memory else "memory",
    )  # fmt: skip


def _parallel(engine: str) -> int:
    """For how many requests at once a server of this machine holds a KV cache."""
    return hardware.env_number("OLLAMA_NUM_PARALLEL") or {"embedded": 4}.get(engine, 1)


def kv_cache_bytes(info: Mapping[str, Any], tokens: int) -> int | None:
    """Bytes of the keys and values that a model keeps for so many tokens.

    2 (keys and values) × layers × KV heads × head size × tokens × bytes per value. ``info`` is the
    ``model_info`` of ``/api/show``, which are the GGUF file's own metadata. None where they do not
    say enough.
    """
    arch = info.get("general.architecture")
    layers = info.get(f"{arch}.block_count")
    heads = info.get(f"{arch}.attention.head_count")
    kv_heads = info.get(f"{arch}.attention.head_count_kv") or heads
    if not all(isinstance(value, int) and value > 0 for value in (layers, heads, kv_heads)):
        return None
    head_size = info.get(f"{arch}.attention.key_length")
    head_size = head_size or info.get(f"{arch}.embedding_length", 0) // heads
    each = 2 * kv_heads * head_size
    each *= KV_BYTES.get(os.environ.get("OLLAMA_KV_CACHE_TYPE", "f16"), 2.0)
    window, every = info.get(f"{arch}.attention.sliding_window"), FULL_LAYER_EVERY.get(arch)
    if not (window and every):
        return int(each * layers * tokens)
    full = layers // every
    return int(each * (full * tokens + (layers - full) * min(tokens, window + BATCH)))

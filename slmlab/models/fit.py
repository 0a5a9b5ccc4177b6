"""Will a model fit into this machine's memory? Weights, KV cache and overhead, added up."""

from __future__ import annotations

from dataclasses import dataclass

from slmlab import hardware, memory
from slmlab.engines import server
from slmlab.engines.client import ask_version
from slmlab.errors import ModelError
from slmlab.hardware import gib
from slmlab.memory import OVERHEAD, kv_cache_bytes
from slmlab.models import inventory
from slmlab.models.download import download_size


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
            return int(self.weights * memory.MEMORY_OVER_FILE)
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


def will_it_fit(model: str, num_ctx: int = 4096, *, host: str | None = None) -> Fit:
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
    resident = [one for one in inventory.loaded(host) if inventory.is_among(model, [one.name])]
    try:
        weights = inventory.resolve(model, host).size
        kv_cache: int | None = None
        info = inventory.show(model, host)["modelinfo"] or {}
        engine = (ask_version(host) or {}).get("engine", "ollama")
        parallel = _parallel(engine)
        kv_cache = kv_cache_bytes(info, num_ctx * parallel)
    except ModelError:
        size = download_size(model)
        if size is None:
            raise
        weights, kv_cache, parallel = size, None, 1
    gpu = machine.gpu
    return Fit(
        model=model,
        num_ctx=num_ctx,
        parallel=parallel,
        weights=weights,
        kv_cache=kv_cache,
        overhead=OVERHEAD,
        # What the model itself holds now would be free for it.
        available=machine.model_memory + sum(one.memory for one in resident),
        place=f"{gpu.name}'s memory" if gpu and gpu.total_memory else "memory",
    )


def _parallel(engine: str) -> int:
    """For how many requests at once a server of this machine holds a KV cache."""
    return hardware.env_number("OLLAMA_NUM_PARALLEL") or {"embedded": 4}.get(engine, 1)

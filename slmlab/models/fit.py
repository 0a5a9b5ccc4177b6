"""Will a model fit into this machine's memory? Weights, KV cache and overhead, added up."""

from __future__ import annotations

from dataclasses import dataclass

from slmlab import hardware
from slmlab.engines import server
from slmlab.engines.client import ask_version
from slmlab.errors import ModelError
from slmlab.facts import facts_html
from slmlab.hardware import gib
from slmlab.memory import (
    CacheShape,
    kv_cache_bytes,
    memory_needed,
    parallel_requests,
)
from slmlab.models import inventory
from slmlab.models.download import download_size


@dataclass(frozen=True, repr=False)
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
    needed: int
    available: int
    place: str

    @property
    def overhead(self) -> int:
        """What is needed beyond weights and KV cache."""
        return self.needed - self.weights - (self.kv_cache or 0)

    @property
    def fits(self) -> bool:
        """Whether what is needed is there now."""
        return self.needed <= self.available

    @property
    def _verdict(self) -> str:
        return "fits" if self.fits else "does not fit"

    @property
    def _tokens(self) -> str:
        times = f" × {self.parallel} at once" if self.parallel > 1 else ""
        return f"{self.num_ctx:,} tokens{times}"

    def __str__(self) -> str:
        """A line for a person."""
        if self.kv_cache is None:
            parts = f"{gib(self.weights)} of weights and a fifth more, as a rule of thumb"
        else:
            parts = (
                f"weights {gib(self.weights)} + KV cache {gib(self.kv_cache)} "
                f"({self._tokens}) + overhead {gib(self.overhead)}"
            )
        return (
            f"{self.model} {self._verdict}: it needs {gib(self.needed)} ({parts}); "
            f"{gib(self.available)} of {self.place} are free."
        )

    def __repr__(self) -> str:
        return f"<Fit: {self.model} {self._verdict}, {gib(self.needed)} of {gib(self.available)}>"

    def _repr_html_(self) -> str:
        cache = self.kv_cache
        return facts_html(
            f"{self.model} {self._verdict}",
            [
                ("Weights", gib(self.weights)),
                ("KV cache", "not known" if cache is None else f"{gib(cache)}, {self._tokens}"),
                ("Overhead", gib(self.overhead) + (", a rule of thumb" if cache is None else "")),
                ("Needed", gib(self.needed)),
                ("Free", f"{gib(self.available)} of {self.place}"),
            ],
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

    Examples:
        >>> fit = slmlab.will_it_fit(names[0], num_ctx=8192)
        >>> fit.needed > fit.weights
        True
    """
    host = host or server.host()
    machine = hardware.machine()
    resident = [one for one in inventory.loaded(host) if inventory.is_among(model, [one.name])]
    shape: CacheShape | None = None
    parallel = 1
    try:
        weights = inventory.resolve(model, host).size
        shape = CacheShape.from_metadata(inventory.show(model, host)["modelinfo"] or {})
        parallel = parallel_requests((ask_version(host) or {}).get("engine", "ollama"))
    except ModelError:
        size = download_size(model)
        if size is None:
            raise
        weights = size
    gpu = machine.gpu
    return Fit(
        model=model,
        num_ctx=num_ctx,
        parallel=parallel,
        weights=weights,
        kv_cache=kv_cache_bytes(shape, num_ctx, parallel) if shape else None,
        needed=memory_needed(weights, shape, num_ctx, parallel),
        # What the model itself holds now would be free for it.
        available=machine.model_memory + sum(one.memory for one in resident),
        place=f"{gpu.name}'s memory" if gpu and gpu.total_memory else "memory",
    )

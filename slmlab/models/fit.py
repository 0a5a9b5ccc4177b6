"""Will a model fit into this machine's memory? Weights, KV cache and overhead, added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slmlab.engines import server
from slmlab.engines.client import engine_of
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from slmlab.facts import facts_html
from slmlab.hardware import gib
from slmlab.kv_cache import CacheShape, kv_cache_bytes
from slmlab.memory import (
    GPU_CONTEXT,
    batch_size,
    beside_a_model,
    effective_context,
    embedding_buffer,
    free_for,
    freed_by_unloading,
    memory_needed,
    parallel_requests,
    room_for,
)
from slmlab.models import catalog, inventory
from slmlab.models.download import download_size


@dataclass(frozen=True, repr=False)
class Fit:
    """The memory that a model needs and that is available, in bytes; an unknown KV cache is None.

    ``num_ctx`` is the context length that the server loads the model with: the requested one
    (``requested_ctx``), capped at the model's own. ``needed`` is for a full context; right after
    loading, a process may show less, since systems hand out memory when it is first written to. On
    a GPU it contains what has to stay free there, so that no part of the model runs on the CPU.
    """

    model: str
    num_ctx: int
    parallel: int
    weights: int
    kv_cache: int | None
    needed: int
    available: int
    place: str
    requested_ctx: int | None = None

    @property
    def overhead(self) -> int:
        """The memory needed beyond weights and KV cache."""
        return self.needed - self.weights - (self.kv_cache or 0)

    @property
    def fits(self) -> bool:
        """Whether the needed memory is available now."""
        return self.needed <= self.available

    @property
    def _verdict(self) -> str:
        return "fits" if self.fits else "does not fit"

    @property
    def _tokens(self) -> str:
        times = f" × {self.parallel} at once" if self.parallel > 1 else ""
        most = ", the most that it has" if self.num_ctx < (self.requested_ctx or 0) else ""
        return f"{self.num_ctx:,} tokens{most}{times}"

    def __str__(self) -> str:
        """One readable line."""
        beside = beside_a_model(self.place)
        if self.kv_cache is None:
            parts = f"{gib(self.weights)} of weights and a fifth more, as a rule of thumb"
            parts += f", and {gib(beside)} to stay free on a GPU" if beside else ""
        else:
            parts = (
                f"weights {gib(self.weights)} + KV cache {gib(self.kv_cache)} "
                f"({self._tokens}) + overhead {gib(self.overhead)}"
            )
            parts += f", {gib(beside)} of it to stay free on a GPU" if beside else ""
        slower = (
            " Ollama would run a part of it on the CPU, which is much slower, or fail to load it."
        )
        return (
            f"{self.model} {self._verdict}: it needs {gib(self.needed)} ({parts}); "
            f"{gib(self.available)} of {self.place} are free."
            + (slower if beside and not self.fits else "")
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


def free_memory(*, host: str | None = None) -> int:
    """Bytes of this machine's memory that a model may take now.

    That is free main memory for the embedded engine, and for Ollama on a machine without a GPU.
    With a GPU, Ollama runs models in the GPU's memory; 1.6 GiB of that have to stay free, or a part
    of the model runs on the CPU. If no server answers, the number is Ollama's.

    Args:
        host: a server on this machine (default: ``slmlab.server.host()``).

    Examples:
        >>> slmlab.models.free_memory() / 1e9 > 0.1
        True
    """
    return room_for(engine_of(server.address_of(host)))


def will_it_fit(model: str, num_ctx: int = 4096, *, host: str | None = None) -> Fit:
    """Whether a model fits into this machine's memory, and why.

    For an installed model this is computed from its architecture, as the server reports it; for
    others from the size of the download in the package index or in its registry, which is Ollama's
    library by default, and from the architecture in the catalogue. Where that has none, a rule of
    thumb is applied, which knows nothing of ``num_ctx``.

    Args:
        model: a model's name.
        num_ctx: the context length in tokens, capped at the model's own.
        host: a server on this machine (default: ``slmlab.server.host()``).

    Raises:
        PromptError: ``num_ctx`` is not a number of tokens.
        ModelError: ``model`` is not a name, or neither installed nor found in its registry (or
            that cannot be reached).

    Examples:
        >>> fit = slmlab.will_it_fit(names[0], num_ctx=8192)
        >>> fit.needed > fit.weights
        True
    """
    host = server.address_of(host)
    inventory.validate_model(model)
    num_ctx = inventory.validate_context(num_ctx)
    resident = [one for one in inventory.loaded(host=host) if inventory.is_among(model, [one.name])]
    engine = engine_of(host)
    shape: CacheShape | None = None
    info: dict[str, Any] = {}
    parallel, length = 1, num_ctx
    try:
        weights = inventory.resolve(model, host=host).size
        info = inventory.show(model, host=host)["modelinfo"] or {}
        shape = CacheShape.from_metadata(info)
        parallel = parallel_requests(engine)
        length = effective_context(
            num_ctx, info.get(f"{info.get('general.architecture')}.context_length")
        )
    except ModelError:
        size = _pinned_size(model) if engine == "embedded" else None
        size = size or download_size(model)
        if size is None:
            raise
        weights = size
        if row := catalog.of_tag(model):
            shape = catalog.cache_shape(row)
            parallel = parallel_requests(engine)
            length = effective_context(num_ctx, row["context"])
    available, place = free_for(engine)
    if place == "memory":
        held = freed_by_unloading(sum(one.memory for one in resident), weights)
    else:
        on_gpu = [int(one.memory * (one.gpu_share or 0)) for one in resident]
        held = sum(size + GPU_CONTEXT for size in on_gpu if size)
    return Fit(
        model=model,
        num_ctx=length,
        parallel=parallel,
        weights=weights,
        kv_cache=kv_cache_bytes(shape, length, parallel) if shape else None,
        needed=memory_needed(weights, shape, length, parallel, batch_size(info, length))
        + embedding_buffer(info, length)
        + beside_a_model(place),
        # Memory that the model itself holds now is available to it.
        available=available + held,
        place=place,
        requested_ctx=num_ctx,
    )


def _pinned_size(model: str) -> int | None:
    """Bytes of a model's file in the package index, from where the embedded engine gets it."""
    files = [one for one in PYPI_MODELS if one.format == "gguf"]
    return next((one.size for one in files if inventory.is_among(model, [one.name])), None)

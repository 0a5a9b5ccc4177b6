"""The catalogue of small language models: facts with their sources, and what fits this machine.

The facts are in ``data/catalog.json``: per model ``{"name", "ollama_tag", "facts"}``, where each
fact is ``[value, source]``; facts that were not found are left out and show as unknown. ``latest``
is true where Ollama's library has this model as ``:latest`` too.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from slmlab.engines import server
from slmlab.engines.address import is_local
from slmlab.engines.client import engine_of
from slmlab.errors import ModelError, ServerError, did_you_mean
from slmlab.kv_cache import CacheShape
from slmlab.memory import (
    effective_context,
    free_for,
    memory_needed,
    parallel_requests,
    room_for,
)
from slmlab.models import inventory, speed

if TYPE_CHECKING:
    import pandas as pd


FILE = Path(__file__).parent.parent / "data/catalog.json"
FACTS = (
    "developer",
    "released",
    "parameters",
    "active_parameters",
    "layers",
    "cache_layers",
    "kv_heads",
    "head_size",
    "sliding_window",
    "full_attention_every",
    "context",
    "training_tokens",
    "made_by",
    "modality",
    "languages",
    "license",
    "download_gb",
    "quantization",
    "benchmark",
)
# Bits per weight of a whole file: of Llama 3.1 8B
# (https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md), and for Q4_0 of a
# block, since that list lacks it. Where the quantization is not known, it is Ollama's usual one.
BITS_PER_WEIGHT = {"F16": 16.0, "Q8_0": 8.5, "Q4_K_M": 4.89, "Q4_0": 4.5}
USUAL_QUANTIZATION = "Q4_K_M"


@functools.lru_cache(maxsize=1)
def _read() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return facts


def _models() -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = _read()["models"]
    return models


def table() -> pd.DataFrame:
    """All facts: one row for each model, ``name``, ``ollama_tag`` and a column for each fact.

    ``parameters`` and ``active_parameters`` are counts, rounded where the source rounds (active:
    those that a mixture of experts uses for one token, or those without the embeddings of each
    layer), ``context`` and ``training_tokens`` are tokens, ``head_size`` is dimensions per head.
    ``cache_layers`` is how many of the ``layers`` have a KV cache of their own, if not all.
    ``sliding_window`` is the window in tokens of layers that have one; every
    ``full_attention_every``-th layer attends to the whole context instead. ``released`` is year and
    month; ``download_gb`` and ``quantization`` are the size (GB) and the format of the tag in
    Ollama's library, or of the file in the package index that has its name. A ``benchmark`` names
    its test and how it was run: scores of different tests, or of base and instruct models, can't
    be compared. Unknown facts are None.

    Examples:
        >>> table = slmlab.catalog.table()
        >>> small = table[table["parameters"] < 1e9]["name"]
    """
    import pandas as pd

    # As objects, so that counts stay whole numbers beside None.
    return pd.DataFrame([_row(one) for one in _models()], dtype=object)


def _row(model: dict[str, Any]) -> dict[str, Any]:
    facts = {fact: model["facts"].get(fact, (None, ""))[0] for fact in FACTS}
    return {"name": model["name"], "ollama_tag": model["ollama_tag"]} | facts


def of_tag(name: str) -> dict[str, Any] | None:
    """The row of ``table()`` with the model of this name in Ollama's library; None without one.

    Examples:
        >>> slmlab.catalog.of_tag("llama3.2:1b")["name"]
        'Llama 3.2 1B'
    """
    for one in _models():
        if one["ollama_tag"] and inventory.is_among(
            name, _names(one["ollama_tag"], "latest" in one)
        ):
            return _row(one)
    return None


def _names(tag: str, latest: bool) -> list[str]:
    """The full names in Ollama's library of a model with this tag."""
    return [tag, f"{tag.split(':')[0]}:latest"] if latest else [tag]


def sources(name: str) -> dict[str, str]:
    """The source of each fact of a model: fact → web address.

    Raises:
        ModelError: the catalogue has no model of that name; the message names the nearest.

    Examples:
        >>> slmlab.catalog.sources("Gemma 3 1B")["context"]
        'https://...'
    """
    known = _read()["sources"]
    for one in _models():
        if one["name"] == name:
            return {fact: known.get(source, source) for fact, (_, source) in one["facts"].items()}
    names = [one["name"] for one in _models()]
    raise ModelError(f"The catalogue has no model {name!r}.{_nearest(str(name), names)}")


def source_name(address: str) -> str:
    """A short name for a source: whose card, which paper, or which site.

    Examples:
        >>> slmlab.catalog.source_name("https://huggingface.co/Qwen/Qwen3-0.6B")
        'Qwen card'
        >>> slmlab.catalog.source_name("https://ollama.com/library/qwen3")
        'ollama.com'
    """
    url = urlsplit(address)
    host, parts = (url.hostname or "").removeprefix("www."), url.path.strip("/").split("/")
    if host == "huggingface.co" and len(parts) > 1 and parts[0] not in ("docs", "blog"):
        return f"{parts[0]} {'config' if parts[-1] == 'config.json' else 'card'}"
    if host == "github.com" and len(parts) > 1:
        return f"{parts[1]} on GitHub"
    if host == "arxiv.org":
        return f"arXiv {parts[-1]}"
    return " ".join([host, *(part for part in parts[:1] if part in ("docs", "blog"))])


def _nearest(name: str, names: list[str]) -> str:
    """`` Did you mean …?``, ignoring upper and lower case; empty without a near name."""
    folded = {one.casefold(): one for one in names}
    if name.casefold() in folded:
        return f" Did you mean {folded[name.casefold()]!r}?"
    return did_you_mean(name, names)


def last_checked() -> str:
    """The day on which the facts were last checked against their sources, as ``YYYY-MM-DD``.

    Examples:
        >>> slmlab.catalog.last_checked()
        '20...'
    """
    return str(_read()["read"])


def memory(row: dict[str, Any], num_ctx: int = 4096, parallel: int = 1) -> int | None:
    """Bytes that a model takes in the quantization of Ollama's library; None if unknown.

    Weights, KV cache and overhead, by the same formula as ``slmlab.will_it_fit``, which is for
    installed models. Where the size of the download is not known, the weights are estimated from
    the parameters and the quantization.

    Args:
        row: a row of ``table()``.
        num_ctx: the context length in tokens, capped at the model's own.
        parallel: how many requests the server runs at once.

    Examples:
        >>> rows = slmlab.catalog.table().to_dict("records")
        >>> sizes = {row["name"]: slmlab.catalog.memory(row, num_ctx=8192) for row in rows}
    """
    weights = _weights(row)
    if weights is None:
        return None
    length = effective_context(num_ctx, row.get("context"))
    return memory_needed(int(weights), cache_shape(row), length, parallel)


def _weights(row: dict[str, Any]) -> float | None:
    """Bytes of a model's weights; None if unknown."""
    if row["parameters"] is None:
        return None
    if row["download_gb"]:
        return float(row["download_gb"] * 1e9)
    bits = BITS_PER_WEIGHT[row.get("quantization") or USUAL_QUANTIZATION]
    return float(row["parameters"] * bits / 8)


def cache_shape(row: dict[str, Any]) -> CacheShape | None:
    """The numbers on which the size of the model's KV cache depends; None if unknown.

    Examples:
        >>> rows = slmlab.catalog.table().to_dict("records")
        >>> shapes = {row["name"]: slmlab.catalog.cache_shape(row) for row in rows}
    """
    layers = row.get("cache_layers") or row["layers"]
    heads, size = row["kv_heads"], row["head_size"]
    if layers is None or heads is None or size is None:
        return None
    window, every = row["sliding_window"], row["full_attention_every"]
    return CacheShape.from_layers(layers, heads, size, window or 0, every or 1)


def on_this_machine(num_ctx: int = 4096, *, host: str | None = None) -> pd.DataFrame:
    """The table with four more columns: ``memory``, ``fits``, ``tokens_per_s`` and ``here``.

    ``memory`` is in bytes with that context length, for as many requests as the server runs at
    once; ``fits`` compares it with ``slmlab.models.free_memory()``. ``tokens_per_s`` is the speed
    at which the model is likely to write here (see ``slmlab.models.speed``): None if it does not
    fit or writes no text, on a GPU with memory of its own, and for a server on another machine.
    ``here`` is the full name of an installed model of that tag, or None; without a server it is
    always None.

    Examples:
        >>> table = slmlab.catalog.on_this_machine(num_ctx=8192)
        >>> table[["name", "memory", "fits"]].head()
    """
    import pandas as pd

    num_ctx = inventory.validate_context(num_ctx)
    frame, host = table(), server.address_of(host)
    try:
        installed = [one.name for one in inventory.installed(host=host)]
    except ServerError:
        installed = []
    engine = engine_of(host)
    parallel, room = parallel_requests(engine), room_for(engine)
    needed = [memory(row, num_ctx, parallel) for row in frame.to_dict("records")]
    frame["memory"] = pd.Series(needed, dtype=object)
    frame["fits"] = pd.Series(
        [None if bytes_ is None else bytes_ <= room for bytes_ in needed], dtype=object
    )
    predictable = is_local(host) and free_for(engine)[1] == "memory"
    rate = speed.predicted(1) if predictable else None
    frame["tokens_per_s"] = pd.Series(
        [_speed(row, rate) for row in frame.to_dict("records")], dtype=object
    )
    here = [_installed_as(one["ollama_tag"], installed, "latest" in one) for one in _models()]
    frame["here"] = pd.Series(here, dtype=object)
    return frame


def _speed(row: dict[str, Any], rate: float | None) -> float | None:
    """Tokens per second of a model, from those that one of a byte would write."""
    weights = _weights(row)
    if rate is None or weights is None or not row["fits"] or row["modality"] == "text to vectors":
        return None
    # For each token, a mixture of experts reads only some of its weights.
    active: int = row["active_parameters"] or row["parameters"]
    return float(rate * row["parameters"] / (weights * active))


def _installed_as(tag: str | None, installed: list[str], latest: bool = False) -> str | None:
    """The full name of an installed model of this tag, with or without a quantization."""
    if tag is None:
        return None
    tags = _names(tag, latest)
    exact = [name for name in installed if any(inventory.is_among(one, [name]) for one in tags)]
    # smollm2:135m is installed as smollm2:135m-instruct-q4_1, but llama3.2 not as llama3.2-vision.
    others = {one["ollama_tag"] for one in _models()}  # as deepseek-r1:8b-llama-distill-q4_K_M
    longer = [
        name
        for name in installed
        if ":" in tag and name.startswith(f"{tag}-") and name not in others
    ]
    return next(iter(exact + longer), None)

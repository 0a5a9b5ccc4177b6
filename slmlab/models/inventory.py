"""Models: get, list, show and remove them, and see what is loaded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tenacity

from slmlab.engines import server
from slmlab.engines.embedded.pypi_models import SHELF
from slmlab.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
from slmlab.engines import client as engine_client
from slmlab.engines.client import client

# The five models of the tutorial, by their Ollama names.
TUTORIAL_MODELS = ("llama3.2", "phi3.5", "qwen2:1.5b", "gemma2:2b", "mistral")


def sentences(host: str, model: str = "") -> contextlib.AbstractContextManager[None]:
    """Turn what the client and the network raise into sentences that know which models there are.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    return engine_client.sentences(
        host,
        model,
        here=lambda: {one.name: one.size for one in installed(host)},
        elsewhere=(*TUTORIAL_MODELS, *(one.name for one in SHELF)),
    )


@dataclass(frozen=True)
class InstalledModel:
    """One model on the server's disk. ``size`` in bytes."""

    name: str
    size: int
    parameters: str
    quantization: str
    family: str
    digest: str


def installed(host: str | None = None) -> list[InstalledModel]:
    """The models on the server's disk, the newest first.

    Raises:
        ServerError: no server answers.
    """
    host = host or server.host()
    with sentences(host):
        found = client(host).list().models
    return [
        InstalledModel(
            name=one.model,
            size=int(one.size or 0),
            parameters=one.details.parameter_size or "" if one.details else "",
            quantization=one.details.quantization_level or "" if one.details else "",
            family=one.details.family or "" if one.details else "",
            digest=one.digest or "",
        )
        for one in found
    ]


def table(host: str | None = None) -> pd.DataFrame:
    """The installed models as a DataFrame: one row each, sizes in GB (10⁹ bytes)."""
    import pandas as pd

    rows = [
        {
            "model": one.name,
            "parameters": one.parameters,
            "quantization": one.quantization,
            "size_gb": round(one.size / 1e9, 2),
            "family": one.family,
        }
        for one in installed(host)
    ]
    columns = ["model", "parameters", "quantization", "size_gb", "family"]
    return pd.DataFrame(rows, columns=columns)


def is_among(name: str, full_names: Collection[str]) -> bool:
    """Whether a name, for which ``:latest`` may be left out, is one of the server's full names."""
    return name in full_names or f"{name}:latest" in full_names


def resolve(name: str, host: str | None = None) -> InstalledModel:
    """The installed model of this name; ``llama3.2`` means ``llama3.2:latest``, as in Ollama.

    Raises:
        ModelError: there is none; the message names the nearest.
    """
    host = host or server.host()
    have = installed(host)
    for one in have:
        if is_among(name, [one.name]):
            return one
    names = [one.name for one in have]
    raise ModelError(
        f"There is no model {name!r} on {host}.{did_you_mean(name, names)} "
        + (f"Here now: {', '.join(names)}. " if names else "No model is here yet. ")
        + f"Get it with slmlab.pull({name!r})."
    )


def show(name: str, host: str | None = None) -> dict[str, Any]:
    """All that the server knows of one model: template, parameters, licence, architecture."""
    host = host or server.host()
    with sentences(host, name):
        return client(host).show(name).model_dump()


def remove(name: str, host: str | None = None) -> None:
    """Delete one model from the server's disk."""
    host = host or server.host()
    with sentences(host, name):
        client(host).delete(name)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. ``memory`` in bytes; ``gpu_share`` from 0 (all CPU) to 1 (all GPU)."""

    name: str
    memory: int
    gpu_share: float
    context_length: int | None
    digest: str


def loaded(host: str | None = None) -> list[LoadedModel]:
    """The models that are in memory now, and how much of each is on the GPU."""
    host = host or server.host()
    with sentences(host):
        found = client(host).ps().models
    return [
        LoadedModel(
            name=one.model or "",
            memory=int(one.size or 0),
            gpu_share=(one.size_vram or 0) / one.size if one.size else 0.0,
            context_length=getattr(one, "context_length", None),
            digest=one.digest or "",
        )
        for one in found
    ]


def load(name: str, num_ctx: int, host: str | None = None, **options: Any) -> float:
    """Load a model into memory; returns the seconds that it took, by the client's clock.

    The server answers a request that only loads without any duration of its own.
    """
    host = host or server.host()
    started = time.perf_counter()
    with sentences(host, name):
        client(host).generate(name, "", options={"num_ctx": num_ctx, **options}, stream=False)
    return time.perf_counter() - started


def unload(name: str, host: str | None = None) -> None:
    """Take a model out of memory, and wait until it is out (ten seconds at most).

    Ollama answers at once and unloads afterwards.
    """
    host = host or server.host()
    with sentences(host, name):
        client(host).generate(name, "", keep_alive=0, stream=False)
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda names: is_among(name, names)),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(10),
        retry_error_callback=lambda _: None,
    )
    waiting(lambda: [one.name for one in loaded(host)])


def add(name: str, gguf: str, host: str | None = None) -> None:
    """Give the server a GGUF file of your own as a model called ``name``."""
    host = host or server.host()
    with sentences(host, name):
        digest = client(host).create_blob(gguf)
        client(host).create(name, files={gguf.rsplit("/", 1)[-1]: digest}, stream=False)

"""Models on a server: list, show, load, unload, add and remove them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.engines import server, server_errors
from slmlab.engines.address import speaks_openai
from slmlab.engines.client import client, facts
from slmlab.engines.embedded import gguf_header
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.engines.model_names import NameNotValid, full_name
from slmlab.errors import ModelError, PromptError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

# The five models of the tutorial, by their Ollama names.
TUTORIAL_MODELS = ("llama3.2", "phi3.5", "qwen2:1.5b", "gemma2:2b", "mistral")
# What a server may leave out of a model's facts where there is none.
SHOWN = ("template", "modelfile", "license", "details", "parameters", "capabilities")
# The first bytes of every GGUF file.
GGUF_MAGIC = b"GGUF"


def errors_as_sentences(host: str, model: str = "") -> contextlib.AbstractContextManager[None]:
    """Turn errors of the client and the network into sentences that name the models there are.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    return server_errors.errors_as_sentences(
        host,
        model,
        installed=lambda: {one.name: one.size for one in installed(host=host)},
        available=(*TUTORIAL_MODELS, *(one.name for one in PYPI_MODELS)),
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


def installed(*, host: str | None = None) -> list[InstalledModel]:
    """The models on the server's disk, the newest first.

    Raises:
        ServerError: no server answers.

    Examples:
        >>> newest = slmlab.models.installed()[0]
        >>> newest.size > 10_000_000  # bytes
        True
    """
    host = server.address_of(host)
    with errors_as_sentences(host):
        found = facts(host, "/api/tags").get("models") or ()
    return [
        InstalledModel(
            name=one.get("model") or "",
            size=int(one.get("size") or 0),
            parameters=details.get("parameter_size") or "",
            quantization=details.get("quantization_level") or "",
            family=details.get("family") or "",
            digest=one.get("digest") or "",
        )
        for one in found
        for details in [one.get("details") or {}]
    ]


def table(*, host: str | None = None) -> pd.DataFrame:
    """The installed models as a DataFrame: one row each, sizes in GB (10⁹ bytes).

    Examples:
        >>> set(names) <= set(slmlab.models.table()["model"])
        True
    """
    import pandas as pd

    rows = [
        {
            "model": one.name,
            "parameters": one.parameters,
            "quantization": one.quantization,
            "size_gb": round(one.size / 1e9, 2),
            "family": one.family,
        }
        for one in installed(host=host)
    ]
    columns = ["model", "parameters", "quantization", "size_gb", "family"]
    return pd.DataFrame(rows, columns=columns)


def validate_model(model: object) -> str:
    """The name of a model, checked.

    Raises:
        ModelError: it is not a text, or is blank.
    """
    if not isinstance(model, str) or not model.strip():
        raise ModelError(f"Models are given by their names, such as 'llama3.2:1b'; got {model!r}.")
    return model


def validate_context(num_ctx: object) -> int:
    """A context length in tokens, checked.

    Raises:
        PromptError: it is not a positive whole number.
    """
    # numpy's integers, which come out of tables, are accepted too.
    length = 0 if isinstance(num_ctx, bool) else int(getattr(num_ctx, "__index__", int)())
    if length < 1:
        raise PromptError(f"num_ctx is a number of tokens, such as 4096; got {num_ctx!r}.")
    return length


def as_names(models: Iterable[str | Iterable[str]]) -> list[str]:
    """Names of models, given one by one or in lists: each once, in order.

    Raises:
        ModelError: one of them is not a name.
    """
    names: dict[str, None] = {}
    for given in models:
        for name in [given] if isinstance(given, str) or not isinstance(given, Iterable) else given:
            names[validate_model(name)] = None
    return [*names]


def is_among(name: str, full_names: Collection[str]) -> bool:
    """Whether a name, with or without ``:latest``, is one of these full names.

    Examples:
        >>> slmlab.models.is_among("llama3.2", ["llama3.2:latest", "gemma3:1b"])
        True
    """
    with contextlib.suppress(NameNotValid):
        return name in full_names or full_name(name) in full_names
    return False


def resolve(model: str, *, host: str | None = None) -> InstalledModel:
    """The installed model of this name; ``llama3.2`` means ``llama3.2:latest``, as in Ollama.

    Raises:
        ModelError: there is none; the message names the nearest.

    Examples:
        >>> slmlab.models.resolve(names[0]).quantization
        'Q4_1'
    """
    host = server.address_of(host)
    validate_model(model)
    have = installed(host=host)
    for one in have:
        if is_among(model, [one.name]):
            return one
    names = [one.name for one in have]
    raise ModelError(
        f"There is no model {model!r} on {host}.{did_you_mean(model, names)} "
        + (f"Here now: {', '.join(names)}." if names else "No model is here yet.")
        + ("" if speaks_openai(host) else f" Get it with slmlab.pull({model!r}).")
    )


def show(model: str, *, host: str | None = None) -> dict[str, Any]:
    """Everything the server knows about a model: template, parameters, license, architecture.

    Examples:
        >>> facts = slmlab.models.show(names[0])
        >>> facts["modelinfo"]["general.architecture"]
        'llama'
    """
    host = server.address_of(host)
    with errors_as_sentences(host, validate_model(model)):
        found = facts(host, "/api/show", {"model": model})
    info = found.pop("model_info", None)  # which Ollama's client names otherwise
    return {**dict.fromkeys(SHOWN), **found, "modelinfo": info}


def remove(*models: str | Iterable[str], host: str | None = None) -> None:
    """Delete models from the server's disk.

    Args:
        models: names, or lists of names.
        host: the server (default: ``slmlab.server.host()``).

    Raises:
        ModelError: there is no such model; those before it in the list were deleted.

    Examples:
        >>> slmlab.add("my-model", slmlab.weights.default_model_file())
        >>> slmlab.remove("my-model")
    """
    host = server.address_of(host)
    for model in as_names(models):
        with errors_as_sentences(host, model):
            client(host).delete(model)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    ``memory`` in bytes; ``gpu_share`` from 0 (all CPU) to 1 (all GPU), None where the server does
    not say.
    """

    name: str
    memory: int
    gpu_share: float | None
    context_length: int | None
    digest: str


def loaded(*, host: str | None = None) -> list[LoadedModel]:
    """The models that are in memory now, and how much of each is on the GPU.

    Examples:
        >>> seconds = slmlab.models.load(names[0], num_ctx=2048)
        >>> {one.name: one for one in slmlab.models.loaded()}[names[0]].context_length
        2048
    """
    host = server.address_of(host)
    with errors_as_sentences(host):
        found = facts(host, "/api/ps").get("models") or ()
    return [
        LoadedModel(
            name=one.get("model") or "",
            memory=int(one.get("size") or 0),
            gpu_share=one["size_vram"] / one["size"]
            if one.get("size") and one.get("size_vram") is not None
            else None,
            context_length=one.get("context_length"),
            digest=one.get("digest") or "",
        )
        for one in found
    ]


def load(model: str, num_ctx: int, *, host: str | None = None, **options: Any) -> float:
    """Load a model into memory; returns the seconds that this took, by the client's clock.

    The server's answer to a request that only loads a model gives no duration.

    Examples:
        >>> seconds = slmlab.models.load(names[0], num_ctx=2048)
    """
    host = server.address_of(host)
    num_ctx = validate_context(num_ctx)
    started = time.perf_counter()
    with errors_as_sentences(host, validate_model(model)):
        client(host).generate(model, "", options={"num_ctx": num_ctx, **options}, stream=False)
    return time.perf_counter() - started


def unload(model: str, *, host: str | None = None) -> None:
    """Unload a model from memory, and wait until it is gone (ten seconds at most).

    Ollama answers at once and unloads the model afterwards.

    Examples:
        >>> slmlab.models.unload(names[0])
    """
    host = server.address_of(host)
    with errors_as_sentences(host, validate_model(model)):
        client(host).generate(model, "", keep_alive=0, stream=False)
    import tenacity  # slow, and seldom needed

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda names: is_among(model, names)),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(10),
        retry_error_callback=lambda _: None,
    )
    waiting(lambda: [one.name for one in loaded(host=host)])


def add(
    model: str,
    path: str | os.PathLike[str],
    *,
    projector: str | os.PathLike[str] | None = None,
    host: str | None = None,
) -> None:
    """Give the server a GGUF file of your own as a model.

    Args:
        model: the name that the model gets.
        path: the GGUF file; ``~`` is your home folder.
        projector: the GGUF file with which the model sees images, often called mmproj.
        host: the server (default: ``slmlab.server.host()``).

    Raises:
        ModelError: there is no such file, it is not a usable model, or the server refuses it. The
            first two are noticed before anything is sent.

    Examples:
        >>> path = slmlab.weights.default_model_file()  # any GGUF file
        >>> slmlab.add("my-model", path)
    """
    host = server.address_of(host)
    validate_model(model)
    checks = [(_gguf_file(path), gguf_header.check_usable)]
    if projector is not None:
        checks.append((_gguf_file(projector), gguf_header.check_projector))
    for file, check in checks:
        try:
            check(gguf_header.read_header(file))
        except gguf_header.GGUFError as error:
            raise ModelError(f"{file} cannot be added: {error}.") from error
    with errors_as_sentences(host, model):
        # Two files may have the same name, each in a folder of its own.
        files = {
            f"{'projector-' * number}{file.name}": client(host).create_blob(file)
            for number, (file, _) in enumerate(checks)
        }
        client(host).create(model, files=files, stream=False)


def _gguf_file(path: str | os.PathLike[str]) -> Path:
    try:
        file = Path(path).expanduser()
        if file.is_dir():
            inside = sorted(one.name for one in file.glob("*.gguf"))
            there = f" There is {', '.join(inside)}." if inside else " It has none."
            raise ModelError(f"{file} is a folder; give the path of a GGUF file in it.{there}")
        with file.open("rb") as opened:
            if opened.read(len(GGUF_MAGIC)) == GGUF_MAGIC:
                return file
    except TypeError as error:
        raise ModelError(f"A model file is given by its path; got {path!r}.") from error
    except FileNotFoundError as error:
        folder = "" if file.parent.is_dir() else f": there is no folder {file.parent}"
        raise ModelError(f"There is no file {file}{folder}.") from error
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"{path} cannot be read: {why}.") from error
    raise ModelError(f"{file} is not a GGUF file; only models in that format can be added.")

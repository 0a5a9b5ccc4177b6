"""Download models, several at once, and resume interrupted downloads."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.address import is_local
from slmlab.engines.client import client, client_kwargs, engine_of, response_error
from slmlab.engines.model_names import DEFAULT_HOST, NameNotValid, read_name
from slmlab.errors import ModelError, ServerError, SlmlabError
from slmlab.models.inventory import (
    as_names,
    errors_as_sentences,
    installed,
    is_among,
    validate_model,
)

REGISTRY = "https://registry.ollama.ai"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Event:
    """Progress of a download: how many bytes of how many have come, or that it has ended."""

    model: str
    done: int = 0
    total: int = 0
    ended: bool = False
    error: Exception | None = None


def pull(
    *models: str | Iterable[str],
    host: str | None = None,
    quiet: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Download models, several at once, with one progress bar for each.

    An interrupted download resumes where it stopped. A model that is installed already is checked
    quickly and left as it is.

    Args:
        models: names, or lists of names: of Ollama's library (``llama3.2``), Hugging Face
            (``hf.co/OWNER/REPOSITORY:Q4_K_M``) or another registry (``host:5000/library/llama3.2``,
            with ``http://`` before it where that one has no encryption).
        host: the server that downloads them (default: ``slmlab.server.host()``).
        quiet: show no progress.
        on_progress: called with the name, the bytes so far and the bytes in all; replaces the bars.

    Raises:
        ModelError: a name is unknown, the disk is too small or a download failed for good; with
            several models, one line for each that failed.
        ServerError: no server answers.

    Examples:
        >>> slmlab.pull("smollm2:135m-instruct-q4_1", quiet=True)
    """
    host = server.address_of(host)
    names = as_names(models)
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_pull_one, args=(name, host, events), daemon=True) for name in names
    ]
    for thread in threads:
        thread.start()
    # Colab does not refresh output from background threads, so the main thread draws.
    errors = _draw(events, names, quiet, on_progress)
    if errors:
        _raise({name: errors[name] for name in names if name in errors})


def _raise(errors: dict[str, Exception]) -> NoReturn:
    """Raise the errors of all failed downloads as one.

    Raises:
        ServerError: all of them failed with a server error.
        ModelError: in all other cases.
    """
    texts = dict.fromkeys(
        str(error) if isinstance(error, SlmlabError) else f"{model}: {error}"
        for model, error in errors.items()
    )
    first = next(iter(errors.values()))
    all_servers = all(isinstance(error, ServerError) for error in errors.values())
    kind = type(first) if all_servers else ModelError
    raise kind("\n".join(texts)) from first


def _pull_one(model: str, host: str, events: queue.SimpleQueue[_Event]) -> None:
    """Pull one model; put its progress into ``events`` and, whatever happens, its end."""
    import tenacity  # slow, and seldom needed

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_worth_another_try),
        wait=tenacity.wait_exponential(multiplier=1, max=10),
        stop=tenacity.stop_after_attempt(4),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    )
    error: Exception | None = None
    try:
        with errors_as_sentences(host, model):
            here = [one.name for one in installed(host=host)]
            # The embedded engine looks itself, at its own disk.
            if is_local(host) and engine_of(host) == "ollama" and not is_among(model, here):
                _check_disk(model, (download_size(model) or 0) - _partly_here())
            waiting(_pull_once, model, host, events)
    except SlmlabError as failed:
        error = failed
        log.debug("pulling %s failed", model, exc_info=True)
    except Exception as failed:
        error = failed
        log.warning("pulling %s failed", model, exc_info=True)
    events.put(_Event(model, ended=True, error=error))


def _worth_another_try(error: BaseException) -> bool:
    """Whether this is a broken connection, here or in Ollama: then pulling again resumes."""
    if isinstance(error, response_error()):
        low = error.error.lower()
        words = ("max retries", "timeout", "connection reset", "unexpected eof", "tls handshake")
        return any(word in low for word in words)
    return isinstance(error, httpx.TransportError)


def _pull_once(model: str, host: str, events: queue.SimpleQueue[_Event]) -> None:
    layers: dict[str, tuple[int, int]] = {}
    status = None
    insecure = _registry(model).startswith("http://")
    for step in client(host).pull(model, stream=True, insecure=insecure):
        status = step.status
        if step.digest and step.total:
            layers[step.digest] = (step.completed or 0, step.total)
            done, total = map(sum, zip(*layers.values(), strict=True))
            events.put(_Event(model, done, total))
    if status != "success":
        raise response_error()(f"the download ended early ({status}): unexpected EOF")


def _partly_here() -> int:
    """Bytes on the disk of interrupted downloads, which a pull resumes."""
    parts = (paths.ollama_models() / "blobs").glob("sha256-*-partial")
    # Ollama creates these files at full length; the blocks in use show how much has come.
    return sum(part.stat().st_blocks * 512 for part in parts) if os.name == "posix" else 0


def _check_disk(model: str, needed: int) -> None:
    """Raise a ModelError before the download starts if the disk is too small."""
    folder = paths.existing_parent(paths.ollama_models())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"Not enough disk space for {model}: it needs {hardware.gib(needed)} more, "
            f"{hardware.gib(free)} are free at {folder}. Remove a model with slmlab.remove(…)."
        )


def _draw(
    events: queue.SimpleQueue[_Event],
    models: Iterable[str],
    quiet: bool,
    on_progress: Callable[[str, int, int], None] | None,
) -> dict[str, Exception]:
    """Show the progress of all downloads until each has ended; returns what failed, by model."""
    from tqdm.auto import tqdm

    bars: dict[str, Any] = {}
    waiting = set(models)
    errors: dict[str, Exception] = {}
    try:
        while waiting:
            event = events.get()
            if event.ended:
                waiting.discard(event.model)
                if event.error:
                    errors[event.model] = event.error
                continue
            if on_progress:
                on_progress(event.model, event.done, event.total)
                continue
            if event.model not in bars:
                bars[event.model] = tqdm(
                    desc=event.model,
                    total=event.total,
                    unit="B",
                    unit_scale=True,
                    disable=quiet,
                    position=len(bars),
                    mininterval=0.2,
                )
            bar = bars[event.model]
            bar.total = event.total
            bar.update(event.done - bar.n)
    finally:
        for bar in bars.values():
            bar.close()
    return errors


def _registry(model: str) -> str:
    """The address of the registry that has a model.

    A registry on this machine, such as a classroom's mirror, speaks plain HTTP, and so does one
    whose address begins with ``http://``.
    """
    try:
        name = read_name(model)
    except NameNotValid:  # which the server refuses
        return REGISTRY
    if name.host == DEFAULT_HOST:
        return REGISTRY
    return f"{name.scheme or ('http' if is_local(f'//{name.host}') else 'https')}://{name.host}"


def download_size(model: str) -> int | None:
    """Bytes of a model in its registry (Ollama's by default); None without an answer from there.

    A name may begin with another registry's address, as in ``host:5000/library/llama3.2:1b``.

    Examples:
        >>> size = slmlab.models.download_size("llama3.2:1b")  # about 1.3 GB
    """
    validate_model(model)
    registry = _registry(model)
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    try:
        name = read_name(model)
        url = f"{registry}/v2/{name.repository}/manifests/{name.tag}"
        answer = httpx.get(
            url, headers={"Accept": accept}, follow_redirects=True, **client_kwargs(registry, 4)
        )
        answer.raise_for_status()
        return sum(int(layer["size"]) for layer in answer.json()["layers"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None

"""Models: get, list, show and remove them, and see what is loaded."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import ollama
import tenacity

from slmlab import hardware, paths, server
from slmlab.errors import ModelError, ServerError, ServerLost, SlmlabError
from slmlab.prompts import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

# The five models of the tutorial, by their Ollama names.
TUTORIAL_MODELS = ("llama3.2", "phi3.5", "qwen2:1.5b", "gemma2:2b", "mistral")
REGISTRY = "https://registry.ollama.ai"
# A rule of thumb for what a model needs in memory beyond its file: KV cache and buffers.
MEMORY_OVER_FILE = 1.2
# What Ollama says when its child process with the model is gone.
RUNNER_DIED = ("unexpectedly stopped", "runner process has terminated", "runner process no longer")
# What Ollama and the embedded engine say where a model does not fit.
OUT_OF_MEMORY = ("more system memory", "out of memory", "unable to allocate")


@functools.lru_cache(maxsize=32)
def client(host: str, timeout: float = 600.0) -> ollama.Client:
    """The ``ollama`` client for one server, with a finite timeout and no proxy on loopback."""
    limits = httpx.Timeout(timeout, connect=5)
    return ollama.Client(host, timeout=limits, trust_env=not server.is_local(host))


class Abortable(httpx.HTTPTransport):
    """Connections that another thread can cut, which closing a client does not do.

    A thread that waits for an answer wakes only when its socket is shut down; httpx tells of each
    socket through its ``trace`` extension.
    """

    def __init__(self, host: str) -> None:
        super().__init__(trust_env=not server.is_local(host))
        self._streams: list[Any] = []
        self._aborted = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, noting the connection that it makes."""
        if self._aborted:
            raise httpx.ReadError("stopped", request=request)
        request.extensions = {**request.extensions, "trace": self._note}
        return super().handle_request(request)

    def _note(self, event: str, info: dict) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._streams.append(info["return_value"])
            if self._aborted:
                self.abort()

    def abort(self) -> None:
        """Cut all connections, now and later; to the server that ends their requests."""
        self._aborted = True
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def sentences(host: str, model: str = "") -> Iterator[None]:
    """Turn what the client and the network raise into one of our sentences.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    try:
        yield
    except ollama.ResponseError as error:
        if any(words in error.error.lower() for words in RUNNER_DIED):
            raise ServerLost(
                f"The process that runs {model or 'the model'} ended in the middle, often for want "
                f"of memory: {error.error}.{log_of(host)}"
            ) from None
        raise ModelError(_sentence(error.error, host, model)) from None
    except httpx.TimeoutException:
        raise ServerError(
            f"The server at {host} did not answer in time. It may be loading a large model or be "
            "stuck: try again, or restart it with slmlab.stop() and slmlab.start()."
        ) from None
    except (httpx.TransportError, ConnectionError):
        if server.ask_version(host) is None:
            raise ServerLost(
                f"No server answers at {host}. Start one with slmlab.start().{log_of(host)}"
            ) from None
        raise ServerLost(
            f"The connection to {host} broke in mid-answer; the server is there again, so try "
            f"again.{log_of(host)}"
        ) from None


def log_of(host: str) -> str:
    """The end of a server's log, to be put behind a sentence; nothing where it is not ours."""
    tail = server.log_tail(host, 5)
    return f"\nThe end of its log:\n{tail}" if tail else ""


def _sentence(error: str, host: str, model: str) -> str:
    """What an error of the server means, and what to do."""
    low = error.lower()
    if "requires a newer version" in low or "412:" in low:
        return (
            f"{model} needs a newer Ollama than the one at {host}. Install one with "
            "`python -m slmlab setup --ollama-version VERSION` (see "
            "https://github.com/ollama/ollama/releases) after `python -m slmlab stop`."
        )
    if "file does not exist" in low or "not found" in low:
        names = [one.name for one in installed(host)]
        known = [*names, *TUTORIAL_MODELS, *(one.name for one in _shelf())]
        have = f" Here now: {', '.join(names)}." if names else " No model is here yet."
        return (
            f"There is no model {model!r} on {host}.{did_you_mean(model, known)}{have} "
            f"Get one with slmlab.pull(…). ({error})"
        )
    if "no space left" in low:
        return f"Not enough disk for {model}: {error}."
    if any(words in low for words in OUT_OF_MEMORY):
        return f"{model} does not fit into this machine's memory: {error}. {_smaller(model, host)}"
    return f"{model or 'The server'}: {error}"


def _smaller(model: str, host: str) -> str:
    """What to try in place of a model that does not fit: the next smaller one that is here."""
    here = installed(host)
    own = next((one.size for one in here if is_among(model, [one.name])), 0)
    smaller = max((one for one in here if one.size < own), key=lambda one: one.size, default=None)
    first = f"Try {smaller.name} ({hardware.gib(smaller.size)}), the next" if smaller else "Try a"
    return (
        f"{first} smaller one, a shorter context (num_ctx=…), or a quantization with fewer bits; "
        "slmlab.catalog_explorer() shows what fits."
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


# Pulling.


def pull(
    *names: str,
    host: str | None = None,
    quiet: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Download models, several at once, with one progress bar for each.

    A download that was cut goes on where it stopped. A model that is here already is checked
    quickly and left as it is. ``on_progress`` is called with the name, the bytes that are here and
    the bytes in all, instead of the bars.

    Raises:
        ModelError: a name is unknown, the disk is too small or the download failed for good.
    """
    host = host or server.host()
    news: queue.SimpleQueue = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_pull_one, args=(name, host, news), daemon=True) for name in names
    ]
    for thread in threads:
        thread.start()
    # Colab does not refresh what a background thread draws, so the main thread draws.
    failed = _draw(news, names, quiet, on_progress)
    if failed:
        raise ModelError("\n".join(failed))


def _pull_one(name: str, host: str, news: queue.SimpleQueue) -> None:
    """Pull one model, telling ``news`` of (name, bytes done, bytes in all) and of the end."""
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_worth_another_try),
        wait=tenacity.wait_exponential(multiplier=1, max=10),
        stop=tenacity.stop_after_attempt(4),
        reraise=True,
    )
    try:
        with sentences(host, name):
            here = [one.name for one in (*installed(host), *_shelf())]
            if server.is_local(host) and not is_among(name, here):
                _check_disk(name, (download_size(name) or 0) - _partly_here())
            waiting(_pull_once, name, host, news)
        news.put((name, None, None))
    except SlmlabError as error:
        news.put((name, None, str(error)))
    except Exception as error:
        news.put((name, None, f"{name}: {error}"))


def _worth_another_try(error: BaseException) -> bool:
    """A cut connection, also one that Ollama reports: pulling again goes on where it stopped."""
    if isinstance(error, ollama.ResponseError):
        low = error.error.lower()
        words = ("max retries", "timeout", "connection reset", "unexpected eof", "tls handshake")
        return any(word in low for word in words)
    return isinstance(error, httpx.TransportError)


def _pull_once(name: str, host: str, news: queue.SimpleQueue) -> None:
    layers: dict[str, tuple[int, int]] = {}
    status = None
    # A registry on this machine, a classroom's mirror say, speaks plain HTTP.
    insecure = server.is_local(f"//{name.partition('/')[0]}")
    for step in client(host).pull(name, stream=True, insecure=insecure):
        status = step.status
        if step.digest and step.total:
            layers[step.digest] = (step.completed or 0, step.total)
            done, total = map(sum, zip(*layers.values(), strict=True))
            news.put((name, done, total))
    if status != "success":
        raise ollama.ResponseError(f"the download ended early ({status}): unexpected EOF")


def _partly_here() -> int:
    """Bytes on the disk of downloads that were cut; a pull goes on from them."""
    parts = (paths.ollama_models() / "blobs").glob("sha256-*-partial")
    # Ollama makes such a file as long as it is going to be; what it holds shows in its blocks.
    return sum(part.stat().st_blocks * 512 for part in parts) if os.name == "posix" else 0


def _check_disk(name: str, needed: int) -> None:
    """Say so before anything is fetched where the disk is too small."""
    folder = paths.existing_parent(paths.ollama_models())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"Not enough disk for {name}: it needs {hardware.gib(needed)} more, "
            f"{hardware.gib(free)} are free at {folder}. Remove a model with slmlab.remove(…)."
        )


def _draw(
    news: queue.SimpleQueue, names: Iterable[str], quiet: bool, tell: Callable | None
) -> list[str]:
    """Show the progress of all downloads until each has ended; returns what failed."""
    from tqdm.auto import tqdm

    bars: dict[str, Any] = {}
    waiting, failed = set(names), []
    try:
        while waiting:
            name, done, total = news.get()
            if done is None:
                waiting.discard(name)
                if total:
                    failed.append(total)
                continue
            if tell:
                tell(name, done, total)
                continue
            if name not in bars:
                bars[name] = tqdm(
                    desc=name, total=total, unit="B", unit_scale=True, disable=quiet,
                    position=len(bars), mininterval=0.2,
                )  # fmt: skip
            bar = bars[name]
            bar.total = total
            bar.update(done - bar.n)
    finally:
        for bar in bars.values():
            bar.close()
    return failed


# Choosing.


def _shelf() -> tuple:
    from slmlab.embedded.shelf import SHELF

    return SHELF


def download_size(name: str) -> int | None:
    """Bytes that a model takes in its registry (Ollama's by default), or None where that is silent.

    A name may begin with another registry's address, as in ``host:5000/library/llama3.2:1b``.
    """
    *address, namespace, last = ["library", *name.split("/")][-3:]
    model, _, tag = last.partition(":")
    registry = REGISTRY
    if address and address != ["library"]:
        local = server.is_local(f"//{address[0]}")
        registry = f"{'http' if local else 'https'}://{address[0]}"
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    url = f"{registry}/v2/{namespace}/{model}/manifests/{tag or 'latest'}"
    try:
        answer = httpx.get(url, headers={"Accept": accept}, timeout=4, follow_redirects=True)
        answer.raise_for_status()
        return sum(int(layer["size"]) for layer in answer.json()["layers"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


# Names of models that a notebook makes: variants to be looked at, not to be compared with others.
LESSONS = "slmlab/"


def ready(wanted: Iterable[str] | None = None, *, quiet: bool = False) -> list[str]:
    """Names of models that can be used right now, after fetching what is missing.

    The names are as the server lists them, with their tags: ``llama3.2:latest``.

    Args:
        wanted: names to have; they are pulled where missing. None means: on Ollama the tutorial's
            five models, those that fit this machine; on the embedded engine all that its shelf has;
            and what else is installed, but for models that a lesson made (``slmlab/…``).
        quiet: print nothing.

    Raises:
        ModelError: a wanted model cannot be had, or there is none at all.
    """
    say = (lambda _: None) if quiet else print
    current = server.status()
    if current is None:
        raise ServerError(f"No server answers at {server.host()}. Start one with slmlab.start().")
    have = {one.name: one for one in installed(current.host)}
    if wanted is None:
        names = (
            [one.name for one in _shelf()]
            if current.engine == "embedded"
            else _fitting(TUTORIAL_MODELS, have, say)
        )
    else:
        names = list(wanted)
    missing = [name for name in names if not is_among(name, have)]
    if missing:
        pull(*missing, host=current.host, quiet=quiet)
    # What the user added is at hand too; what a lesson made is for that lesson.
    names += [] if wanted is not None else [one for one in have if not one.startswith(LESSONS)]
    if not names:
        raise ModelError(
            "There is no model here, and Ollama's library cannot be reached. Connect to the "
            "internet, or use slmlab.start('embedded')."
        )
    return list(dict.fromkeys(resolve(name, current.host).name for name in names))


def _fitting(names: Iterable[str], have: dict, say: Any) -> list[str]:
    """Those of the names that are here already or fit into memory and on the disk."""
    machine = hardware.machine()
    memory = max(machine.model_memory, machine.free_memory)
    disk = shutil.disk_usage(paths.existing_parent(paths.ollama_models())).free
    chosen = []
    for name in names:
        if is_among(name, have):
            chosen.append(name)
            continue
        size = download_size(name)
        if size is None:
            continue
        if size * MEMORY_OVER_FILE > memory:
            say(
                f"{name} ({hardware.gib(size)}) does not fit into {hardware.gib(memory)} of memory."
            )
        elif size > disk:
            say(f"{name} ({hardware.gib(size)}) does not fit on the disk.")
        else:
            disk -= size
            chosen.append(name)
    return chosen

"""Download models, several at once, going on where a download was cut."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import ollama
import tenacity

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.address import is_local
from slmlab.engines.client import client
from slmlab.engines.embedded.pypi_models import SHELF
from slmlab.errors import ModelError, SlmlabError
from slmlab.models.inventory import installed, is_among, sentences

REGISTRY = "https://registry.ollama.ai"


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
            here = [one.name for one in (*installed(host), *SHELF)]
            if is_local(host) and not is_among(name, here):
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
    insecure = is_local(f"//{name.partition('/')[0]}")
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
                    desc=name,
                    total=total,
                    unit="B",
                    unit_scale=True,
                    disable=quiet,
                    position=len(bars),
                    mininterval=0.2,
                )
            bar = bars[name]
            bar.total = total
            bar.update(done - bar.n)
    finally:
        for bar in bars.values():
            bar.close()
    return failed


def download_size(name: str) -> int | None:
    """Bytes that a model takes in its registry (Ollama's by default), or None where that is silent.

    A name may begin with another registry's address, as in ``host:5000/library/llama3.2:1b``.
    """
    *address, namespace, last = ["library", *name.split("/")][-3:]
    model, _, tag = last.partition(":")
    registry = REGISTRY
    if address and address != ["library"]:
        local = is_local(f"//{address[0]}")
        registry = f"{'http' if local else 'https'}://{address[0]}"
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    url = f"{registry}/v2/{namespace}/{model}/manifests/{tag or 'latest'}"
    try:
        answer = httpx.get(url, headers={"Accept": accept}, timeout=4, follow_redirects=True)
        answer.raise_for_status()
        return sum(int(layer["size"]) for layer in answer.json()["layers"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None

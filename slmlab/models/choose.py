"""Choose models that fit this machine, and download those that are missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.client import version_at
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from slmlab.memory import MEMORY_OVER_FILE
from slmlab.models.abilities import capabilities, writers
from slmlab.models.download import download_size, pull
from slmlab.models.inventory import TUTORIAL_MODELS, as_names, installed, is_among, resolve

# The names of models that a lesson makes begin so: variants for that lesson, not for comparisons.
LESSON_PREFIX = "slmlab/"
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
        models: the name or names of the wanted models. None means: on Ollama those of the
            tutorial's five models that fit this machine, on the embedded engine those of up to 1 GB
            that come from the Python package index; and all other installed models that write text,
            except those that a lesson made (``slmlab/…``).
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
        names = [
            one.name
            for one in PYPI_MODELS
            if one.format == "gguf" and one.download_size < AUTOMATIC_DOWNLOAD
        ]
    else:
        names = _fitting(TUTORIAL_MODELS, have, say)
    missing = [name for name in names if not is_among(name, have)]
    if missing:
        try:
            pull(missing, host=host, quiet=quiet)
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
    if not names:
        raise ModelError(
            "There is no model here, and Ollama's library cannot be reached. Connect to the "
            "internet, or use slmlab.start('embedded')."
        )
    return list(dict.fromkeys(resolve(name, host=host).name for name in names))


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
    names: Iterable[str], have: Collection[str], say: Callable[[str], object]
) -> list[str]:
    """The models among these that are installed, or that fit into memory and on the disk."""
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

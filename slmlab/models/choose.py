"""Choose models that fit this machine, and have them ready."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable

from slmlab import hardware, paths
from slmlab.engines import server
from slmlab.engines.client import version_at
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from slmlab.memory import MEMORY_OVER_FILE
from slmlab.models.download import download_size, pull
from slmlab.models.inventory import TUTORIAL_MODELS, as_names, installed, is_among, resolve

# Names of models that a notebook makes: variants to be looked at, not to be compared with others.
LESSON_PREFIX = "slmlab/"


def ready(
    models: str | Iterable[str] | None = None, *, host: str | None = None, quiet: bool = False
) -> list[str]:
    """Names of models that can be used right now, after fetching what is missing.

    The names are as the server lists them, with their tags: ``llama3.2:latest``.

    Args:
        models: a name or names to have; they are pulled where missing. None means: on Ollama the
            tutorial's five models, those that fit this machine; on the embedded engine those that
            come from the Python package index; and what else is installed, but for models that a
            lesson made (``slmlab/…``).
        host: the server (default: ``slmlab.server.host()``).
        quiet: print nothing.

    Raises:
        ModelError: a wanted model cannot be had, or there is none at all.
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
        names = [one.name for one in PYPI_MODELS]
    else:
        names = _fitting(TUTORIAL_MODELS, have, say)
    missing = [name for name in names if not is_among(name, have)]
    if missing:
        pull(missing, host=host, quiet=quiet)
    if models is None:
        # What the user added is at hand too; what a lesson made is for that lesson.
        names += [name for name in have if not name.startswith(LESSON_PREFIX)]
    if not names:
        raise ModelError(
            "There is no model here, and Ollama's library cannot be reached. Connect to the "
            "internet, or use slmlab.start('embedded')."
        )
    return list(dict.fromkeys(resolve(name, host=host).name for name in names))


def _fitting(
    names: Iterable[str], have: Collection[str], say: Callable[[str], object]
) -> list[str]:
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

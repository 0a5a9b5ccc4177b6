"""Models: list, choose, download, load and remove them, and see whether they fit."""

from slmlab.memory import MEMORY_OVER_FILE
from slmlab.models import catalog
from slmlab.models.abilities import capabilities, writers
from slmlab.models.choose import LESSON_PREFIX, SMALL_MODELS, embedder, ready
from slmlab.models.download import download_size, pull
from slmlab.models.fit import free_memory
from slmlab.models.inventory import (
    TUTORIAL_MODELS,
    InstalledModel,
    LoadedModel,
    add,
    errors_as_sentences,
    installed,
    is_among,
    load,
    loaded,
    remove,
    resolve,
    show,
    table,
    unload,
)

__all__ = [
    "LESSON_PREFIX",
    "MEMORY_OVER_FILE",
    "SMALL_MODELS",
    "TUTORIAL_MODELS",
    "InstalledModel",
    "LoadedModel",
    "add",
    "capabilities",
    "catalog",
    "download_size",
    "embedder",
    "errors_as_sentences",
    "free_memory",
    "installed",
    "is_among",
    "load",
    "loaded",
    "pull",
    "ready",
    "remove",
    "resolve",
    "show",
    "table",
    "unload",
    "writers",
]

"""Where slmlab keeps its files: everything in one folder that the user owns.

Set ``SLMLAB_HOME`` to move all of it (to a bigger disk, or to Google Drive's folder).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import platformdirs


def home() -> Path:
    """Folder of everything that slmlab stores: ``SLMLAB_HOME``, else the platform's data folder."""
    chosen = os.environ.get("SLMLAB_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path("slmlab")


def ollama_versions() -> Path:
    """Folder with one sub-folder for each Ollama version that slmlab installed."""
    return home() / "ollama"


def embedded_models() -> Path:
    """Folder of the embedded engine's models (``manifests/`` and ``blobs/``)."""
    return home() / "models"


def servers() -> Path:
    """Folder with one sub-folder for each server that slmlab started: its state, log and users.

    Each machine has its own: machines that share a home on a network drive cannot see each other's
    processes and ports.
    """
    return home() / "servers" / (platform.node() or "here")


def ollama_models() -> Path:
    """Folder where a local Ollama stores its models: ``OLLAMA_MODELS``, else its own default."""
    chosen = os.environ.get("OLLAMA_MODELS")
    return Path(chosen).expanduser() if chosen else Path.home() / ".ollama" / "models"


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists (to ask its disk for free space)."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def results() -> Path:
    """The default folder for the records of comparisons."""
    return home() / "results"

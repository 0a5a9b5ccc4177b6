"""Where slmlab keeps its files: everything in one folder that the user owns.

Set ``SLMLAB_HOME`` to move all of it (to a bigger disk, or to Google Drive's folder).
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import sys
from pathlib import Path

import platformdirs


def home() -> Path:
    """Folder of everything that slmlab stores: ``SLMLAB_HOME``, else the platform's data folder."""
    chosen = os.environ.get("SLMLAB_HOME")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path("slmlab")


def make(folder: Path) -> None:
    """Make a folder with all above it; the home, and folders in it, are for this user only.

    Raises:
        OSError: it cannot be made; or the home is another user's, or others may write into it and
            so put files there that would run as this user.
    """
    root, folder = home().absolute(), folder.absolute()
    if root != folder and root not in folder.parents:
        folder.mkdir(parents=True, exist_ok=True)
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    inside = [one for one in (folder, *folder.parents) if one == root or root in one.parents]
    for one in reversed(inside):
        one.mkdir(mode=0o700, exist_ok=True)
    if os.name != "posix":
        return
    found = root.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, f"{root} belongs to another user ({root.owner()})")
    if found.st_mode & 0o022:
        raise PermissionError(
            errno.EACCES, f"other users may write into {root} (`chmod go-w` on it ends that)"
        )


def opener(path: str, flags: int) -> int:
    """For ``open()``: a new file is for this user only, and a link is not followed."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


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


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        if sys.version_info >= (3, 11):
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        return digest.hexdigest()

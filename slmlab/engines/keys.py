"""The key of an embedded engine, which its clients send and other users do not know.

It is in the engine's folder (see ``supervisor``), in a file that only this user can read. Each
start has a new one; an engine that its supervisor starts again keeps it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from slmlab import paths

NAME = "key"


def new() -> str:
    """A key that nobody can guess."""
    return secrets.token_urlsafe(32)


def write(folder: Path, key: str) -> None:
    """Keep a key in a folder, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary = folder / f".{NAME}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii", opener=paths.opener) as file:
        file.write(key)
    os.replace(temporary, folder / NAME)


def read(folder: Path) -> str | None:
    """The key in a folder; None if there is none, or another user wrote it."""
    try:
        with open(folder / NAME, encoding="ascii", opener=paths.opener) as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            return file.read() or None
    except (OSError, ValueError):
        return None

"""Stands where the pool of models has a process, in tests without one."""

from __future__ import annotations

import io


class FakeProcess:
    """A process that runs until it is killed."""

    pid = 2**30

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.stdin = io.BytesIO()

    def kill(self) -> None:
        self.returncode = -9

    async def wait(self) -> int:
        return self.returncode or 0

"""Start the process of a worker, which imports llama.cpp and waits to be told which model to load.

This module imports little, so that a starting engine can start its first worker before it imports
all the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass

from slmlab import hardware
from slmlab.engines.embedded.worker_output import WorkerOutput

# llama.cpp's threads synchronize several hundred times for each token, and wait by spinning. By
# default they spin for so long that, if anything else runs on the same cores (a browser, another
# program), a waiting thread blocks the core for the thread that it waits for. So on few cores they
# sleep after a short while. Measured on two cores with SmolLM2: beside one busy core 40 to 47
# tokens/s instead of 0.4 to 60, from run to run; alone 119 instead of 130. It was not measured with
# more cores. Where models share the cores, see also ``waiting_threads``.
FEW_CORES = 4
SPIN = {"GOMP_SPINCOUNT": "300"}


@dataclass
class WorkerProcess:
    """The process of a worker, and what it prints."""

    process: asyncio.subprocess.Process
    output: WorkerOutput

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.returncode is None

    async def end(self) -> int:
        """End the process, wait for it, and return its exit status."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        return await self.process.wait()


async def start() -> WorkerProcess:
    """Start a worker."""
    spin = SPIN if hardware.usable_cores() <= FEW_CORES else {}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "slmlab.engines.embedded.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=spin | os.environ,
    )
    assert process.stderr  # noqa: S101  a pipe
    return WorkerProcess(process, WorkerOutput(process.stderr))

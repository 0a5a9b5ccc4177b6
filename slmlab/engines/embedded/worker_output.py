"""The output of worker processes, and the reasons in it why a model could not be loaded."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys

MEMORY = re.compile(
    r"(insufficient memory|failed to allocate|mmap failed: Cannot allocate memory).*"
)
# The beginning of each line in llama.cpp's log, as in "0.00.021.146 E init: …".
_LOG_LINE = re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} \w ", re.MULTILINE)
# Prefixes before the actual reason, which mean nothing to users.
_STEPS = re.compile(
    r"^(error loading model \w+: |check_tensor_dims: |parser: (Parser )?Error: |"
    r"Error: (Jinja Exception: )?|std::exception$)"
)


class WorkerOutput:
    """Copies a worker's output to the log, and keeps the end of it."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.end = b""
        self.reading = asyncio.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while block := await stream.read(2**16):
            sys.stderr.buffer.write(block)
            sys.stderr.flush()
            self.end = (self.end + block)[-(2**14) :]

    async def text(self) -> str:
        """The end of the output, for a worker that has ended or is about to."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.reading), 20)
        return self.end.decode(errors="replace")


def memory_error(text: str) -> str:
    """The line in llama.cpp's log about memory that it could not allocate, or nothing."""
    found = MEMORY.search(text)
    return f"out of memory: {found[0]}" if found else ""


def reason_in(text: str) -> str:
    """Why llama.cpp did not load a model, from its log; empty if the log does not say.

    Examples:
        >>> reason_in("0.00.005.461 E llama_model_load: error loading model: unknown model "
        ...           "architecture: 'llama9'")
        "unknown model architecture: 'llama9'"
    """
    for mark, what in (
        ("error loading model: ", ""),
        ("common_chat_templates_init: error: ", "its chat template cannot be used: "),
        ("chat template parsing error: ", "its chat template cannot be used: "),
    ):
        for line in _LOG_LINE.split(text):
            _, _, message = line.partition(mark)
            # If llama.cpp quotes the place in the template, the error itself comes last.
            errors = [one for one in message.splitlines() if one.startswith("Error: ")]
            reason = _without_steps((errors or message.splitlines() or [""])[-1 if errors else 0])
            if reason:
                return f"{what}{reason}"[:400]
    return ""


def _without_steps(reason: str) -> str:
    while step := _STEPS.match(reason):
        reason = reason[step.end() :]
    return " ".join(reason.split())


async def how_it_ended(process: asyncio.subprocess.Process) -> str:
    """Why a worker ended before it answered."""
    status = await process.wait()
    if status == -signal.SIGKILL:
        return "out of memory: the system ended the model runner while it loaded"
    return f"the model runner ended while loading (status {status})"

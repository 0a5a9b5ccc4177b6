"""How fast a model will write on this machine, and how long a download will take.

For each token a model reads all its weights, so it cannot write more tokens per second than the
memory's bandwidth divided by its size. How near it comes is measured once, with a model that is
here, and remembered for this machine with the speed of the last download.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

from slmlab import hardware, paths
from slmlab.devices import cpu_name
from slmlab.engines.client import client
from slmlab.models.inventory import InstalledModel, errors_as_sentences

# Tokens per second below which nobody likes to wait for an answer: about a slow reader's speed.
USABLE = 8.0
# Tokens that are written to measure.
_TOKENS = 24


def predicted(size: int) -> float:
    """Tokens per second that a model of ``size`` bytes is likely to write here, on the processor.

    Examples:
        >>> slmlab.models.speed.predicted(500_000_000) > 0
        True
    """
    known = _known()
    if "bandwidth" not in known:
        known["bandwidth"] = hardware.memory_bandwidth(megabytes=128, repeats=3)
        _remember(bandwidth=known["bandwidth"])
    return float(known["bandwidth"] / max(1, size) * known.get("share", 1.0))


def measure(model: InstalledModel, host: str) -> None:
    """Let ``model`` write a few tokens, and correct later predictions by it; once per machine.

    The server has to be on this machine.
    """
    if "share" in _known():
        return
    with errors_as_sentences(host, model.name):
        answer = client(host).generate(
            model.name,
            "Once upon a time",
            raw=True,
            options={"num_predict": _TOKENS, "temperature": 0, "num_ctx": 4096},
            stream=False,
        )
    if answer.eval_count and answer.eval_duration:
        written = answer.eval_count / answer.eval_duration * 1e9
        _remember(share=written / predicted(model.size))


def downloaded(size: int, seconds: float) -> None:
    """Remember how fast ``size`` bytes came; a few megabytes say nothing."""
    if size > 20_000_000 and seconds > 0:
        _remember(download=size / seconds)


def minutes(size: int) -> float | None:
    """Minutes that a download of ``size`` bytes takes at the speed of the last; None before it."""
    speed = _known().get("download")
    return size / speed / 60 if speed else None


def _machine() -> str:
    return f"{cpu_name()}, {hardware.usable_cores()} cores"


def _known() -> dict[str, Any]:
    """What is remembered for this machine; its folder may be shared with others."""
    try:
        found = json.loads((paths.home() / "speed.json").read_text(encoding="utf-8"))
        return dict(found.get(_machine(), {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(**facts: float) -> None:
    file = paths.home() / "speed.json"
    try:
        every = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        every = {}
    every = every if isinstance(every, dict) else {}
    every[_machine()] = _known() | facts
    # Where nothing can be written, it is measured again another time.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix="speed-")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(every, out)
        os.replace(temporary, file)

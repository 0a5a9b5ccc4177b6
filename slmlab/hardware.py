"""What this machine is: processor, memory, disk, GPUs and the notebook platform."""

from __future__ import annotations

import functools
import logging
import math
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slmlab import paths
from slmlab.devices import GPU, cpu_name, find_gpus
from slmlab.facts import facts_html

log = logging.getLogger(__name__)

GIB = 2**30

COLAB_GPU_HINT = (
    "No GPU in this Colab runtime. To get one: Runtime → Change runtime type → "
    "Hardware accelerator → T4 GPU → Save, then run the notebook again from its first cell."
)


@dataclass(frozen=True, repr=False)
class Machine:
    """The resources of this machine that matter for language models. Sizes in bytes."""

    platform: str
    system: str
    cpu: str
    cores: int
    memory: int
    free_memory: int
    models_folder: str
    free_disk: int
    gpus: tuple[GPU, ...] = field(default=())

    @property
    def gpu(self) -> GPU | None:
        """The usable GPU with the most memory, or None."""
        usable = [gpu for gpu in self.gpus if gpu.usable]
        return max(usable, key=lambda gpu: gpu.total_memory or 0, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The same facts as plain data (for ``--json``)."""
        return asdict(self)

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """Pairs of a name and a readable value."""
        rows = [
            ("CPU", f"{self.cpu}, {self.cores} usable {'core' if self.cores == 1 else 'cores'}"),
            ("Memory", f"{gib(self.free_memory)} free of {gib(self.memory)}"),
            ("Disk", f"{gib(self.free_disk)} free at {self.models_folder}"),
        ]
        for gpu in self.gpus:
            memory = (
                f", {gib(gpu.free_memory)} free of {gib(gpu.total_memory)}"
                if gpu.total_memory and gpu.free_memory is not None
                else ""
            )
            driver = f", driver {gpu.driver}" if gpu.driver else ""
            note = f" — {gpu.note}" if gpu.note else ""
            rows.append(("GPU", f"{gpu.name}{memory}{driver}{note}"))
        if not self.gpus:
            rows.append(("GPU", "none: models run on the CPU"))
        return rows

    @property
    def _hint(self) -> str:
        return COLAB_GPU_HINT if self.platform == "Google Colab" and not self.gpus else ""

    def __str__(self) -> str:
        """A few readable lines."""
        lines = [f"{self.platform}, {self.system}"]
        lines += [f"{name:8}{value}" for name, value in self._rows]
        return "\n".join(lines + ([self._hint] if self._hint else []))

    def __repr__(self) -> str:
        gpu = f", {self.gpu.name}" if self.gpu else ""
        return f"<Machine: {self.cpu}, {gib(self.free_memory)} of memory free{gpu}>"

    def _repr_html_(self) -> str:
        rows = self._rows + ([("Hint", self._hint)] if self._hint else [])
        return facts_html(f"{self.platform}, {self.system}", rows)


def env_number(name: str) -> int | None:
    """The positive whole number in an environment variable; None if it holds none."""
    text = os.environ.get(name, "")
    return (int(text) or None) if text.isdecimal() else None


def env_cap(name: str, what: str) -> int | None:
    """A limit from an environment variable that shortens results; stderr mentions it once.

    Args:
        name: the variable.
        what: what the limit does, with ``{}`` for the number.
    """
    most = env_number(name)
    if most:
        _say_once(f"{name}={most}: {what.format(most)}.")
    return most


@functools.cache
def _say_once(note: str) -> None:
    log.info(note)
    print(note, file=sys.stderr)


def gib(size: int) -> str:
    """Bytes as text in GiB, or in MiB below one GiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def machine() -> Machine:
    """Inspect this machine now. Takes well under a second and starts nothing.

    Examples:
        >>> slmlab.machine().cores >= 1
        True
    """
    total, free = memory()
    folder = paths.existing_parent(paths.home())
    return Machine(
        platform=_platform(),
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        cpu=cpu_name(),
        cores=usable_cores(),
        memory=total,
        free_memory=free,
        models_folder=str(folder),
        free_disk=shutil.disk_usage(folder).free,
        gpus=tuple(find_gpus()),
    )


def memory() -> tuple[int, int]:
    """Total and free main memory in bytes, of this machine or of the container around us."""
    import psutil

    found = psutil.virtual_memory()
    return _container_memory(found.total, found.available)


def busy_share(seconds: float = 0.5) -> float:
    """The share of this machine's processor time that is used meanwhile, 0 to 1."""
    import psutil

    return float(psutil.cpu_percent(interval=seconds)) / 100


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of cores that this process may use, by its affinity and its cgroup's limits."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call
        cores = os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _cpu_quota(cgroup: Path) -> float | None:
    """CPUs that the container may use (cgroup v2, then v1), or None without a limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if limit.strip() in ("max", "-1"):
        return None
    return int(limit) / int(period)


def _container_memory(
    total: int, available: int, cgroup: Path = Path("/sys/fs/cgroup")
) -> tuple[int, int]:
    """Total and free bytes, reduced to the container's limit if it has one.

    What a container uses includes files that the system keeps in memory (its page cache), such as a
    model's right after its download. It drops them as soon as memory is needed, so they count as
    free, as they do in ``/proc/meminfo``'s ``MemAvailable``.
    """
    for folder, limit_file, used_file, total_of in (
        (cgroup, "memory.max", "memory.current", ""),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            limit = int((folder / limit_file).read_text())
            used = int((folder / used_file).read_text())
        except (OSError, ValueError):
            continue
        if limit < total:
            cached = _cached_files(folder / "memory.stat", total_of)
            return limit, max(0, min(available, limit - used + cached))
    return total, available


def _cached_files(stat: Path, total_of: str) -> int:
    """Bytes of a container's page cache; 0 where the system does not tell."""
    try:
        fields = dict(line.split() for line in stat.read_text().splitlines())
        return sum(int(fields[f"{total_of}{one}_file"]) for one in ("active", "inactive"))
    except (OSError, ValueError, KeyError):
        return 0


def _platform() -> str:
    """The notebook platform that this process runs on."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "Google Colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "Kaggle"
    if os.environ.get("CODESPACES") == "true":
        return "GitHub Codespaces"
    if "ipykernel" in sys.modules:
        return "Jupyter"
    return "Terminal"


def memory_bandwidth(megabytes: int = 512, repeats: int = 5) -> float:
    """The memory bandwidth of all cores together, in bytes per second, measured now.

    Each core sums its share of an array too large for the processor's caches. The fastest repeat
    counts, since other programs can only slow it down. This is main memory; a GPU's own memory is
    several times faster, and its data sheet says how fast.
    """
    import time
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    cores = usable_cores()
    shares = [np.ones(megabytes * 2**20 // cores // 8, dtype=np.int64) for _ in range(cores)]
    best = 0.0
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(np.ndarray.sum, shares))
            read = sum(share.nbytes for share in shares)
            best = max(best, read / (time.perf_counter() - start))
    return best

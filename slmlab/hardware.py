"""What this machine is: processor, memory, disk, GPUs and the notebook platform."""

from __future__ import annotations

import functools
import math
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from slmlab import paths

GIB = 2**30

COLAB_GPU_HINT = (
    "No GPU in this Colab runtime. To get one: Runtime → Change runtime type → "
    "Hardware accelerator → T4 GPU → Save, then run the notebook again from its first cell."
)


@dataclass(frozen=True)
class GPU:
    """One graphics processor. Memory in bytes; None where the system does not say."""

    name: str
    vendor: str
    total_memory: int | None = None
    free_memory: int | None = None
    driver: str | None = None
    usable: bool = True
    note: str = ""


@dataclass(frozen=True)
class Machine:
    """What this machine offers to a language model. Sizes in bytes."""

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

    @property
    def model_memory(self) -> int:
        """Bytes that a model can use: the GPU's free memory where there is one, else free RAM.

        Apple's GPUs share the machine's memory, so theirs is the free RAM too.
        """
        gpu = self.gpu
        if gpu is None or gpu.total_memory is None:
            return self.free_memory
        return gpu.free_memory if gpu.free_memory is not None else gpu.total_memory

    def to_dict(self) -> dict:
        """The same facts as plain data (for ``--json``)."""
        return asdict(self)

    def __str__(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.platform}, {self.system}",
            f"CPU     {self.cpu}, {self.cores} usable {'core' if self.cores == 1 else 'cores'}",
            f"Memory  {gib(self.free_memory)} free of {gib(self.memory)}",
            f"Disk    {gib(self.free_disk)} free at {self.models_folder}",
        ]
        for gpu in self.gpus:
            memory = (
                f", {gib(gpu.free_memory)} free of {gib(gpu.total_memory)}"
                if gpu.total_memory and gpu.free_memory is not None
                else ""
            )
            driver = f", driver {gpu.driver}" if gpu.driver else ""
            lines.append(
                f"GPU     {gpu.name}{memory}{driver}{' — ' + gpu.note if gpu.note else ''}"
            )
        if not self.gpus:
            lines.append("GPU     none: models run on the CPU")
        if self.platform == "Google Colab" and self.gpu is None:
            lines.append(COLAB_GPU_HINT)
        return "\n".join(lines)


def env_number(name: str) -> int | None:
    """The whole number above zero in a variable of the environment; None where there is none."""
    text = os.environ.get(name, "")
    return (int(text) or None) if text.isdecimal() else None


def gib(size: int) -> str:
    """Bytes as text in GiB (or MiB below one)."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def machine() -> Machine:
    """Look at this machine now. Takes well under a second and starts nothing."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = _container_memory(memory.total, memory.available)
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
        gpus=tuple(_gpus()),
    )


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may really use: affinity and container (cgroup) limits count."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call
        cores = os.cpu_count() or 1
    quota = _cpu_quota(cgroup)
    return max(1, min(cores, math.ceil(quota))) if quota else cores


def _cpu_quota(cgroup: Path) -> float | None:
    """CPUs that the container may use (cgroup v2, then v1), or None where there is no limit."""
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
    """Total and free bytes, cut down to the container's limit where it has one."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int((cgroup / limit_file).read_text())
            used = int((cgroup / used_file).read_text())
        except (OSError, ValueError):
            continue
        if limit < total:
            return limit, max(0, min(available, limit - used))
    return total, available


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
    """Bytes per second that this machine's cores read from its memory together, measured now.

    Each core sums its share of an array too large for the processor's caches; the best of the
    repeats counts, since everything else on the machine can only slow it. It is the machine's main
    memory: a GPU's own is several times faster and stands in its data sheet.
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


@functools.cache
def cpu_name() -> str:
    """The processor's marketing name, as its system gives it."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
        except OSError:
            pass
    if sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name.strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[GPU]:
    """All GPUs that one of the system's own sources names, the best source first."""
    found = _nvidia_by_nvml() or _nvidia_by_smi()
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append(GPU(cpu_name(), "Apple", note="shares the machine's memory"))
    if sys.platform == "linux":
        if not any(gpu.vendor == "AMD" for gpu in found):
            found += _amd_by_sysfs()
        if not found:
            found = gpus_without_driver(_output("lspci") or "")
    return found


def _nvidia_by_nvml() -> list[GPU]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver library, or a broken one: the next source decides
        return []
    gpus = []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            gpus.append(GPU(_text(name), "NVIDIA", memory.total, memory.free, _text(driver)))
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
    return gpus


def _nvidia_by_smi() -> list[GPU]:
    output = _output(
        "nvidia-smi",
        "--query-gpu=name,memory.total,memory.free,driver_version",
        "--format=csv,noheader,nounits",
    )
    return gpus_from_smi(output or "")


def gpus_from_smi(output: str) -> list[GPU]:
    """GPUs in the CSV that ``nvidia-smi --query-gpu=name,memory.total,…`` prints (MiB)."""
    gpus = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 4 and cells[1].isdigit() and cells[2].isdigit():
            total, free = int(cells[1]) * 2**20, int(cells[2]) * 2**20
            gpus.append(GPU(cells[0], "NVIDIA", total, free, cells[3]))
    return gpus


def _amd_by_sysfs(drm: Path = Path("/sys/class/drm")) -> list[GPU]:
    """AMD cards whose kernel driver is loaded: it shows their memory in sysfs."""
    gpus = []
    for total_file in sorted(drm.glob("card[0-9]*/device/mem_info_vram_total")):
        try:
            total = int(total_file.read_text())
            used = int((total_file.parent / "mem_info_vram_used").read_text())
        except (OSError, ValueError):
            continue
        gpus.append(GPU("AMD GPU", "AMD", total, total - used))
    return gpus


def gpus_without_driver(lspci: str) -> list[GPU]:
    """GPUs that the PCI bus shows although no driver answered, from the text of ``lspci``."""
    gpus = []
    for line in lspci.splitlines():
        kind = line.lower()
        if not any(word in kind for word in ("vga compatible", "3d controller", "display contr")):
            continue
        name = line.split(": ", 1)[-1]
        for vendor, words in (("NVIDIA", ("nvidia",)), ("AMD", ("amd", "advanced micro"))):
            if any(word in kind for word in words):
                note = "a GPU is there but its driver is not: install the vendor's driver"
                gpus.append(GPU(name, vendor, usable=False, note=note))
    return gpus


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """The names of this machine's usable GPUs; looked up once."""
    return tuple(gpu.name for gpu in _gpus() if gpu.usable)


def energy_j(powercap: Path = Path("/sys/class/powercap")) -> float | None:
    """Joules that the NVIDIA GPUs and the processor packages have counted so far.

    The difference of two readings is what was used in between, by everything on the machine. The
    sources are NVML's energy counter (Volta and later) and Linux's RAPL, which on most systems only
    the administrator may read. None where neither answers. RAPL's counter starts again at zero now
    and then (on some machines every few minutes under load).
    """
    joules = [*_gpu_joules()]
    for package in powercap.glob("intel-rapl:[0-9]"):
        try:
            joules.append(int((package / "energy_uj").read_text()) / 1e6)
        except (OSError, ValueError):
            continue
    return sum(joules) if joules else None


def _gpu_joules() -> list[float]:
    handles = _energy_handles()
    if not handles:
        return []
    import pynvml

    try:
        return [pynvml.nvmlDeviceGetTotalEnergyConsumption(one) / 1e3 for one in handles]
    except pynvml.NVMLError:
        return []


@functools.cache
def _energy_handles() -> tuple:
    """The NVIDIA GPUs, looked up once: this is asked around every generation."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return tuple(
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        )
    except Exception:  # no package, no driver library, or a broken one
        return ()


def _output(*command: str) -> str | None:
    """What a short system command prints, or None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

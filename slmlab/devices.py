"""The processors and GPUs of this machine: their names, memory and energy counters."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@functools.cache
def cpu_name() -> str:
    """The processor's marketing name, as the operating system reports it."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
        except OSError:
            pass
    if sys.platform == "darwin":
        name = command_output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name.strip()
    return platform.processor() or platform.machine()


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
    uuid: str | None = None


def find_gpus() -> list[GPU]:
    """All GPUs of this machine, from the most detailed source that lists any."""
    found = without_hidden(_nvidia_by_nvml() or _nvidia_by_smi())
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append(GPU(cpu_name(), "Apple", note="shares the machine's memory"))
    if sys.platform == "linux":
        if not any(gpu.vendor == "AMD" for gpu in found):
            found += _amd_by_sysfs()
        if not found:
            found = gpus_without_driver(command_output("lspci") or "")
    return found


def _nvidia_by_nvml() -> list[GPU]:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver library, or a broken one: try the next source
        return []
    gpus = []
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            total = free = None
            with contextlib.suppress(pynvml.NVMLError):  # it may share the machine's memory
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                total, free = memory.total, memory.free
            name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
            gpus.append(GPU(_text(name), "NVIDIA", total, free, _text(driver), uuid=_text(uuid)))
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
    return gpus


def _nvidia_by_smi() -> list[GPU]:
    output = command_output(
        "nvidia-smi",
        "--query-gpu=name,memory.total,memory.free,driver_version,uuid",
        "--format=csv,noheader,nounits",
    )
    return gpus_from_smi(output or "")


def gpus_from_smi(output: str) -> list[GPU]:
    """GPUs in the CSV that ``nvidia-smi --query-gpu=name,memory.total,…`` prints (MiB).

    It prints ``[N/A]`` where a GPU shares the machine's memory.
    """
    gpus = []
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == 5 and cells[4].startswith("GPU-"):
            total, free = (int(one) * 2**20 if one.isdigit() else None for one in cells[1:3])
            gpus.append(GPU(cells[0], "NVIDIA", total, free, cells[3], uuid=cells[4]))
    return gpus


def without_hidden(gpus: list[GPU]) -> list[GPU]:
    """NVIDIA's GPUs; those that ``CUDA_VISIBLE_DEVICES`` hides from programs are not usable.

    NVIDIA's own tools list these too. The variable holds numbers of GPUs or beginnings of their
    UUIDs; what follows one that does not exist is hidden too, so nothing is visible with an empty
    text, ``-1`` or ``NoDevFiles``. NVIDIA's tools count GPUs by their place on the PCI bus; CUDA,
    unless ``CUDA_DEVICE_ORDER`` is ``PCI_BUS_ID``, begins with the fastest, so where GPUs differ a
    number may mean another one. With a part of a GPU (``MIG-…``), all count as visible.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or "MIG-" in chosen:
        return gpus
    visible = set()
    for name in map(str.strip, chosen.split(",")):
        uuid = name if name.startswith("GPU-") else None
        meant = [
            number
            for number, gpu in enumerate(gpus)
            if name == str(number) or (uuid and gpu.uuid and gpu.uuid.startswith(uuid))
        ]
        if len(meant) != 1:
            break
        visible.add(meant[0])
    note = (
        f"CUDA_VISIBLE_DEVICES={chosen!r} hides it from Ollama: unset that before the server starts"
    )
    return [
        gpu if number in visible else replace(gpu, usable=False, note=note)
        for number, gpu in enumerate(gpus)
    ]


def _amd_by_sysfs(drm: Path = Path("/sys/class/drm")) -> list[GPU]:
    """AMD cards whose kernel driver is loaded, which reports their memory in sysfs."""
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
    """GPUs on the PCI bus for which no driver answered, from the output of ``lspci``."""
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
    return tuple(gpu.name for gpu in find_gpus() if gpu.usable)


def energy_j(powercap: Path = Path("/sys/class/powercap")) -> float | None:
    """Joules that the energy counters of the NVIDIA GPUs and the processors show now.

    The difference of two readings is what everything on the machine used in between. The sources
    are NVML's energy counter (Volta and later) and Linux's RAPL, which on most systems only an
    administrator may read. None if neither is available. RAPL's counter wraps around to zero, on
    some machines every few minutes under load. NVML's moves only every 20 to 100 ms, so that the
    difference over a short time may be 0, or twice what was used.
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
def _energy_handles() -> tuple[Any, ...]:
    """The NVIDIA GPUs; looked up once, since energy is read before and after each generation."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return tuple(
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        )
    except Exception:  # no package, no driver library, or a broken one
        return ()


def command_output(*command: str) -> str | None:
    """The output of a short system command, or None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

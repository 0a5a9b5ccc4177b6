"""Is this machine ready? One line for each thing that a lesson needs, with the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from slmlab import hardware, models
from slmlab.engines import ollama_install, server
from slmlab.engines.address import is_local
from slmlab.errors import SlmlabError
from slmlab.facts import facts_html
from slmlab.memory import gpus_of

PACKAGES = ("langchain-core", "langchain-ollama", "ollama", "pandas", "matplotlib", "ipywidgets")
SMALLEST_DISK = 2 * hardware.GIB


@dataclass(frozen=True)
class Check:
    """The result of one check: ``level`` is OK, WARN or FAIL; ``remedy`` is empty for OK."""

    level: str
    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        """One readable line, with the remedy below it."""
        remedy = f"\n       → {self.remedy}" if self.remedy else ""
        return f"[{self.level:4}] {self.name}: {self.found}{remedy}"


class Report(list[Check]):
    """All checks in order: printed line by line, or shown as a table in a notebook."""

    def __str__(self) -> str:
        """A readable line for each check."""
        return "\n".join(map(str, self))

    def __repr__(self) -> str:
        found = [f"{check.level} {check.name}" for check in self if check.level != "OK"]
        return f"<Report: {len(self)} checks, {', '.join(found) or 'all OK'}>"

    def _repr_html_(self) -> str:
        rows = [
            (f"{check.level}  {check.name}", "\n→ ".join(filter(None, (check.found, check.remedy))))
            for check in self
        ]
        return facts_html("Is everything in place?", rows)


def doctor() -> Report:
    """Check hardware, packages, engines, server and models, and say what is missing.

    Takes a second or two and changes nothing.

    Returns:
        A list of checks, each with ``level`` (OK, WARN, FAIL), ``name``, ``found`` and ``remedy``.
        It shows as a table in a notebook; ``print`` it elsewhere.

    Examples:
        >>> findings = slmlab.doctor()
    """
    machine = hardware.machine()
    return Report([*_hardware(machine), *_packages(), *_engines(), *_server(machine)])


def _hardware(machine: hardware.Machine) -> list[Check]:
    checks = [
        Check("OK", "Platform", f"{machine.platform}, {machine.system}"),
        Check("OK", "CPU", f"{machine.cpu}, {machine.cores} usable cores"),
        Check(
            "OK",
            "Memory",
            f"{hardware.gib(machine.free_memory)} free of {hardware.gib(machine.memory)}",
        ),
    ]
    disk = f"{hardware.gib(machine.free_disk)} free at {machine.models_folder}"
    if machine.free_disk < SMALLEST_DISK:
        remedy = "free some, or set SLMLAB_HOME and OLLAMA_MODELS to folders on a bigger disk"
        checks.append(Check("WARN", "Disk", disk, remedy))
    else:
        checks.append(Check("OK", "Disk", disk))
    for gpu in machine.gpus:
        size = f", {hardware.gib(gpu.total_memory)}" if gpu.total_memory else ""
        if gpu.total_memory and gpu.free_memory is not None:
            size = f", {hardware.gib(gpu.free_memory)} free of {hardware.gib(gpu.total_memory)}"
        if gpu.usable:
            note = f" — {gpu.note}" if gpu.note else ""
            checks.append(Check("OK", "GPU", f"{gpu.name}{size}{note}"))
        else:
            checks.append(Check("WARN", "GPU", f"{gpu.name}{size}", gpu.note))
    if not machine.gpus:
        hint = hardware.COLAB_GPU_HINT if machine.platform == "Google Colab" else ""
        level = "WARN" if hint else "OK"
        checks.append(Check(level, "GPU", "none, models run on the CPU", hint))
    return checks


def _packages() -> list[Check]:
    checks = []
    for name in PACKAGES:
        try:
            checks.append(Check("OK", name, version(name)))
        except PackageNotFoundError:
            checks.append(Check("FAIL", name, "not installed", f"pip install {name}"))
    return checks


def _engines() -> list[Check]:
    checks = []
    binary = ollama_install.find()
    if binary:
        found = f"{ollama_install.installed_version(binary)} at {binary}"
        checks.append(Check("OK", "Ollama", found))
    try:
        checks.append(
            Check("OK", "Embedded engine", f"llama.cpp by xllamacpp {version('xllamacpp')}")
        )
    except PackageNotFoundError:
        level = "OK" if binary else "FAIL"
        remedy = "" if binary else "pip install xllamacpp, or install Ollama"
        checks.append(Check(level, "Embedded engine", "not installed", remedy))
    if not binary:
        checks.append(
            Check("OK", "Ollama", "not installed; `python -m slmlab setup` gets it where it can")
        )
    return checks


def _server(machine: hardware.Machine) -> list[Check]:
    try:
        current = server.status()
        if current is None:
            return [Check("WARN", "Server", f"none at {server.host()}", "slmlab.start()")]
        names = [one.name for one in models.installed(host=current.host)]
    except SlmlabError as error:
        return [Check("FAIL", "Server", str(error))]
    checks = [Check("OK", "Server", str(current))]
    here = is_local(current.host)
    if current.engine == "embedded" and here and machine.gpu and not gpus_of("embedded"):
        remedy = (
            "it runs models on the CPU, and the GPU is not used: slmlab.stop(), then "
            "slmlab.start('ollama')"
        )
        checks = [Check("WARN", "Server", str(current), remedy)]
    if names:
        checks.append(Check("OK", "Models", ", ".join(names)))
    else:
        checks.append(Check("WARN", "Models", "none yet", "slmlab.ready()"))
    for one in models.loaded(host=current.host):
        found = f"{one.name}, {hardware.gib(one.memory)}"
        if one.gpu_share is not None and (machine.gpu or one.gpu_share):
            found += f", {one.gpu_share:.0%} on the GPU"
        if current.engine == "ollama" and here:
            checks.append(_on_gpu(found, one.gpu_share if machine.gpu else None))
        else:
            checks.append(Check("OK", "Loaded", found))
    return checks


def _on_gpu(found: str, share: float | None) -> Check:
    """A loaded model; a warning if a part of it is not on the GPU that is here."""
    if share is None or share >= 1:
        return Check("OK", "Loaded", found)
    remedy = (
        "what is not on the GPU runs on the CPU, many times slower. Unless you set num_gpu, too "
        "little of the GPU's memory was free: shut down other notebooks that train or run models, "
        "unload all models (slmlab.models.unload), and ask again; or take a smaller model"
    )
    return Check("WARN", "Loaded", found, remedy)

"""This machine and others, as files and programs describe them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slmlab import hardware
from slmlab.devices import GPU, gpus_from_smi, gpus_without_driver, without_hidden


class TestHardware:
    def test_this_machine(self):
        machine = hardware.machine()
        assert 1 <= machine.cores <= 1024
        assert 0 < machine.free_memory <= machine.memory
        assert machine.free_disk > 0
        assert machine.cpu in str(machine)
        assert machine.to_dict()["cores"] == machine.cores

    def test_a_machine_is_short_to_read_and_harmless_as_html(self):
        gpu = GPU("<b>T4</b>", "NVIDIA", 15 * 2**30, 14 * 2**30, "550")
        machine = replace(hardware.machine(), cpu="<i>", free_memory=8 * 2**30, gpus=(gpu,))
        assert repr(machine) == "<Machine: <i>, 8.0 GiB of memory free, <b>T4</b>>"
        page = machine._repr_html_()
        assert "&lt;b&gt;T4&lt;/b&gt;, 14.0 GiB free of 15.0 GiB, driver 550" in page
        assert "<b>" not in page and "<i>" not in page

    def test_container_limits_count(self, tmp_path):
        (tmp_path / "cpu.max").write_text("150000 100000\n")
        assert hardware.usable_cores(tmp_path) == min(2, hardware.usable_cores(tmp_path / "none"))
        (tmp_path / "cpu.max").write_text("50000 100000\n")
        assert hardware.usable_cores(tmp_path) == 1
        (tmp_path / "cpu.max").write_text("max 100000\n")
        assert hardware.usable_cores(tmp_path) == hardware.usable_cores(tmp_path / "none")
        (tmp_path / "memory.max").write_text("1000\n")
        (tmp_path / "memory.current").write_text("400\n")
        assert hardware._container_memory(5000, 3000, tmp_path) == (1000, 600)

    @pytest.mark.parametrize(
        ("limit", "used", "folder", "total_of"),
        [
            ("memory.max", "memory.current", "", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory", "total_"),
        ],
    )
    def test_files_that_a_container_keeps_in_memory_count_as_free(
        self, limit, used, folder, total_of, tmp_path
    ):
        group = tmp_path / folder
        group.mkdir(exist_ok=True)
        (group / limit).write_text("1000\n")
        (group / used).write_text("900\n")
        (group / "memory.stat").write_text(
            f"anon 250\n{total_of}inactive_file 50\n{total_of}active_file 600\nfile 700\n"
        )
        assert hardware._container_memory(5000, 3000, tmp_path) == (1000, 750)
        assert hardware._container_memory(5000, 300, tmp_path) == (1000, 300)
        (group / "memory.stat").write_text("of another kind\n")
        assert hardware._container_memory(5000, 3000, tmp_path) == (1000, 100)

    def test_nvidia_smi(self):
        (gpu,) = gpus_from_smi("Tesla T4, 15360, 15095, 550.54.15, GPU-1a2b\n")
        assert (gpu.name, gpu.vendor, gpu.driver) == ("Tesla T4", "NVIDIA", "550.54.15")
        assert gpu.total_memory == 15360 * 2**20
        assert gpus_from_smi("NVIDIA-SMI has failed because...\n") == []

    def test_a_gpu_that_shares_the_machines_memory_is_one(self):
        """It was left out, and the numbers of those after it were wrong."""
        lines = "NVIDIA GB10, [N/A], [N/A], 580.95.05, GPU-1a2b\nT4, 15360, 15095, 550, GPU-3c\n"
        shared, own = gpus_from_smi(lines)
        assert (shared.name, shared.total_memory, shared.free_memory) == ("NVIDIA GB10", None, None)
        assert own.total_memory == 15360 * 2**20
        assert gpus_from_smi("Failed, a, sentence, with, commas\n") == []

    def test_nvidia_smi_and_nvml_agree(self):
        """What both said on one machine (but for the UUID): first in MiB, second in bytes."""
        (gpu,) = gpus_from_smi("NVIDIA H100 80GB HBM3, 81559, 81079, 580.159.04, GPU-1a2b\n")
        name, free = "NVIDIA H100 80GB HBM3", 85_017_493_504
        found = GPU(name, "NVIDIA", 85_520_809_984, free, "580.159.04", uuid="GPU-1a2b")
        assert gpu == found

    @pytest.mark.parametrize(
        ("chosen", "visible"),
        [
            (None, [0, 1]),
            ("", []),
            ("-1", []),
            ("NoDevFiles", []),
            ("none", []),
            ("0", [0]),
            ("1,0", [0, 1]),
            ("2", []),
            ("1, 7, 0", [1]),
            ("GPU-85bc7bb9", [1]),
            ("GPU-85bc7bb9,0", [0, 1]),
            ("GPU-8", []),  # begins both
            ("GPU-99", []),
            ("0,GPU-99,1", [0]),
            ("MIG-85bc7bb9-2c1e", [0, 1]),
        ],
    )
    def test_what_is_hidden_from_programs_is_of_no_use(self, monkeypatch, chosen, visible):
        """As CUDA reads the variable, and so Ollama and JAX; NVIDIA's own tools do not."""
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        gpus = without_hidden(
            [
                GPU("T4", "NVIDIA", 15, 14, uuid="GPU-8932f937-d72c"),
                GPU("A100", "NVIDIA", 40, 39, uuid="GPU-85bc7bb9-2c1e"),
            ]
        )
        assert [number for number, gpu in enumerate(gpus) if gpu.usable] == visible
        hidden = [gpu for gpu in gpus if not gpu.usable]
        assert all(f"CUDA_VISIBLE_DEVICES={chosen!r} hides it" in gpu.note for gpu in hidden)
        largest = replace(hardware.machine(), gpus=tuple(gpus)).gpu
        assert largest == (gpus[visible[-1]] if visible else None)

    def test_a_gpu_without_its_driver(self):
        text = (
            "00:02.0 VGA compatible controller: Cirrus Logic GD 5446\n"
            "00:04.0 3D controller: NVIDIA Corporation TU104GL [Tesla T4] (rev a1)\n"
        )
        (gpu,) = gpus_without_driver(text)
        assert not gpu.usable
        assert "its driver is not" in gpu.note

    def test_colab_without_a_gpu_gets_the_menu_path(self, monkeypatch):
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-x")
        monkeypatch.setattr(hardware, "find_gpus", list)
        assert "Runtime → Change runtime type" in str(hardware.machine())


def test_bandwidth_is_a_plausible_number():
    assert 1e9 < hardware.memory_bandwidth(megabytes=128, repeats=2) < 2e12

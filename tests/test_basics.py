"""What needs no server: hardware, prompts, GGUF headers, rendering, the cost of an import."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import slmlab
from slmlab import hardware
from slmlab.engines.embedded import gguf_header, model_store
from slmlab.engines.embedded.pool import parse_keep_alive
from slmlab.errors import PromptError, SlmlabError
from slmlab.processors import gpus_from_smi, gpus_without_driver
from slmlab.run import prompts
from slmlab.show import sanitize


class TestImport:
    def test_it_imports_nothing_heavy(self):
        code = (
            "import sys, slmlab; "
            "heavy = {'langchain_core', 'langchain_ollama', 'pandas', 'matplotlib', 'ipywidgets', "
            "'ollama', 'httpx', 'psutil'}; "
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "[]\n", done.stderr

    def test_every_verb_is_there(self):
        assert slmlab.__all__ == sorted(slmlab.__all__)
        for name in slmlab.__all__:
            assert getattr(slmlab, name).__doc__, name
        with pytest.raises(AttributeError, match="nope"):
            _ = slmlab.nope

    def test_no_module_takes_the_place_of_a_verb(self):
        modules = {path.stem for path in Path(slmlab.__file__).parent.glob("*.py")}
        verbs = {name for name in slmlab.__all__ if callable(getattr(slmlab, name))}
        assert not modules & verbs


class TestHardware:
    def test_this_machine(self):
        machine = hardware.machine()
        assert 1 <= machine.cores <= 1024
        assert 0 < machine.free_memory <= machine.memory
        assert machine.free_disk > 0
        assert machine.cpu in str(machine)
        assert machine.to_dict()["cores"] == machine.cores

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

    def test_nvidia_smi(self):
        (gpu,) = gpus_from_smi("Tesla T4, 15360, 15095, 550.54.15\n")
        assert (gpu.name, gpu.vendor, gpu.driver) == ("Tesla T4", "NVIDIA", "550.54.15")
        assert gpu.total_memory == 15360 * 2**20
        assert gpus_from_smi("NVIDIA-SMI has failed because...\n") == []

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


class TestPrompts:
    def test_the_tutorials_template(self):
        text = prompts.fill("step_by_step", question="Why?")
        assert text == "Question: Why?\n\nAnswer: Let's think step by step."

    def test_every_template_has_variables_and_fills(self):
        for name in prompts.TEMPLATES:
            names = prompts.variables(name)
            assert names
            assert prompts.fill(name, **dict.fromkeys(names, "x"))

    @pytest.mark.parametrize(
        ("template", "values", "message"),
        [
            ("steps_by_step", {}, "Did you mean 'step_by_step'"),
            ("step_by_step", {}, "also needs question"),
            ("step_by_step", {"question": "x", "qestion": "y"}, "no variable 'qestion'. Did you"),
            ("Say {", {}, "not well formed"),
            ("Say {0}", {}, "no variable's name"),
        ],
    )
    def test_mistakes_are_named(self, template, values, message):
        with pytest.raises(PromptError, match=message):
            prompts.fill(template, **values)

    def test_doubled_braces_are_text(self):
        assert prompts.fill('Reply as {{"x": 1}} to {q}', q="hi") == 'Reply as {"x": 1} to hi'


def small_gguf(
    pairs: dict[str, str | int] | None = None, tensors: int = 1, magic: bytes = b"GGUF"
) -> bytes:
    """A tiny GGUF file, byte by byte, after the format's description."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = (
        {"general.architecture": "llama", "llama.context_length": 128} if pairs is None else pairs
    )
    out = magic + struct.pack("<IQQ", 3, tensors, len(pairs))
    for key, value in pairs.items():
        out += text(key)
        out += (
            struct.pack("<II", 4, value)
            if isinstance(value, int)
            else struct.pack("<I", 8) + text(value)
        )
    for number in range(tensors):
        out += text(f"t{number}") + struct.pack("<IQQIQ", 2, 4, 8, 0, 0)
    return out + b"\0" * 256


class TestGGUF:
    def read(self, tmp_path, content: bytes) -> gguf_header.Header:
        path = tmp_path / "x.gguf"
        path.write_bytes(content)
        return gguf_header.read_header(path)

    def test_a_header(self, tmp_path):
        header = self.read(tmp_path, small_gguf())
        assert (header.architecture, header.context_length, header.parameters) == ("llama", 128, 32)
        assert header.chat_template is None

    def test_the_real_files_agree_with_the_gguf_package(self, shelf_home):
        """The numbers that ``gguf.GGUFReader`` printed for the two files of the shelf."""
        blobs = shelf_home / "models/blobs"
        smol, gemma = (gguf_header.read_header(blobs / f"sha256-{m.sha256}") for m in _shelf())
        assert (smol.architecture, smol.parameters, smol.quantization) == (
            "llama",
            134515008,
            "Q4_1",
        )
        assert (gemma.architecture, gemma.parameters) == ("gemma3", 268098176)
        assert gemma.quantization == "Q4_K_M"
        assert smol.chat_template
        assert gemma.chat_template is None

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "too short"),
            (b"PK\x03\x04" + b"\0" * 60, "not a GGUF model"),
            (small_gguf()[:40], "damaged|cut short"),
            (small_gguf(tensors=50)[:-1500], "damaged|cut short"),
            (b"GGUF" + struct.pack("<IQQ", 99, 0, 0) + b"\0" * 9, "version 99"),
            (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 1) + b"\0" * 9, "over a million"),
            (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + b"\0" * 9, "longer than the file"),
        ],
    )
    def test_damage_is_named(self, tmp_path, content, message):
        with pytest.raises(gguf_header.GGUFError, match=message):
            self.read(tmp_path, content)

    def test_no_cut_of_a_file_escapes_as_another_error(self, tmp_path):
        whole = small_gguf()[:-256]
        for length in range(len(whole)):
            with pytest.raises(gguf_header.GGUFError):
                self.read(tmp_path, whole[:length])


def _shelf() -> tuple:
    from slmlab.engines.embedded.pypi_models import SHELF

    return SHELF


class TestStore:
    @pytest.mark.parametrize(
        "name", ["../x", "a b", "", "/etc", "a/../b", "a\0b", "x" * 300, "a:b:c"]
    )
    def test_names_that_are_no_names(self, name):
        with pytest.raises(model_store.NameNotValid):
            model_store.full_name(name)

    def test_latest_is_the_default_tag(self):
        assert model_store.full_name("llama3.2") == "llama3.2:latest"
        assert model_store.full_name("host.example/me/x:1b") == "host.example/me/x:1b"

    def test_a_torn_manifest_is_no_model(self, tmp_path):
        models = model_store.Store(tmp_path)
        (tmp_path / "manifests/x%3Alatest.json").write_text('{"name": "x:lat')
        assert models.all() == []

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [(None, 300), (10, 10), ("5m", 300), ("1h30m", 5400), ("90", 90), ("1.5s", 1.5), (0, 0)],
    )
    def test_keep_alive(self, value, seconds):
        assert parse_keep_alive(value) == seconds

    def test_keep_alive_for_ever_and_never(self):
        assert parse_keep_alive(-1) == parse_keep_alive("-1m") == float("inf")
        for nonsense in ("", "m", "5 m", "5x", "1m2", True):
            with pytest.raises(ValueError, match=r"invalid"):
                parse_keep_alive(nonsense)


class TestDisplay:
    def test_markdown_is_rendered(self):
        html = sanitize.safe_html("**bold** and `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |")
        assert "<strong>bold</strong>" in html
        assert "<td>1</td>" in html

    @pytest.mark.parametrize(
        "attack",
        [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "![x](https://evil.example/pixel.png)",
            "[x](javascript:alert(1))",
            "<a href='javascript:alert(1)'>x</a>",
            "<iframe src='https://evil.example'></iframe>",
            "`</code><script>alert(1)</script>`",
            "<style>*{display:none}</style>",
        ],
    )
    def test_what_a_model_writes_is_harmless(self, attack):
        html = sanitize.safe_html(attack)
        assert "<script" not in html
        assert "<img" not in html
        assert "<iframe" not in html
        assert "<style" not in html
        assert 'href="javascript' not in html


def test_an_error_shows_as_one_sentence_in_a_notebook():
    assert SlmlabError("Do this.")._render_traceback_() == ["SlmlabError: Do this."]


def test_a_wheel_has_all_of_the_package(tmp_path):
    """What pip installs is what the repository has. Built aside: a build leaves files behind."""
    root = Path(slmlab.__file__).parent.parent
    source = tmp_path / "source"
    shutil.copytree(root / "slmlab", source / "slmlab")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(root / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("slmlab/")}
    assert packed == {
        str(path.relative_to(root))
        for path in (root / "slmlab").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

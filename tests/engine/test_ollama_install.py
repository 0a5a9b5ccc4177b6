"""Installing Ollama from a served archive: a real binary, a real server, faults on purpose."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import zstandard

from slmlab.engines import ollama_install
from slmlab.errors import InstallError
from tests.support.disks import small_disk

VERSION = "0.5.4"


def archive(release: Path, ending: str, extra: dict[str, bytes] | None = None) -> bytes:
    """The release as its archive, with a GPU library beside it, and more members on request."""
    raw = io.BytesIO()
    how = {"mode": "w:gz", "compresslevel": 1} if ending == ".tgz" else {"mode": "w"}
    with tarfile.open(fileobj=raw, **how) as tar:
        for path in sorted(release.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=str(path.relative_to(release)))
        members = {"lib/ollama/cuda_v12/libggml-cuda.so": b"not needed here"} | (extra or {})
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return raw.getvalue() if ending == ".tgz" else zstandard.compress(raw.getvalue(), 1)


@pytest.fixture(scope="session")
def packed(assembled_ollama: Path) -> dict[str, bytes]:
    return {ending: archive(assembled_ollama, ending) for ending in (".tar.zst", ".tgz")}


def offer(files, content: bytes, ending: str = ".tar.zst", digest: str | None = None) -> str:
    """Serve the archive with its checksum list; returns the archive's path."""
    name = f"ollama-linux-amd64{ending}"
    digest = digest or hashlib.sha256(content).hexdigest()
    files.files[f"/v{VERSION}/{name}"] = content
    sums = f"{'0' * 64}  ./ollama-darwin.tgz\n{digest}  ./{name}\n"
    files.files[f"/v{VERSION}/sha256sum.txt"] = sums.encode()
    return f"/v{VERSION}/{name}"


def install(files, folder: Path, **more) -> Path:
    return ollama_install.install(VERSION, base_url=files.url, folder=folder, **more)


@pytest.mark.ollama
class TestFromAnArchive:
    @pytest.mark.parametrize("ending", [".tar.zst", ".tgz"])
    def test_it_runs(self, files, packed, tmp_path, ending):
        offer(files, packed[ending], ending)
        binary = install(files, tmp_path, gpu=False)
        assert binary == tmp_path / VERSION / "bin/ollama"
        assert ollama_install.installed_version(binary).startswith("0.5.4")
        assert not list(tmp_path.rglob("*cuda*"))
        assert [path.name for path in tmp_path.iterdir()] == [VERSION]

    def test_gpu_libraries_come_where_there_is_a_gpu(self, files, packed, tmp_path):
        offer(files, packed[".tar.zst"])
        install(files, tmp_path, gpu=True)
        assert list(tmp_path.rglob("libggml-cuda.so"))

    def test_a_second_install_fetches_nothing(self, files, packed, tmp_path):
        offer(files, packed[".tar.zst"])
        install(files, tmp_path)
        files.seen.clear()
        install(files, tmp_path)
        assert not files.seen

    def test_a_cut_download_goes_on_where_it_stopped(self, files, packed, tmp_path):
        path = offer(files, packed[".tar.zst"])
        files.cut[path] = [5_000_000, 7_000_000]
        install(files, tmp_path)
        ranges = [wanted for seen, wanted in files.seen if seen == path]
        assert len(ranges) == 3
        assert ranges[0] is None
        # What had arrived may end a little before the cut, in a buffer on the way.
        assert 4_000_000 < int(ranges[1][6:-1]) <= 5_000_000
        assert 10_000_000 < int(ranges[2][6:-1]) <= 12_000_000

    def test_a_stalled_or_busy_host_is_asked_again(self, files, packed, tmp_path, monkeypatch):
        monkeypatch.setattr(ollama_install, "TIMEOUT", 3.0)
        path = offer(files, packed[".tar.zst"])
        files.busy[path] = [503, 429]
        files.stall[path] = [5_000_000]
        install(files, tmp_path)
        ranges = [wanted for seen, wanted in files.seen if seen == path]
        assert ranges[:3] == [None, None, None]
        assert len(ranges) == 4
        assert ranges[3].startswith("bytes=")

    def test_it_goes_on_after_the_program_ended_too(self, files, packed, tmp_path):
        content = packed[".tar.zst"]
        path = offer(files, content)
        part = tmp_path / f"{VERSION}-ollama-linux-amd64.tar.zst.part"
        part.write_bytes(content[:9_000_000])
        install(files, tmp_path)
        assert (path, "bytes=9000000-") in files.seen

    def test_a_wrong_checksum_leaves_nothing(self, files, packed, tmp_path):
        offer(files, packed[".tar.zst"], digest="ab" * 32)
        with pytest.raises(InstallError, match=r"SHA-256 .* instead of abababababab"):
            install(files, tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("claim", ["more", "less", "no end"])
    def test_a_host_that_lies_about_the_size(self, files, packed, tmp_path, monkeypatch, claim):
        monkeypatch.setattr(ollama_install, "TIMEOUT", 2.0)
        content = packed[".tar.zst"]
        path = offer(files, content)
        sizes = {"more": len(content) + 9999, "less": len(content) - 9999, "no end": 10**15}
        files.claims[path] = sizes[claim]
        if claim == "more":
            # What is missing never comes; the checksum knows that nothing is.
            assert ollama_install.installed_version(install(files, tmp_path))
            return
        sentence = "SHA-256" if claim == "less" else "Not enough disk"
        with pytest.raises(InstallError, match=sentence):
            install(files, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_an_archive_without_end_is_refused(self, files, tmp_path):
        """An archive of a few kilobytes with a member of a terabyte."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            info = tarfile.TarInfo("bin/ollama")
            info.size = 2**40
            tar.addfile(info)
        offer(files, zstandard.compress(raw.getvalue() + bytes(2**20)))
        with pytest.raises(InstallError, match="unpacks to far more than a release"):
            install(files, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_members_outside_the_folder_are_refused(self, files, assembled_ollama, tmp_path):
        outside = tmp_path / "outside"
        offer(files, archive(assembled_ollama, ".tar.zst", {"../outside": b"x"}))
        with pytest.raises(InstallError, match="cannot be unpacked"):
            install(files, tmp_path / "folder")
        assert not outside.exists()
        assert not (tmp_path / "folder" / VERSION).exists()

    def test_a_full_disk_is_a_sentence_and_leaves_nothing(self, files, packed, tmp_path):
        """A disk that really is full: a file system of 40 MB."""
        offer(files, packed[".tar.zst"])
        with small_disk(tmp_path / "disk", "40m") as disk:
            with pytest.raises(InstallError, match="Not enough disk space for Ollama"):
                install(files, disk)
            assert not list(disk.iterdir())
            assert shutil.disk_usage(disk).used < 1_000_000

    def test_the_binary_on_path_is_used(self, assembled_ollama, tmp_path, monkeypatch):
        monkeypatch.setenv("SLMLAB_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", f"{assembled_ollama / 'bin'}:{os.environ['PATH']}")
        assert ollama_install.ensure(say=print) == assembled_ollama / "bin/ollama"
        assert ollama_install.find("99.0.0") is None

"""Installing Ollama: hosts and systems that do not play along."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from slmlab.engines import ollama_install
from slmlab.errors import InstallError

VERSION = "0.5.4"


def install(files, folder: Path, **more) -> Path:
    return ollama_install.install(VERSION, base_url=files.url, folder=folder, **more)


def test_a_binary_on_path_that_does_not_run_is_passed_over(tmp_path, monkeypatch):
    broken = tmp_path / "bin/ollama"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(broken.parent))
    assert ollama_install.find() is None


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_host_that_refuses_is_named(files, tmp_path, status):
    files.status[f"/v{VERSION}/sha256sum.txt"] = status
    with pytest.raises(InstallError, match=f"127.0.0.1 answered {status}"):
        install(files, tmp_path)


def test_a_version_that_does_not_exist(files, tmp_path):
    with pytest.raises(InstallError, match=r"no Ollama release 0\.5\.4"):
        install(files, tmp_path)


def test_a_list_of_checksums_that_breaks_off_is_asked_for_again(files, tmp_path):
    files.files[f"/v{VERSION}/sha256sum.txt"] = b"not a list\n"
    files.cut[f"/v{VERSION}/sha256sum.txt"] = [3]
    with pytest.raises(InstallError, match="has no archive for Linux"):
        install(files, tmp_path)
    assert len(files.seen) == 2


def test_a_release_without_our_archive(files, tmp_path):
    files.files[f"/v{VERSION}/sha256sum.txt"] = b"not a list\n"
    with pytest.raises(InstallError, match="has no archive for Linux"):
        install(files, tmp_path)


@pytest.mark.parametrize("ignored", [False, True])
def test_what_is_here_is_kept_only_if_the_rest_comes(files, tmp_path, ignored):
    files.files["/archive"], files.ignore_range = b"0123456789", ignored
    part = tmp_path / "archive.part"
    part.write_bytes(b"01234")
    with httpx.Client() as client:
        ollama_install._download_rest(client, f"{files.url}/archive", part, "Ollama")
    assert part.read_bytes() == b"0123456789"


@pytest.mark.parametrize(("here", "needed"), [(b"", 20), (b"01234", 15)])
def test_there_has_to_be_room_for_the_archive_and_for_what_is_in_it(
    files, tmp_path, monkeypatch, here, needed
):
    files.files["/archive"] = b"0123456789"
    part = tmp_path / "archive.part"
    for free, enough in ((needed - 1, False), (needed, True)):
        part.write_bytes(here)
        room = SimpleNamespace(free=free)
        monkeypatch.setattr(ollama_install.shutil, "disk_usage", lambda _, room=room: room)
        says = (
            contextlib.nullcontext() if enough else pytest.raises(InstallError, match="disk space")
        )
        with says, httpx.Client() as client:
            ollama_install._download_rest(client, f"{files.url}/archive", part, "Ollama")
        assert part.exists() is enough


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_a_forged_release_is_refused_before_it_is_downloaded(
    files, tmp_path, monkeypatch, architecture
):
    """Its own list of checksums is forged with it."""
    pinned, name = ollama_install.PINNED_VERSION, f"ollama-linux-{architecture}.tar.zst"
    monkeypatch.setattr(ollama_install, "_architecture", lambda: architecture)
    files.files[f"/v{pinned}/{name}"] = b"forged"
    forged = hashlib.sha256(b"forged").hexdigest()
    files.files[f"/v{pinned}/sha256sum.txt"] = f"{forged}  ./{name}\n".encode()
    with pytest.raises(InstallError, match="is not the one that slmlab knows"):
        ollama_install.install(base_url=files.url, folder=tmp_path)
    files.files[f"/v{pinned}/sha256sum.txt"] = (
        f"{ollama_install.PINNED_SHA256[architecture]}  ./{name}\n".encode()
    )
    with pytest.raises(InstallError, match="does not match the release's checksum"):
        ollama_install.install(base_url=files.url, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("system", "word"), [("darwin", "brew"), ("win32", "winget")])
def test_other_systems_get_the_sentence_that_helps(files, tmp_path, monkeypatch, system, word):
    monkeypatch.setattr("sys.platform", system)
    with pytest.raises(InstallError, match=word):
        install(files, tmp_path)


def test_a_python_that_cannot_unpack_safely_says_so_before_the_download(
    files, tmp_path, monkeypatch
):
    monkeypatch.delattr("tarfile.data_filter")  # as in Python 3.10.11 and 3.11.3
    with pytest.raises(InstallError, match="cannot unpack archives safely"):
        install(files, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_cannot_be_written(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match="cannot be installed into"):
        install(files, tmp_path / "file" / "below")


def test_without_a_network_that_is_known_within_ten_seconds(lab):
    started = time.monotonic()
    with pytest.raises(InstallError, match="cannot be reached"):
        ollama_install.install(base_url="http://slmlab.invalid")
    assert time.monotonic() - started < 10

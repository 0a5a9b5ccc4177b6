"""A machine without any network is set up from a bundle, and its models answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import call, run
from tests.support.engines import SMOL
from tests.support.paths import ROOT
from tests.support.processes import free_port

# A network namespace of its own has no route to anywhere; its loopback has to be switched on.
NO_NETWORK = [
    "unshare",
    "--net",
    "--map-root-user",
    "sh",
    "-c",
    'ip link set lo up; exec "$@"',
    "-",
]


def without_network(*command: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # Nobody waits for whole packages to be compiled, nor for long answers. pip takes 0 for "yes".
    short = {"PIP_NO_COMPILE": "0", "SLMLAB_TOKENS": "16"}
    return subprocess.run(
        [*NO_NETWORK, *map(str, command)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **short, **env},
        capture_output=True,
        text=True,
        timeout=600,
    )


def can_be_cut_off() -> bool:
    reach = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    try:
        done = without_network(sys.executable, "-c", reach, cwd=ROOT)
    except OSError:
        return False
    return "ConnectionRefusedError" in done.stderr


@pytest.fixture
def bundle(lab_with_models: Path, tmp_path: Path) -> Path:
    """A bundle for this Python and this machine, with one model."""
    folder = tmp_path / "a bundle"
    done = run("bundle", str(folder), "--models", SMOL)
    assert done.returncode == 0, done.stderr
    assert "bash colab_setup.sh --from 'a bundle'" in done.stdout
    assert run("stop").returncode == 0
    return folder


def test_a_room_without_a_network(bundle: Path, tmp_path: Path) -> None:
    """A machine is set up from a bundle and its model answers; an incomplete bundle is refused."""
    if not can_be_cut_off():
        pytest.fail("This machine has no network namespaces.") if os.environ.get("CI") else (
            pytest.skip("this machine has no network namespaces")
        )
    clone, home = tmp_path / "clone", tmp_path / "student"
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, clone], check=True)
    env = {"HOME": str(home), "OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    setup = ("bash", "colab_setup.sh", "--from", bundle)

    # A package that somebody changed on the way is refused by its hash, a model by its own.
    (wheel,) = bundle.glob("wheels/nh3-*.whl")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:-1] + b"x")
    refused = without_network(*setup, cwd=clone, **env)
    assert refused.returncode != 0
    assert "nh3" in refused.stderr and "hash" in refused.stderr.lower()
    wheel.write_bytes(whole)
    (blob,) = bundle.glob("models/blobs/sha256-*")
    shutil.copy(blob, tmp_path / "whole")
    with blob.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    refused = without_network(*setup, cwd=clone, **env)
    assert refused.returncode == 1
    assert refused.stderr.startswith("slmlab: ") and "is damaged" in refused.stderr
    assert not list(home.rglob("sha256-*")) and not list(home.rglob("partial-*"))
    shutil.copy(tmp_path / "whole", blob)

    script = (
        "from slmlab import start, ready, generate, stop; start(); print(ready());"
        f"print(repr(generate({SMOL!r}, 'Say hi.', num_predict=8).text)); stop()"
    )
    both = 'bash colab_setup.sh --from "$1" && .venv/bin/python -c "$2"'
    done = without_network("bash", "-c", both, "-", bundle, script, cwd=clone, **env)
    assert done.returncode == 0, done.stderr
    assert f"Models: {SMOL}" in done.stdout and "tokens/s" in done.stdout
    *_, names, answer = done.stdout.splitlines()
    assert names == f"['{SMOL}']" and answer not in ("''", "")


def test_wrong_usage(lab: Path, tmp_path: Path) -> None:
    """Each is refused with one sentence, before anything is downloaded."""
    wrong = call("bundle", str(tmp_path / "b"), "--platforms", "Plan9-mips")
    assert wrong.returncode == 1
    assert "Plan9-mips" in wrong.stderr and "Linux-x86_64" in wrong.stderr
    nothing = call("setup", "--from", str(tmp_path))
    assert nothing.returncode == 1 and "is no bundle" in nothing.stderr

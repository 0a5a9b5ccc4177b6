"""Fixtures of the fault tests."""

from __future__ import annotations

import sys

import httpx
import pytest

from tests.support.engines import ALL_THREADS, give_models
from tests.support.processes import free_port, serving


@pytest.fixture(scope="module")
def engine_home(models_home, tmp_path_factory):
    """A folder with an engine's home in it, and nothing else."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    home.mkdir()
    give_models(models_home, home)
    return home


@pytest.fixture(scope="module")
def engine_url(engine_home):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    log = engine_home.parent / "log"
    env = ALL_THREADS | {"SLMLAB_HOME": str(engine_home)}
    with serving(command, url, log, **env) as process:
        yield url
        assert process.poll() is None, log.read_text()
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text[-3000:]


@pytest.fixture(scope="module")
def client(engine_url):
    with httpx.Client(base_url=engine_url, timeout=60, trust_env=False, verify=False) as one:
        yield one

"""What the engine starts with, and where it listens."""

from __future__ import annotations

import os

import pytest
import uvicorn

from slmlab import paths
from slmlab.engines import supervisor
from slmlab.engines.embedded import serve, worker_process
from slmlab.errors import ServerError
from tests.support.fake_process import FakeProcess
from tests.support.processes import free_port


@pytest.fixture
def configs(monkeypatch):
    """How servers would have been started."""
    found = []

    async def start() -> worker_process.WorkerProcess:
        return worker_process.WorkerProcess(FakeProcess(), None)

    async def run(server: uvicorn.Server) -> None:
        found.append(server.config)

    monkeypatch.setattr(worker_process, "start", start)
    monkeypatch.setattr(uvicorn.Server, "serve", run)
    return found


def test_it_listens_to_this_machine_only(configs):
    serve.serve(free_port())
    with configs[0].bind_socket() as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_home_that_turned_read_only_is_named_before_anything_starts(configs):
    folder = supervisor.folder_of("http://127.0.0.1:5000")
    paths.make(folder)
    folder.chmod(0o500)
    with pytest.raises(ServerError, match=r"key cannot be written into .*Permission denied"):
        serve.serve(5000)
    assert configs == []
    serve.serve(5000, to_all=True)  # which needs none
    assert len(configs) == 1

"""What the engine starts with, and where it listens."""

from __future__ import annotations

import pytest
import uvicorn

from slmlab.engines.embedded import serve, worker_process
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

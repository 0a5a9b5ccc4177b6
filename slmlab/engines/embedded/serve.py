"""Run the embedded engine: ``python -m slmlab serve``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from slmlab import paths
from slmlab.engines.embedded import worker_process

try:
    import uvloop
except ImportError:  # there is none for Windows
    run = asyncio.run
else:
    run = uvloop.run

# Seconds after which an idle connection is closed. Clients close theirs before, or notice: httpx
# after 5 seconds, Go's after 90. With uvicorn's default of five, a client would now and then reuse
# a connection just as it is being closed.
IDLE = 120
MANY_FILES = 65_536


def serve(port: int) -> None:
    """Serve on 127.0.0.1 until interrupted.

    Raises:
        ImportError: a package of the embedded engine is missing.
    """
    run(_serve(port))


async def _serve(port: int) -> None:
    # The first worker starts on another core while this process imports the rest.
    first = await worker_process.start()

    import uvicorn

    from slmlab.engines.embedded import routes
    from slmlab.engines.embedded.engine import Engine
    from slmlab.engines.embedded.model_store import ModelStore

    store = ModelStore(paths.embedded_models())
    with contextlib.suppress(OSError):
        store.sweep()
    _allow_many_connections()
    config = uvicorn.Config(
        routes.app(Engine(store, first)),
        host="127.0.0.1",
        port=port,
        http=_protocol(),
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=IDLE,
    )
    await uvicorn.Server(config).serve()


def _protocol() -> type[Any]:
    """HTTP as uvicorn speaks it, but that it also closes connections on which nothing comes."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._wait()

        def _wait(self) -> None:
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    return Protocol


def _allow_many_connections() -> None:
    """Use as many file descriptors as the system allows; the usual limit may be 256."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        many = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))

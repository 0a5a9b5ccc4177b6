"""Run the embedded engine: ``python -m slmlab serve``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from pathlib import Path
from typing import Any

from slmlab import paths
from slmlab.engines.embedded import worker_process
from slmlab.errors import ServerError

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
# Seconds in which the head of a request has to come, which clients send at once.
MAX_HEAD = 30
MANY_FILES = 65_536


def serve(port: int, *, to_all: bool = False) -> None:
    """Serve on 127.0.0.1 until interrupted.

    Args:
        port: the TCP port.
        to_all: serve every user of this machine; else only this one.

    Raises:
        ImportError: a package of the embedded engine is missing.
        ServerError: the engine's key cannot be written.
    """
    run(_serve(port, to_all))


async def _serve(port: int, to_all: bool) -> None:
    # The first worker starts on another core while this process imports the rest.
    first = await worker_process.start()

    import uvicorn

    from slmlab.engines import keys
    from slmlab.engines.embedded import access, routes
    from slmlab.engines.embedded.engine import Engine
    from slmlab.engines.embedded.model_store import ModelStore

    key = None if to_all else _key(port)
    store = ModelStore(paths.embedded_models())
    with contextlib.suppress(OSError):
        store.sweep()
    _allow_many_connections()
    config = uvicorn.Config(
        routes.app(Engine(store, first), key),
        host="127.0.0.1",
        port=port,
        http=_protocol(access.USER),
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=IDLE,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            # Only now is the port ours, and not that of another engine with a key of its own.
            if key and keys.read(_folder(port)) != key:
                keys.write(_folder(port), key)

    await Server(config).serve()


def _folder(port: int) -> Path:
    from slmlab.engines import supervisor

    return supervisor.folder_of(f"http://127.0.0.1:{port}")


def _key(port: int) -> str:
    """The key for this start: the one that the supervisor has made, or a new one."""
    from slmlab.engines import keys, supervisor

    folder = _folder(port)
    try:
        paths.make(folder)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ServerError(
            f"The engine's key cannot be written into {folder}: {error.strerror}. Set SLMLAB_HOME "
            "to a folder of your own."
        ) from error
    supervised = supervisor.state_at(f"http://127.0.0.1:{port}") is not None
    return (keys.read(folder) if supervised else None) or keys.new()


def _protocol(user: str) -> type[Any]:
    """HTTP as uvicorn speaks it, with two additions.

    It also closes connections on which nothing comes, or a request's head byte by byte. And
    ``user`` in each request's state is the user id of the process that has connected.
    """
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from slmlab.engines import sockets

    class Protocol(HttpToolsProtocol):
        began: float | None = None  # when the first byte of a head came that is not whole yet

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            uid = sockets.connected(transport.get_extra_info("socket"))
            self.app_state = self.app_state | {user: uid}
            self.close_after(self.timeout_keep_alive)

        def data_received(self, data: bytes) -> None:
            now = self.loop.time()
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self.began = self.began or now
                self.close_after(self.began + MAX_HEAD - now)
            else:
                self.began = None

        def close_after(self, seconds: float) -> None:
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    seconds, self.timeout_keep_alive_handler
                )

    return Protocol


def _allow_many_connections() -> None:
    """Use as many file descriptors as the system allows; the usual limit may be 256."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        many = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))

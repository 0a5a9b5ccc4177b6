"""Find, start and stop the server that everything else talks to.

The server is Ollama or the embedded engine; callers need not know which. A server that is already
running is used, unless it is another user's (see ``slmlab.engines.access``), and never stopped by
slmlab. One that slmlab starts is bound to 127.0.0.1, runs in a
session of its own (so that interrupting a cell does not reach it), is restarted after a crash, and
ends when the last process that uses it is gone (see ``slmlab.engines.supervisor``).

If ``start()`` is killed at any point, the next one finds what it left: a supervisor records its own
process before it starts a server, starts none for a process that has ended meanwhile, and a
``start()`` that finds a supervisor waits for its server.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable

import filelock

from slmlab import paths
from slmlab.engines import supervisor
from slmlab.engines.access import choose, lend_key, set_environment, take_key_back
from slmlab.engines.address import configured_host, read_address
from slmlab.engines.client import needs_key
from slmlab.engines.find import DEFAULT_HOST, Server, find, server_at
from slmlab.engines.launch import end, launch
from slmlab.engines.supervisor import exclusive, states
from slmlab.errors import ServerError

log = logging.getLogger(__name__)

ENGINES = ("auto", "ollama", "embedded")
# Seconds that another process may take to start a server, including the installation of Ollama.
LOCK_DEADLINE = 600.0


def host() -> str:
    """The address that all calls use by default, such as ``http://127.0.0.1:11434``.

    ``OLLAMA_HOST`` if it is set, parsed as Ollama parses it; else that of a running server that
    slmlab started; else Ollama's default. A user and password in it are used but not shown.

    Examples:
        >>> slmlab.server.host()
        'http://127.0.0.1:...'
    """
    if configured := configured_host():
        return configured
    return choose(next((state["host"] for state in states()), DEFAULT_HOST))


def address_of(given: str | None) -> str:
    """The normalized address of an argument ``host=``; ``host()`` for None.

    Raises:
        ServerError: it is not an address.

    Examples:
        >>> slmlab.server.address_of("gpu-server:5000/")
        'http://gpu-server:5000'
    """
    return host() if given is None else read_address(given)


def key(host: str | None = None) -> str:
    """The key of the embedded engine, for clients that do not know it, such as OpenAI's.

    slmlab sends it by itself. On Linux the engine sees which user has connected, and needs no key.
    Whoever has the key can use the engine and delete its models: do not print or keep it.

    Args:
        host: the engine's address (default: ``host()``).

    Returns:
        the key; ``"none"`` for a server that asks for none, as some clients insist on a text.

    Examples:
        >>> headers = {"Authorization": f"Bearer {slmlab.server.key()}"}
    """
    return supervisor.key_at(address_of(host)) or "none"


def status() -> Server | None:
    """The server that calls would reach now, or None. Starts nothing.

    Examples:
        >>> slmlab.status() is None  # no server is running
        False
    """
    return server_at(host())


def start(engine: str = "auto", *, version: str | None = None, quiet: bool = False) -> Server:
    """Use the server that is running; without one, install what is missing and start one.

    If the server is not at the address in ``OLLAMA_HOST`` (by default Ollama's), ``OLLAMA_HOST`` is
    set to it in this process, so that other libraries that read it, such as langchain-ollama and
    the ollama client, reach the same server as slmlab. Where the embedded engine cannot see which
    user has connected (outside of Linux), ``OLLAMA_API_KEY`` is set to its key too, unless it is
    set already.

    Args:
        engine: ``ollama``, ``embedded``, or ``auto``: Ollama if it is installed or can be, else the
            embedded engine.
        version: the Ollama version to install if there is none (default: the tested one).
        quiet: print nothing.

    Raises:
        ServerError: a remote ``OLLAMA_HOST`` does not answer, or a server does not start.
        InstallError: ``engine="ollama"`` was requested and Ollama cannot be installed.

    Examples:
        >>> server = slmlab.start()
        >>> server.engine in ("ollama", "embedded")
        True
    """
    if engine not in ENGINES:
        raise ServerError(f"There is no engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    say: Callable[[str], None] = (lambda _: None) if quiet else print
    try:
        paths.make(paths.servers())
        # Two notebooks that start at the same moment must not start two servers. On network drives
        # without locks they may; then the second takes another port.
        with exclusive(paths.servers() / supervisor.START_LOCK, LOCK_DEADLINE):
            found = find(engine, say) or launch(engine, version, say)
    except filelock.Timeout as error:
        raise ServerError(
            f"Another process has been starting a server for {LOCK_DEADLINE:.0f} s. End it, or "
            "wait until it is done, and try again."
        ) from error
    except OSError as error:
        raise ServerError(
            f"slmlab cannot start a server from its folder {paths.home()}: {error.strerror}. Free "
            "disk space there, or set SLMLAB_HOME to a folder of your own before the first cell."
        ) from error
    if {found.host} != {host(), configured_host() or DEFAULT_HOST}:
        log.info("setting OLLAMA_HOST=%s for other libraries in this process", found.host)
        set_environment(found.host)
    if supervisor.key_at(found.host) and needs_key(found.host):
        lend_key(found.host)
    say(str(found))
    return found


def stop() -> list[str]:
    """Stop every server that slmlab started on this machine; returns their addresses.

    Servers that slmlab did not start keep running. If ``OLLAMA_HOST`` is the address of a stopped
    server, it is removed from this process's environment.

    Examples:
        >>> stopped = slmlab.stop()
    """
    running = list(states())
    if running:
        take_key_back()
    with contextlib.ExitStack() as held:
        if running:
            # A start() that is called now waits until the servers are gone. stop() does not wait
            # for a start() that is under way, which may be downloading Ollama.
            with contextlib.suppress(OSError):
                held.enter_context(exclusive(paths.servers() / supervisor.START_LOCK, timeout=0))
        for state in running:
            end(state)
            if os.environ.get("OLLAMA_HOST") == state["host"]:
                del os.environ["OLLAMA_HOST"]
    return [state["host"] for state in running]

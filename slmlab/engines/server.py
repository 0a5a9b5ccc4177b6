"""Find, start, watch and stop the one server that everything above speaks to.

Behind the address stands Ollama or the embedded engine; nothing above this module needs to know
which. A server that already listens is used and never stopped by us; one that we start is bound to
127.0.0.1, lives in a session of its own (a cell interrupt does not reach it), is restarted after a
crash, and goes when the last process that uses it is gone (see ``slmlab.engines.supervisor``).

Wherever ``start()`` is killed, the next one finds what it left: a supervisor says who it is before
it starts a server, does not start one for a process that has ended meanwhile, and a ``start()``
that finds a supervisor waits for its server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import psutil
import tenacity

from slmlab import paths
from slmlab.engines import ollama_install, supervisor
from slmlab.engines.address import DEFAULT_PORT, configured_host, is_local, read_address
from slmlab.engines.client import ask_version, no_server
from slmlab.engines.supervisor import State, exclusive, folder_of, log_tail, state_at, states
from slmlab.errors import InstallError, ServerError
from slmlab.facts import facts_html
from slmlab.processes import end_tree, is_same

log = logging.getLogger(__name__)

DEFAULT_HOST = f"http://127.0.0.1:{DEFAULT_PORT}"
ENGINES = ("auto", "ollama", "embedded")
# Seconds in which a server that was started has to answer.
START_DEADLINE = 60.0
# Seconds in which another process that starts a server has to be done; it may install Ollama.
LOCK_DEADLINE = 600.0
# Seconds in which a server that is ending has to be gone.
END_DEADLINE = 20.0


@dataclass(frozen=True)
class Server:
    """A server that answers: its address, engine (``ollama`` or ``embedded``) and version."""

    host: str
    engine: str
    version: str
    ours: bool = False

    def __str__(self) -> str:
        """One line for a person."""
        whose = "started by slmlab" if self.ours else "was already running"
        return f"{self._engine} at {self.host} ({whose})"

    def __repr__(self) -> str:
        return f"<Server: {self}>"

    def _repr_html_(self) -> str:
        whose = "by slmlab" if self.ours else "by somebody else; slmlab never stops it"
        rows = [("Engine", self._engine), ("Address", self.host), ("Started", whose)]
        return facts_html("Server", rows)

    @property
    def _engine(self) -> str:
        names = {"ollama": "Ollama", "embedded": "Embedded engine"}
        return f"{names.get(self.engine, self.engine)} {self.version}"


def host() -> str:
    """The address that all calls use, such as ``http://127.0.0.1:11434``.

    ``OLLAMA_HOST`` where it is set, read as Ollama reads it; else a running server that slmlab
    started; else Ollama's default. A user and password in it are used, and not shown.

    Examples:
        >>> slmlab.server.host()
        'http://127.0.0.1:...'
    """
    return configured_host() or next((state["host"] for state in states()), DEFAULT_HOST)


def address_of(given: str | None) -> str:
    """The address that an argument ``host=`` gives, in its one spelling; ``host()`` for None.

    Raises:
        ServerError: it is no address.

    Examples:
        >>> slmlab.server.address_of("gpu-server:5000/")
        'http://gpu-server:5000'
    """
    return host() if given is None else read_address(given)


def status() -> Server | None:
    """The server that calls would reach now, or None. Starts nothing.

    Examples:
        >>> slmlab.status() is None  # is there none?
        False
    """
    return _server_at(host())


def _server_at(address: str) -> Server | None:
    facts = ask_version(address)
    return _server(address, facts) if facts else None


def _server(address: str, facts: dict[str, Any]) -> Server:
    ours = state_at(address) is not None
    return Server(address, facts.get("engine", "ollama"), facts["version"], ours)


def start(engine: str = "auto", *, version: str | None = None, quiet: bool = False) -> Server:
    """Have a server: use the one that answers, else install what is missing and start one.

    Where the server is not at the address that ``OLLAMA_HOST`` (or else Ollama's default) names,
    ``OLLAMA_HOST`` is set to it in this process, so that other libraries which read it, such as
    langchain-ollama and the ollama client, reach the same server as slmlab.

    Args:
        engine: ``ollama``, ``embedded``, or ``auto``: Ollama where it is installed or can be,
            else the embedded engine.
        version: the Ollama version to install where it is not there yet (default: the tested one).
        quiet: print nothing about what is found and done.

    Raises:
        ServerError: a remote ``OLLAMA_HOST`` does not answer, or a server does not come up.
        InstallError: ``engine="ollama"`` was asked for and Ollama cannot be installed.

    Examples:
        >>> server = slmlab.start()
        >>> server.engine in ("ollama", "embedded")
        True
    """
    if engine not in ENGINES:
        raise ServerError(f"There is no engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    say: Callable[[str], None] = (lambda _: None) if quiet else print
    try:
        paths.servers().mkdir(parents=True, exist_ok=True)
        # Two notebooks that start at the same moment must not start two servers. Without locks,
        # on some network drives, they may; then the second takes another port.
        with exclusive(paths.servers() / supervisor.START_LOCK, LOCK_DEADLINE):
            found = _find(engine, say) or _start_new(engine, version, say)
    except filelock.Timeout as error:
        raise ServerError(
            f"Another program has been starting a server for {LOCK_DEADLINE:.0f} s. End it, or "
            "wait until it is done, and try again."
        ) from error
    except OSError as error:
        raise ServerError(
            f"slmlab cannot start a server from its folder {paths.home()}: {error.strerror}. Make "
            "room there, or set SLMLAB_HOME to a folder of your own before the first cell."
        ) from error
    if {found.host} != {host(), configured_host() or DEFAULT_HOST}:
        log.info("setting OLLAMA_HOST=%s for other libraries in this process", found.host)
        os.environ["OLLAMA_HOST"] = found.host
    say(str(found))
    return found


def _find(engine: str, say: Callable[[str], None]) -> Server | None:
    """A server of the engine asked for that answers, or that slmlab started and that will.

    Where slmlab started it, this process becomes one of its users.
    """
    configured = configured_host()
    if configured and not is_local(configured):
        return _remote(configured, engine)
    ours = [state["host"] for state in states()]
    for address in dict.fromkeys([configured, *ours] if configured else [*ours, DEFAULT_HOST]):
        state = state_at(address)
        if state and engine in ("auto", state["engine"]):
            server = _join(address, state)
        else:
            server = _server_at(address)
        if server and engine in ("auto", server.engine):
            log.info("found %s", server)
            return server
        if server and address == configured:
            say(f"OLLAMA_HOST names {server.host}, which is not the {engine} engine; not used.")
    return None


def _join(address: str, state: State) -> Server | None:
    """Become a user of a server that slmlab started and wait until it answers; None if it ended.

    Raises:
        ServerError: it runs but does not answer.
    """
    folder = folder_of(address)
    supervisor.add_user(folder)
    log.debug("joining the server of supervisor %d at %s", state["pid"], address)
    facts = _wait_until_ready(state["host"], lambda: state_at(address) is not None)
    # It may have been told to stop while it still answered.
    return _server(address, facts) if facts and state_at(address) else None


def _remote(address: str, engine: str) -> Server:
    """The server on another machine, which is only ever used."""
    server = _server_at(address)
    if server is None:
        remedy = "Start Ollama there, or unset OLLAMA_HOST to use this machine."
        raise ServerError(no_server(address, remedy, setting="OLLAMA_HOST"))
    if engine not in ("auto", server.engine):
        raise ServerError(
            f"OLLAMA_HOST={address} is not the {engine} engine but {server.engine}. Unset "
            "OLLAMA_HOST to use this machine, or leave the engine at 'auto'."
        )
    return server


def _start_new(engine: str, version: str | None, say: Callable[[str], None]) -> Server:
    if engine == "embedded":
        return _launch_embedded()
    try:
        binary = ollama_install.ensure(version, say=say)
    except InstallError as error:
        if engine == "ollama":
            raise
        log.info("no Ollama", exc_info=True)
        say(f"{error} Going on with the embedded engine.")
        return _launch_embedded()
    return _launch_ollama(binary)


def _launch_embedded() -> Server:
    port = _free_port()
    command = [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]
    return _launch("embedded", command, port, {})


def _launch_ollama(binary: Path) -> Server:
    port = _free_port()
    env = {
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        # Models behind ":cloud" names send what you type to another machine.
        "OLLAMA_NO_CLOUD": os.environ.get("OLLAMA_NO_CLOUD", "1"),
        # Without this, a server that starts forgets downloads interrupted an hour ago.
        "OLLAMA_NOPRUNE": os.environ.get("OLLAMA_NOPRUNE", "1"),
    }
    colab_driver = Path("/usr/lib64-nvidia")
    if colab_driver.is_dir():
        found = os.environ.get("LD_LIBRARY_PATH", "")
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, (str(colab_driver), found)))
    return _launch("ollama", [str(binary), "serve"], port, env)


def _free_port() -> int:
    """The port that OLLAMA_HOST or Ollama's default names, else any other that is free."""
    wanted = urlsplit(configured_host() or "").port or DEFAULT_PORT
    # A server that is just starting does not listen yet.
    taken = {urlsplit(state["host"]).port for state in states()}
    for port in (wanted, 0) if wanted not in taken else (0,):
        with socket.socket() as probe:
            # As the servers themselves do: a port in TIME_WAIT is free.
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                log.debug("port %d of 127.0.0.1 is taken: %s", port, error)
                continue
            free: int = probe.getsockname()[1]
            return free
    raise ServerError("No TCP port on 127.0.0.1 is free.")


def _launch(engine: str, command: list[str], port: int, env: dict[str, str]) -> Server:
    address = f"http://127.0.0.1:{port}"
    folder = folder_of(address)
    folder.mkdir(parents=True, exist_ok=True)
    # A proxy in the environment must never catch what the server's parts say to each other.
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    env = env | {"NO_PROXY": ",".join(filter(None, (no_proxy, "127.0.0.1,localhost")))}
    config: supervisor.Config = {
        "engine": engine,
        "command": command,
        "env": env,
        "grace": supervisor.GRACE,
    }
    try:
        # Held while it is written: a supervisor that a killed start() left behind and that comes
        # up only now either reads all of this, and is then as good as our own, or ends.
        with exclusive(folder / supervisor.LOCK, END_DEADLINE):
            supervisor.write_json(folder / "config.json", config)
            supervisor.add_user(folder)
    except filelock.Timeout as error:
        raise ServerError(
            f"The last server at {address} has not ended within {END_DEADLINE:.0f} s. Try again in "
            "a moment."
        ) from error
    process = subprocess.Popen(
        [sys.executable, "-m", "slmlab.engines.supervisor", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log.info("started %s with supervisor %d: %s", address, process.pid, " ".join(command))
    # When the supervisor ends, somebody has to take note, or its entry stays as a zombie.
    threading.Thread(target=process.wait, name="slmlab-server", daemon=True).start()
    try:
        facts = _wait_until_ready(
            address, lambda: process.poll() is None or state_at(address) is not None
        )
        if facts is None:
            raise ServerError(
                f"The server at {address} ended before it answered.{_end_of_log(address)}"
            )
    except BaseException:
        if state := state_at(address):
            _end(state)
        with contextlib.suppress(psutil.NoSuchProcess):  # the thread above may have seen it end
            if process.poll() is None:
                end_tree(psutil.Process(process.pid))
        raise
    return _server(address, facts)


def _wait_until_ready(address: str, is_coming: Callable[[], bool]) -> dict[str, Any] | None:
    """Ask until the server answers, or is no longer coming (None).

    Raises:
        ServerError: the deadline is over.
    """
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda facts: facts is None and is_coming()),
        wait=tenacity.wait_exponential(multiplier=0.05, max=0.5),
        stop=tenacity.stop_after_delay(START_DEADLINE),
    )
    try:
        return waiting(ask_version, address)
    except tenacity.RetryError as error:
        raise ServerError(
            f"The server at {address} did not answer within {START_DEADLINE:.0f} s. End it with "
            f"slmlab.stop() and start again.{_end_of_log(address)}"
        ) from error


def _end_of_log(address: str) -> str:
    return f" The end of its log ({folder_of(address) / 'server.log'}):\n{log_tail(address)}"


def stop() -> list[str]:
    """Stop every server that slmlab started on this machine; returns their addresses.

    A server that somebody else started is left alone. Where ``OLLAMA_HOST`` is the address of one
    that was stopped, it is removed from this process's environment.

    Examples:
        >>> stopped = slmlab.stop()
    """
    running = list(states())
    with contextlib.ExitStack() as held:
        if running:
            # A start() that comes now waits until they are gone. For one that is under way stop()
            # does not wait: it may be downloading Ollama.
            with contextlib.suppress(OSError):
                held.enter_context(exclusive(paths.servers() / supervisor.START_LOCK, timeout=0))
        for state in running:
            _end(state)
            if os.environ.get("OLLAMA_HOST") == state["host"]:
                del os.environ["OLLAMA_HOST"]
    return [state["host"] for state in running]


def _end(state: State) -> None:
    log.info("ending supervisor %d and its server at %s", state["pid"], state["host"])
    with contextlib.suppress(psutil.NoSuchProcess):
        if is_same(state["pid"], state["start_time"]):
            end_tree(psutil.Process(state["pid"]))

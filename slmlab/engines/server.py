"""Find, start, watch and stop the one server that everything above speaks to.

Behind the address stands Ollama or the embedded engine; nothing above this module needs to know
which. A server that already listens is used and never stopped by us; one that we start is bound to
127.0.0.1, lives in a session of its own (a cell interrupt does not reach it), is restarted after a
crash, and goes when the last process that uses it is gone (see ``slmlab.engines.supervisor``).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import psutil
import tenacity

from slmlab import paths
from slmlab.engines import ollama_install, supervisor
from slmlab.engines.address import DEFAULT_PORT, configured_host, is_local
from slmlab.engines.client import ask_version
from slmlab.engines.supervisor import folder_of, log_tail, states
from slmlab.errors import InstallError, ServerError
from slmlab.facts import facts_html
from slmlab.processes import end_tree, is_same, start_time

ENGINES = ("auto", "ollama", "embedded")
START_DEADLINE = 60.0
INSTALL_OLLAMA_BY_HAND = "install Ollama from https://ollama.com/download"


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
    started; else Ollama's default.
    """
    return configured_host() or _our_running_host() or f"http://127.0.0.1:{DEFAULT_PORT}"


def status() -> Server | None:
    """The server that calls would reach now, or None. Starts nothing."""
    return _server_at(host())


def _server_at(address: str) -> Server | None:
    facts = ask_version(address)
    if facts is None:
        return None
    ours = any(state["host"] == address for state in states())
    return Server(address, facts.get("engine", "ollama"), facts["version"], ours)


def start(engine: str = "auto", *, version: str | None = None, quiet: bool = False) -> Server:
    """Have a server: use the one that answers, else install what is missing and start one.

    Args:
        engine: ``ollama``, ``embedded``, or ``auto``: Ollama where it is installed or can be,
            else the embedded engine.
        version: the Ollama version to install where it is not there yet (default: the tested one).
        quiet: print nothing about what is found and done.

    Raises:
        ServerError: a remote ``OLLAMA_HOST`` does not answer, or a server does not come up.
        InstallError: ``engine="ollama"`` was asked for and Ollama cannot be installed.
    """
    if engine not in ENGINES:
        raise ServerError(f"There is no engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    say = (lambda _: None) if quiet else print
    try:
        paths.servers().mkdir(parents=True, exist_ok=True)
        with _one_at_a_time():
            found = _find(engine, say)
            if found is None:
                found = _start_new(engine, version, say)
        if found.ours:
            supervisor.add_user(folder_of(found.host))
    except OSError as error:
        raise ServerError(
            f"slmlab cannot start a server from its folder {paths.home()}: {error.strerror}. Make "
            "room there, or set SLMLAB_HOME to a folder of your own before the first cell."
        ) from None
    if found.host != f"http://127.0.0.1:{DEFAULT_PORT}":
        # Libraries that read OLLAMA_HOST (langchain-ollama, the ollama client) find it there too.
        os.environ["OLLAMA_HOST"] = found.host
    say(str(found))
    return found


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two notebooks that start at the same moment must not start two servers.

    On a network drive that has no locks they may; then the second takes another port.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(filelock.FileLock(paths.servers() / "start.lock", timeout=600))
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield


def _find(engine: str, say: Callable[[str], None]) -> Server | None:
    """A server that answers and is of the engine asked for."""
    configured = configured_host()
    if configured and not is_local(configured):
        return _remote(configured, engine)
    for address in dict.fromkeys(filter(None, (configured, _our_running_host(), host()))):
        server = _server_at(address)
        if server and engine in ("auto", server.engine):
            return server
        if server and address == configured:
            say(f"OLLAMA_HOST names {server.host}, which is not the {engine} engine; not used.")
    return None


def _remote(address: str, engine: str) -> Server:
    """The server on another machine, which is only ever used."""
    server = _server_at(address)
    if server is None:
        raise ServerError(
            f"No server answers at OLLAMA_HOST={address}. Start Ollama there, or unset "
            "OLLAMA_HOST to use this machine."
        )
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
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As the servers themselves do: a port in TIME_WAIT is free.
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
    raise ServerError("No TCP port on 127.0.0.1 is free.")


def _launch(engine: str, command: list[str], port: int, env: dict[str, str]) -> Server:
    address = f"http://127.0.0.1:{port}"
    folder = folder_of(address)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A proxy in the environment must never catch what the server's parts say to each other.
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    env = env | {"NO_PROXY": ",".join(filter(None, (no_proxy, "127.0.0.1,localhost")))}
    (folder / "config.json").write_text(json.dumps({"command": command, "env": env, "port": port}))
    supervisor.add_user(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "slmlab.engines.supervisor", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # When the keeper ends, somebody has to take note, or its entry stays as a zombie.
    threading.Thread(target=process.wait, name="slmlab-server", daemon=True).start()
    state = {
        "host": address,
        "engine": engine,
        "pid": process.pid,
        "born": start_time(process.pid),
    }
    (folder / "state.json").write_text(json.dumps(state))
    try:
        facts = _wait_until_ready(address, process)
    except BaseException:
        _end(state)
        raise
    return Server(address, facts.get("engine", "ollama"), facts["version"], ours=True)


def _wait_until_ready(address: str, process: subprocess.Popen) -> dict:
    """Ask until the server answers, its keeper gives up, or the deadline is over."""
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda facts: facts is None and process.poll() is None),
        wait=tenacity.wait_exponential(multiplier=0.05, max=0.5),
        stop=tenacity.stop_after_delay(START_DEADLINE),
        retry_error_callback=lambda _: None,
    )
    facts = waiting(ask_version, address)
    if facts is None:
        raise ServerError(
            f"The server at {address} did not come up within {START_DEADLINE:.0f} s. "
            f"The end of its log ({folder_of(address) / 'server.log'}):\n{log_tail(address)}"
        )
    return facts


def stop() -> list[str]:
    """Stop every server that slmlab started on this machine; returns their addresses.

    A server that somebody else started is left alone.
    """
    stopped = []
    for state in states():
        _end(state)
        stopped.append(state["host"])
        if os.environ.get("OLLAMA_HOST") == state["host"]:
            del os.environ["OLLAMA_HOST"]
    return stopped


def _end(state: dict) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        if is_same(state["pid"], state["born"]):
            end_tree(psutil.Process(state["pid"]))
    (folder_of(state["host"]) / "state.json").unlink(missing_ok=True)


def _our_running_host() -> str | None:
    return next((state["host"] for state in states()), None)


def to_dict(server: Server | None) -> dict | None:
    """A server's facts as plain data (for ``--json``)."""
    return asdict(server) if server else None

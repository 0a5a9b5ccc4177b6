"""Start a server, installing Ollama first if needed, and end servers that slmlab started."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import psutil

from slmlab import paths
from slmlab.engines import ollama_install, supervisor
from slmlab.engines.access import other_user_at
from slmlab.engines.address import DEFAULT_PORT, configured_host
from slmlab.engines.find import Server, end_of_log, server_from, wait_until_ready
from slmlab.engines.supervisor import State, exclusive, folder_of, state_at, states
from slmlab.errors import InstallError, ServerError
from slmlab.processes import end_tree, is_same

log = logging.getLogger(__name__)

# Seconds that a server may take to end.
END_DEADLINE = 20.0
# Ports to try when other users take those that were free a moment before.
MAX_PORTS = 3


class _PortTaken(ServerError):
    """Another user's server listens at the port that was free."""


def launch(engine: str, version: str | None, say: Callable[[str], None]) -> Server:
    """Start a new server, installing Ollama first if it is wanted and missing.

    Args:
        engine: ``ollama``, ``embedded``, or ``auto``: Ollama, or the embedded engine without it.
        version: the Ollama version to install.
        say: called with a line about each step.

    Raises:
        InstallError: ``ollama`` was requested and cannot be installed.
        ServerError: the server does not start.
    """
    for _ in range(MAX_PORTS - 1):
        try:
            return _launch(engine, version, say)
        except _PortTaken as taken:
            say(f"{taken} Trying another port.")
    return _launch(engine, version, say)


def _launch(engine: str, version: str | None, say: Callable[[str], None]) -> Server:
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
    return _start("embedded", _serve_command(port), port, {})


def _serve_command(port: int) -> list[str]:
    return [sys.executable, "-m", "slmlab", "serve", "--port", str(port)]


def _launch_ollama(binary: Path) -> Server:
    port = _free_port()
    env = {
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        # Models whose names end in ":cloud" send what you type to another machine.
        "OLLAMA_NO_CLOUD": os.environ.get("OLLAMA_NO_CLOUD", "1"),
        # Without this, a starting server deletes downloads that were interrupted an hour ago.
        "OLLAMA_NOPRUNE": os.environ.get("OLLAMA_NOPRUNE", "1"),
    }
    colab_driver = Path("/usr/lib64-nvidia")
    if colab_driver.is_dir():
        found = os.environ.get("LD_LIBRARY_PATH", "")
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, (str(colab_driver), found)))
    return _start("ollama", [str(binary), "serve"], port, env)


def _free_port() -> int:
    """The port in OLLAMA_HOST or Ollama's default if it is free, else any free port."""
    wanted = urlsplit(configured_host() or "").port or DEFAULT_PORT
    # A server that is just starting does not listen yet.
    taken = {urlsplit(state["host"]).port for state in states()}
    for port in (wanted, 0) if wanted not in taken else (0,):
        try:
            return bindable(port)
        except OSError as error:
            log.debug("port %d of 127.0.0.1 is taken: %s", port, error)
    raise ServerError("No TCP port on 127.0.0.1 is free.")


def bindable(port: int) -> int:
    """The port if a server can listen there on 127.0.0.1, for 0 a free one; else an OSError."""
    with socket.socket() as probe:
        # As the servers do, so that a port in TIME_WAIT counts as free.
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        free: int = probe.getsockname()[1]
        return free


def _start(engine: str, command: list[str], port: int, env: dict[str, str]) -> Server:
    address = f"http://127.0.0.1:{port}"
    folder = folder_of(address)
    paths.make(folder)
    # The processes of a server must never talk to each other through a proxy.
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    env = env | {"NO_PROXY": ",".join(filter(None, (no_proxy, "127.0.0.1,localhost")))}
    config: supervisor.Config = {
        "engine": engine,
        "command": command,
        "env": env,
        "grace": supervisor.GRACE,
    }
    _write_config(folder, address, config)
    process = subprocess.Popen(
        [sys.executable, "-m", "slmlab.engines.supervisor", str(folder.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # With -m Python imports from the current folder first, and the processes below start more:
        # a psutil.py that lies beside a notebook must not become a part of them.
        cwd=folder,
        env=_environment(),
        start_new_session=True,
    )
    log.info("started %s with supervisor %d: %s", address, process.pid, " ".join(command))
    # Somebody has to wait for the supervisor, or it stays behind as a zombie when it ends.
    threading.Thread(target=process.wait, name="slmlab-server", daemon=True).start()
    try:
        facts = wait_until_ready(
            address,
            lambda: (
                not other_user_at(address)
                and (process.poll() is None or state_at(address) is not None)
            ),
        )
        # Between the choice of the port and its use, anybody can take it and answer there.
        if owner := other_user_at(address):
            raise _PortTaken(f"Another user of this machine ({owner}) has taken {address}.")
        if facts is None:
            raise ServerError(
                f"The server at {address} ended before it answered.{end_of_log(address)}"
            )
    except BaseException:
        if state := state_at(address):
            end(state)
        with contextlib.suppress(psutil.NoSuchProcess):  # the thread above may have reaped it
            if process.poll() is None:
                end_tree(psutil.Process(process.pid))
        raise
    return server_from(address, facts)


def _write_config(folder: Path, address: str, config: supervisor.Config) -> None:
    """Tell the supervisor what to start, and that this process uses it.

    Raises:
        ServerError: an earlier supervisor of this address does not end.
    """
    try:
        # The lock is held while these are written: a supervisor that a killed start() left behind
        # and that comes up only now either reads all of it, and serves as our own, or ends.
        with exclusive(folder / supervisor.LOCK, END_DEADLINE):
            supervisor.write_json(folder / "config.json", config)
            supervisor.add_user(folder)
    except filelock.Timeout as error:
        raise ServerError(
            f"The previous server at {address} did not end within {END_DEADLINE:.0f} s. Try again "
            "in a moment."
        ) from error


def _environment() -> dict[str, str]:
    """This process's environment, for one that runs in another folder."""
    env = dict(os.environ)
    env["SLMLAB_HOME"] = str(paths.home().absolute())
    if env.get("OLLAMA_MODELS"):
        env["OLLAMA_MODELS"] = str(paths.ollama_models().absolute())
    path = [os.path.abspath(one) for one in env.get("PYTHONPATH", "").split(os.pathsep) if one]
    library = Path(__file__).resolve().parents[2]
    if not library.name.endswith("-packages"):  # not installed, but used where it lies
        path.append(str(library))
    env["PYTHONPATH"] = os.pathsep.join(path)
    return {name: value for name, value in env.items() if name != "PYTHONPATH" or value}


def end(state: State) -> None:
    """End a supervisor and its server."""
    log.info("ending supervisor %d and its server at %s", state["pid"], state["host"])
    with contextlib.suppress(psutil.NoSuchProcess):
        if is_same(state["pid"], state["start_time"]):
            end_tree(psutil.Process(state["pid"]))

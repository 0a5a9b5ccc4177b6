"""Find a server that answers, or wait for one that is starting."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slmlab.engines import supervisor
from slmlab.engines.access import choose, owner_to_distrust
from slmlab.engines.address import DEFAULT_PORT, configured_host, is_local
from slmlab.engines.client import ask_version
from slmlab.engines.server_errors import no_server
from slmlab.engines.supervisor import State, folder_of, log_tail, state_at, states
from slmlab.errors import ServerError
from slmlab.facts import facts_html

log = logging.getLogger(__name__)

DEFAULT_HOST = f"http://127.0.0.1:{DEFAULT_PORT}"
# Seconds that a server may take from its start to its first answer.
START_DEADLINE = 60.0


@dataclass(frozen=True)
class Server:
    """A server that answers: its address, engine (``ollama`` or ``embedded``) and version."""

    host: str
    engine: str
    version: str
    ours: bool = False

    def __str__(self) -> str:
        """One readable line."""
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


def server_at(address: str) -> Server | None:
    """The server that answers at this address, or None."""
    facts = ask_version(address)
    return server_from(address, facts) if facts else None


def server_from(address: str, facts: dict[str, Any]) -> Server:
    """The server that answered ``/api/version`` with these facts."""
    ours = state_at(address) is not None
    return Server(address, facts.get("engine", "ollama"), facts["version"], ours)


def find(engine: str, say: Callable[[str], None]) -> Server | None:
    """A server with the wanted engine that answers, or that slmlab is starting.

    If slmlab started it, this process is registered as one of its users.
    """
    configured = configured_host()
    if configured and not is_local(configured):
        return _remote(configured, engine)
    ours = [state["host"] for state in states()]
    for address in dict.fromkeys([configured, *ours] if configured else [*ours, DEFAULT_HOST]):
        if address != configured:
            choose(address)
        if owner := owner_to_distrust(address):
            say(
                f"The server at {address} belongs to another user of this machine ({owner}) and is "
                f"not used; set OLLAMA_HOST={address} if you trust it."
            )
            continue
        state = state_at(address)
        if state and engine in ("auto", state["engine"]):
            server = _join(address, state)
        else:
            server = server_at(address)
        if server and engine in ("auto", server.engine):
            log.info("found %s", server)
            return server
        if server and address == configured:
            say(f"{server.host} in OLLAMA_HOST is not the {engine} engine and is not used.")
    return None


def _join(address: str, state: State) -> Server | None:
    """Register as a user of a server that slmlab started and wait until it answers.

    None if it ended meanwhile.

    Raises:
        ServerError: it runs but does not answer.
    """
    folder = folder_of(address)
    supervisor.add_user(folder)
    log.debug("joining the server of supervisor %d at %s", state["pid"], address)
    facts = wait_until_ready(state["host"], lambda: _still_coming(address))
    # It may have answered while it was being stopped.
    return server_from(address, facts) if facts and state_at(address) else None


def _remote(address: str, engine: str) -> Server:
    """The server on another machine, which slmlab uses but neither starts nor stops."""
    server = server_at(address)
    if server is None:
        remedy = "Start Ollama there, or unset OLLAMA_HOST to use this machine."
        raise ServerError(no_server(address, remedy, setting="OLLAMA_HOST"))
    if engine not in ("auto", server.engine):
        raise ServerError(
            f"OLLAMA_HOST={address} is not the {engine} engine but {server.engine}. Unset "
            "OLLAMA_HOST to use this machine, or leave the engine at 'auto'."
        )
    return server


def _still_coming(address: str) -> bool:
    """Whether slmlab's own server at this address runs or is being started."""
    return state_at(address) is not None and owner_to_distrust(address) is None


def wait_until_ready(address: str, is_coming: Callable[[], bool]) -> dict[str, Any] | None:
    """Poll until the server answers; None if it is no longer coming.

    Raises:
        ServerError: it did not answer within ``START_DEADLINE`` seconds.
    """
    if facts := ask_version(address):
        return facts
    import tenacity  # slow, and not needed where it has been running

    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda facts: facts is None and is_coming()),
        wait=tenacity.wait_fixed(0.03),
        stop=tenacity.stop_after_delay(START_DEADLINE),
    )
    try:
        return waiting(ask_version, address)
    except tenacity.RetryError as error:
        raise ServerError(
            f"The server at {address} did not answer within {START_DEADLINE:.0f} s. End it with "
            f"slmlab.stop() and start again.{end_of_log(address)}"
        ) from error


def end_of_log(address: str) -> str:
    """The end of the log of a server that did not start, to be appended to a message."""
    return f" The end of its log ({folder_of(address) / 'server.log'}):\n{log_tail(address)}"

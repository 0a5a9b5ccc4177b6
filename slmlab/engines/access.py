"""Which servers on this machine may get requests, and the passwords that requests carry.

On a machine that several people share, any of them can listen at a free port of 127.0.0.1, also at
Ollama's. What is sent there can be read by whoever listens. So a server that slmlab found or
started by itself gets requests only if its listening socket belongs to this user, to root, or to
the user ``ollama``, under which Ollama's installer runs it as a service.

Linux tells whose sockets are (see ``sockets``); where the system does not, nothing is checked.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from typing import TYPE_CHECKING

from slmlab.engines import sockets, supervisor
from slmlab.engines.address import configured_host, credentials_for, is_local, speaks_openai
from slmlab.errors import ServerError

if TYPE_CHECKING:
    import httpx

# Addresses that slmlab chose, and that the reader did not name.
_chosen: set[str] = set()
_environment_set_to = ""
_lent_key = ""


class ForeignServer(ServerError):
    """The server at an address belongs to another user of this machine."""


def choose(address: str) -> str:
    """Note that slmlab itself came to use this address, so that its owner is checked."""
    _chosen.add(address)
    return address


def set_environment(address: str) -> None:
    """Set ``OLLAMA_HOST`` in this process to an address that slmlab chose."""
    global _environment_set_to
    os.environ["OLLAMA_HOST"] = _environment_set_to = choose(address)


def lend_key(address: str) -> None:
    """Set ``OLLAMA_API_KEY`` in this process to the key of the embedded engine at an address.

    The ollama client and langchain-ollama send it. It is not set if the reader has set it.
    """
    global _lent_key
    if os.environ.get("OLLAMA_API_KEY", "") == _lent_key and (key := supervisor.key_at(address)):
        os.environ["OLLAMA_API_KEY"] = _lent_key = key


def take_key_back() -> None:
    """Undo ``lend_key``."""
    global _lent_key
    if _lent_key and os.environ.get("OLLAMA_API_KEY") == _lent_key:
        del os.environ["OLLAMA_API_KEY"]
    _lent_key = ""


def owner_to_distrust(address: str) -> str | None:
    """The other user, by name, whose server listens at this address; None if it may be used.

    An address that the reader names, by ``OLLAMA_HOST`` or ``host=``, may be used whoever listens
    there, unless slmlab itself started a server there: then that one is meant.
    """
    if not is_local(address):
        return None
    if supervisor.state_at(address) is None and (address not in _chosen or _is_named(address)):
        return None
    return other_user_at(address)


def other_user_at(address: str) -> str | None:
    """The user, by name, whose server takes connections to a local address, if not a trusted one.

    Root and ``ollama`` are trusted. None also if nothing listens, or if the system does not tell.
    """
    foreign = [uid for uid in sockets.listeners(address) if uid not in _trusted()]
    return _user(foreign[0]) if foreign else None


def _is_named(address: str) -> bool:
    """Whether the reader set ``OLLAMA_HOST`` to this address."""
    return os.environ.get("OLLAMA_HOST") != _environment_set_to and configured_host() == address


@functools.cache
def _trusted() -> frozenset[int]:
    import pwd

    trusted = {0, os.getuid(), os.geteuid()}
    with contextlib.suppress(KeyError):
        trusted.add(pwd.getpwnam("ollama").pw_uid)
    return frozenset(trusted)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


class Access:
    """Checks and completes each request to one address; the ``auth`` of httpx clients.

    The request gets the user and password that the address was given with, or the key of the
    embedded engine. They are looked up each time, so that printing or copying this object does not
    reveal them. Ollama's client adds the key of its cloud (``OLLAMA_API_KEY``) to all requests; a
    server on this machine never gets it, nor one that is used through OpenAI's API, and no other
    the engine's key that ``lend_key`` put there.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, request: httpx.Request) -> httpx.Request:
        """The request as it may be sent.

        Raises:
            ForeignServer: another user's server listens at the address.
        """
        if owner := owner_to_distrust(self.address):
            raise ForeignServer(
                f"The server at {self.address} belongs to another user of this machine ({owner}), "
                "who could read what is sent to it. Start one of your own with slmlab.start(), or "
                f"set OLLAMA_HOST={self.address} if you trust this one."
            )
        lent = _lent_key and request.headers.get("Authorization") == f"Bearer {_lent_key}"
        if lent or is_local(self.address) or speaks_openai(self.address):
            request.headers.pop("Authorization", None)
        if key := supervisor.key_at(self.address):
            request.headers["Authorization"] = f"Bearer {key}"
        if found := credentials_for(self.address):
            user, password = found
            code = base64.b64encode(f"{user}:{password}".encode()).decode()
            request.headers["Authorization"] = f"Basic {code}" if user else f"Bearer {password}"
        return request

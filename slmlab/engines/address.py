"""Addresses of servers: all are parsed here and normalized to one spelling.

An address may hold a user and a password, ``https://user:password@gpu.example``, or a key for
OpenAI's API, ``https://:key@gpu.example/v1``. They are remembered here for requests to that server
and removed from the address, so that no record, file, message or log contains them.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from slmlab.errors import ServerError

DEFAULT_PORT = 11434
# The names of the address at which slmlab's own servers listen.
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# The end of the address of a server that is used through OpenAI's API.
OPENAI_ROUTE = "/v1"
# What clients of OpenAI's API want at the end of an address, and what examples of Ollama's show.
_ROUTE = re.compile(
    r"/(v1|api)(?:/(?:chat/completions|completions|embeddings|models|responses|messages|chat|"
    r"generate|embed|tags|ps|show|pull|push|create|copy|delete|version))?$",
    re.IGNORECASE,
)
# The user and password last given for each address; with an empty user it is a key.
_credentials: dict[str, tuple[str, str]] = {}


def read_address(text: str, source: str = "host") -> str:
    """A server's address in its normalized form, such as ``http://127.0.0.1:11434``.

    Parsed as Ollama parses ``OLLAMA_HOST``: without a scheme it is ``http`` and port 11434, with
    one it is the scheme's own port (80, 443); a slash at the end is ignored; ``0.0.0.0``, which
    tells a server to listen on all interfaces, becomes 127.0.0.1. ``/v1`` at its end means a server
    that is used through OpenAI's API; ``OLLAMA_HOST`` cannot be one, since others read it too.

    Args:
        text: the address, for example ``gpu-server``, ``localhost:5000``, ``::1``, or
            ``https://user:password@gpu.example/ollama/``.
        source: where the address comes from, for the error message.

    Raises:
        ServerError: it is not an address. The message shows neither user nor password.
    """
    if not isinstance(text, str):
        raise ServerError(
            f"{source}={text!r} is not an address; give a text such as '127.0.0.1:11434'."
        )
    bare = text.strip().strip("\"'").strip()
    shown = re.sub(r"^(\w+://)?.*@", r"\1…@", bare, flags=re.DOTALL)
    special = (
        " In a password, write / as %2F, # as %23, ? as %3F and % as %25." if "@" in bare else ""
    )
    wrong = ServerError(
        f"{source}={shown!r} is not an address; write it like 127.0.0.1:11434 or "
        f"http://gpu-server:11434.{special}"
    )
    try:
        parts = urlsplit(_with_scheme(bare))
        # A port alone, as in ":5000", means this machine.
        name, port = parts.hostname or ("127.0.0.1" if bare[:1] == ":" else ""), parts.port
        path = parts.path.rstrip("/")
    except ValueError:
        raise wrong from None  # the cause may quote the password
    default = _DEFAULT_PORTS.get(parts.scheme) if "://" in bare else DEFAULT_PORT
    port = default if port is None else port
    odd = parts.query or parts.fragment or re.search(r"[\s\\,;@*<>{}|^`\"$]|//", name + path)
    odd = odd or re.search(r"[\t\r\n]", bare)  # which urlsplit leaves out
    not_a_name = not name or name.isdigit() or name in _DEFAULT_PORTS
    if not port or odd or not_a_name or parts.scheme not in _DEFAULT_PORTS:
        raise wrong
    if name in ("0.0.0.0", "::"):  # noqa: S104  the text that we replace, not a bind
        name = "127.0.0.1"
    name = f"[{name}]" if ":" in name else name
    address = f"{parts.scheme}://{name}:{port}{path}"
    if route := _ROUTE.search(path):
        own = address.removesuffix(route[0])
        openai = route[1].lower() == "v1"
        if source == "OLLAMA_HOST" or route[0].lower() != OPENAI_ROUTE:
            what = "OpenAI's API" if openai else "routes of its API"
            other = f", or {own}{OPENAI_ROUTE} if it speaks only that API" if openai else ""
            raise ServerError(
                f"{source}={shown!r} ends in {route[0]}, where a server has {what}; give the "
                f"server's own address, {own}{other if source != 'OLLAMA_HOST' else ''}"
            )
        address = own + OPENAI_ROUTE
    if parts.username or parts.password:
        _credentials[address] = unquote(parts.username or ""), unquote(parts.password or "")
    return address


def _with_scheme(text: str) -> str:
    if "://" in text:
        return text
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return f"http://{text}"
    return f"http://[{text}]"


def configured_host() -> str | None:
    """The address in ``OLLAMA_HOST``, or None if it is not set.

    Raises:
        ServerError: the value is not an address.
    """
    text = os.environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    return read_address(text, "OLLAMA_HOST") if text else None


def is_local(address: str) -> bool:
    """Whether an address is a loopback address, on this machine."""
    name = (urlsplit(address).hostname or "").rstrip(".")
    if name == "localhost":
        return True
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        # Systems also take short forms such as 127.1.
        return name[:1].isdigit() and _is_short_loopback(name)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_short_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(socket.inet_aton(name)).is_loopback
    except OSError:
        return False


def speaks_openai(address: str) -> bool:
    """Whether a server is used through OpenAI's API, since its address ends in ``/v1``."""
    return address.endswith(OPENAI_ROUTE)


def server_key(address: str) -> str:
    """A key that is the same for all spellings of one server: 127.0.0.1 is also localhost."""
    parts = urlsplit(address)
    name = "127.0.0.1" if parts.hostname in LOOPBACK_NAMES else parts.hostname
    return f"{parts.scheme}://{name}:{parts.port}{parts.path}"


def known_credentials(addresses: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Users and passwords by address, to pass to ``remember`` in a worker process."""
    return {one: _credentials[one] for one in addresses if one in _credentials}


def remember(credentials: Mapping[str, tuple[str, str]]) -> None:
    """Use these users and passwords for requests to their addresses from now on."""
    _credentials.update(credentials)


def credentials_for(address: str) -> tuple[str, str] | None:
    """The user and password that this address was given with, if any."""
    return _credentials.get(address)

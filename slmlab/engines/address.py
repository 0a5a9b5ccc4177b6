"""Addresses of servers: the one in ``OLLAMA_HOST``, and which are this machine's own."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from slmlab.errors import ServerError

DEFAULT_PORT = 11434


def configured_host() -> str | None:
    """The address in ``OLLAMA_HOST``, or None where it is not set.

    A bare ``0.0.0.0`` tells a server to listen everywhere; a client reaches it at 127.0.0.1.

    Raises:
        ServerError: the value is no address.
    """
    text = os.environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    if not text:
        return None
    scheme = "http"
    if "://" in text:
        scheme = text.split("://", 1)[0]
    default = {"http": 80, "https": 443}.get(scheme) if "://" in text else DEFAULT_PORT
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        name, port = parts.hostname or "127.0.0.1", parts.port or default
    except ValueError:
        port = None
    if scheme not in ("http", "https") or port is None:
        raise ServerError(
            f"OLLAMA_HOST={text!r} is not an address; write it like 127.0.0.1:11434 or "
            "http://gpu-server:11434."
        )
    if name in ("0.0.0.0", "::"):  # noqa: S104  the text that we replace, not a bind
        name = "127.0.0.1"
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}:{port}{parts.path.rstrip('/')}"


def is_local(address: str) -> bool:
    """Whether an address is this machine's own."""
    name = urlsplit(address).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

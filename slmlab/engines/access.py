"""Which servers on this machine may get requests, and the passwords that requests carry.

On a machine that several people share, any of them can listen at a free port of 127.0.0.1, also at
Ollama's. What is sent there can be read by whoever listens. So a server that slmlab found or
started by itself gets requests only if its listening socket belongs to this user, to root, or to
the user ``ollama``, under which Ollama's installer runs it as a service.

Linux tells every user whose sockets are. macOS and Windows do not; there, nothing is checked.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from slmlab.engines import supervisor
from slmlab.engines.address import configured_host, credentials_for, is_local
from slmlab.errors import ServerError

if TYPE_CHECKING:
    import httpx

LISTENING = "0A"  # the state of a socket in /proc/net/tcp
# From linux/netlink.h and linux/sock_diag.h.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Addresses that slmlab chose, and that the reader did not name.
_chosen: set[str] = set()
_environment_set_to = ""


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
    foreign = [uid for uid in listeners(address) if uid not in _trusted()]
    return _user(foreign[0]) if foreign else None


def _is_named(address: str) -> bool:
    """Whether the reader set ``OLLAMA_HOST`` to this address."""
    return os.environ.get("OLLAMA_HOST") != _environment_set_to and configured_host() == address


def listeners(address: str) -> set[int]:
    """The user ids of the sockets that take connections to an address of this machine."""
    parts = urlsplit(address)
    found: set[int] = set()
    if sys.platform != "linux":
        return found
    with contextlib.suppress(OSError):
        sockets = [(ip, uid) for ip, port, uid in _listening() if port == parts.port]
        for *_, (name, *_) in socket.getaddrinfo(parts.hostname, parts.port, proto=socket.SOL_TCP):
            ip = ipaddress.ip_address(name)
            # The system prefers the socket of just this address.
            exact = {uid for bound, uid in sockets if bound == ip}
            found |= exact or {uid for bound, uid in sockets if _takes_all(bound, ip)}
    return found


def _takes_all(bound: Address, ip: Address) -> bool:
    """Whether a socket bound to a wildcard address takes connections to ``ip``."""
    return bound.is_unspecified and bound.version >= ip.version


def _listening() -> Iterator[tuple[Address, int, int]]:
    """The address, port and user id of each TCP socket that listens on this machine."""
    try:
        yield from [*_ask_kernel(socket.AF_INET), *_ask_kernel(socket.AF_INET6)]
    except OSError:  # not in every container
        yield from _read_tables()


def _ask_kernel(family: int) -> Iterator[tuple[Address, int, int]]:
    """The same by sock_diag(7), which takes a tenth of a millisecond, and the tables up to twenty.

    Raises:
        OSError: the kernel does not answer.
    """
    header = struct.pack("=IHHII", 72, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    wanted = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << int(LISTENING, 16))
    length = 4 if family == socket.AF_INET else 16
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + wanted)
        while True:
            data = kernel.recv(2**16)
            while data:
                size, kind = struct.unpack_from("=IH", data)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError("the kernel does not list sockets")
                (port,) = struct.unpack_from("!H", data, 20)
                (uid,) = struct.unpack_from("=I", data, 80)
                yield _unmapped(data[24 : 24 + length]), port, uid
                data = data[(size + 3) // 4 * 4 :]


def _read_tables() -> Iterator[tuple[Address, int, int]]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    name, _, port = fields[1].partition(":")
                    yield _ip(name), int(port, 16), int(fields[7])


def _ip(digits: str) -> Address:
    """An address as the kernel prints it: each four bytes as one number of the processor."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return _unmapped(b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def _unmapped(content: bytes) -> Address:
    """The address of these 4 or 16 bytes; IPv4 where it is that, written as IPv6."""
    ip = ipaddress.ip_address(content)
    return getattr(ip, "ipv4_mapped", None) or ip


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

    The request gets the user and password that the address was given with. They are looked up each
    time, so that printing or copying this object does not reveal them. Ollama's client adds the key
    of its cloud (``OLLAMA_API_KEY``) to all requests; a server on this machine never gets it.
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
        if is_local(self.address):
            request.headers.pop("Authorization", None)
        if found := credentials_for(self.address):
            code = base64.b64encode(":".join(found).encode()).decode()
            request.headers["Authorization"] = f"Basic {code}"
        return request

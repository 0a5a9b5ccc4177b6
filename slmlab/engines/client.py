"""How everything talks to a server: HTTP clients with time limits, whose requests can end."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from slmlab.engines import proxies
from slmlab.engines.access import Access, ForeignServer
from slmlab.engines.address import is_local, speaks_openai
from slmlab.engines.openai_server import OpenAIServer
from slmlab.errors import ServerError

if TYPE_CHECKING:
    import ollama

ClientT = TypeVar("ClientT")

# Seconds without any data from a server after which a request fails.
TIMEOUT = 600.0
# Seconds that connecting may take.
CONNECT_TIMEOUT = 5.0


@functools.cache
def ollama_package() -> ModuleType:
    """The package ``ollama``, imported when it is needed: that takes as long as a short program.

    To be called before LangChain imports it too.
    """
    try:
        import ollama
    except Exception:
        # The package creates a client on import, which fails if the environment has a proxy that
        # httpx cannot use, or an OLLAMA_HOST that is not an address.
        with proxies.hidden_environment():
            import ollama
    return ollama


def open_client(host: str, **kwargs: Any) -> ollama.Client:
    """A new ``ollama`` client."""
    found: ollama.Client = ollama_package().Client(host, **kwargs)
    return found


def response_error() -> type[ollama.ResponseError]:
    """The error of an answer that reports one; for ``except``, which calls this only then."""
    found: type[ollama.ResponseError] = ollama_package().ResponseError
    return found


def client_kwargs(host: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Arguments for every HTTP client of a server: time limits, credentials, no proxy on loopback.

    They fit ``httpx.Client``, ``ollama.Client`` and the ``client_kwargs`` of langchain-ollama. The
    credentials are the user and password that the address was given with.

    Args:
        host: the server's address, as returned by ``read_address``.
        timeout: seconds without any data from the server after which a request fails.

    Raises:
        ServerError: the server is on another machine, and the environment has a proxy that cannot
            be used.
    """
    if not is_local(host) and (problem := proxies.problem()):
        raise ServerError(f"{host} cannot be reached: {problem}")
    found: dict[str, Any] = {
        "auth": Access(host),
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        "trust_env": not is_local(host),
    }
    if is_local(host) and host.startswith("http://"):
        found["verify"] = _no_authorities()
    if speaks_openai(host):
        way = {name: found[name] for name in ("verify", "trust_env") if name in found}
        found["transport"] = OpenAIServer(host, **way)
    return found


@functools.cache
def _no_authorities() -> ssl.SSLContext:
    """A context that trusts no certificate; reading those of all authorities takes 40 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Session:
    """The HTTP clients of one piece of work, whose requests can be cancelled together.

    There is one client of each kind for each server. Any number of threads may use a session.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._clients: dict[Hashable, Any] = {}
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()

    def client(self, host: str, timeout: float = TIMEOUT) -> ollama.Client:
        """The ``ollama`` client for one server."""
        key = ("ollama", host, timeout)
        return self.get_or_create(
            key, lambda: open_client(host, **self.client_kwargs(host, timeout))
        )

    def client_kwargs(self, host: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Arguments for any other client whose requests ``cancel`` has to end too."""
        return client_kwargs(host, timeout) | {"event_hooks": {"request": [self._watch]}}

    def get_or_create(self, key: Hashable, create: Callable[[], ClientT]) -> ClientT:
        """The client kept under this key; creating one takes tens of milliseconds."""
        with self._lock:
            if key not in self._clients:
                self._clients[key] = create()
            client: ClientT = self._clients[key]
            return client

    def cancel(self) -> None:
        """End all requests, now and later: threads get an error, servers see a disconnect.

        Closing a client does not wake a thread that waits for an answer; shutting down its socket
        does.
        """
        with self._lock:
            self.cancelled = True
            for stream in self._streams:
                with contextlib.suppress(OSError):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close its connections when nothing is asked any more; a later request opens others."""
        with self._lock:
            for stream in self._streams:
                stream.close()

    def _watch(self, request: httpx.Request) -> None:
        if self.cancelled:
            raise httpx.ReadError("cancelled", request=request)
        # A trace callback is the only way to learn of the sockets that httpx opens.
        request.extensions = {**request.extensions, "trace": self._note}

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._streams.add(info["return_value"])
                if self.cancelled:
                    self.cancel()


# For all requests that are never cancelled, so that they share connections.
SHARED = Session()


def client(host: str, timeout: float = TIMEOUT) -> ollama.Client:
    """The ``ollama`` client for one server, shared by the whole process."""
    return SHARED.client(host, timeout)


def lines(host: str, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of JSON that a server answers to a request that Ollama's client does not have.

    To be read within ``errors_as_sentences``, for its errors are those of that client.
    """
    with _shared_httpx(host).stream("POST", path, json=body) as answer:
        _raise_for_status(answer)
        for line in answer.iter_lines():
            found = json.loads(line)
            if "error" in found:
                raise response_error()(found["error"])
            yield found


def facts(host: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A server's answer to a short question, without Ollama's client.

    To be read within ``errors_as_sentences``, for its errors are those of that client.
    """
    answer = _shared_httpx(host).request("GET" if body is None else "POST", path, json=body)
    _raise_for_status(answer)
    found: dict[str, Any] = answer.json()
    return found


def _raise_for_status(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        raise response_error()(answer.read().decode(errors="replace"), answer.status_code)


def _shared_httpx(host: str) -> httpx.Client:
    return SHARED.get_or_create(
        ("httpx", host), lambda: httpx.Client(base_url=host, **SHARED.client_kwargs(host))
    )


def ask_version(address: str, timeout: float = 2.0) -> dict[str, Any] | None:
    """The answer of ``/api/version`` at ``address``, or None if no such server answers.

    Also None for another user's server that is not to be used (see ``access``).
    """
    try:
        answer = get_version(address, timeout)
        facts: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ForeignServer):
        return None
    return facts if answer.status_code == 200 and "version" in facts else None


def engine_of(address: str) -> str:
    """``ollama`` or ``embedded``; ``ollama`` too if no server answers."""
    return str((ask_version(address) or {}).get("engine", "ollama"))


def needs_key(address: str) -> bool:
    """Whether the server at an address of this machine knows this user only by its key."""
    try:
        answer = _http_client(True).get(f"{address}/api/version", timeout=CONNECT_TIMEOUT)
    except httpx.HTTPError:
        return False
    return asks_for_a_key(answer)


def asks_for_a_key(answer: httpx.Response) -> bool:
    """Whether an answer is the embedded engine's refusal of a request without its key."""
    return answer.status_code == 401 and answer.headers.get("www-authenticate", "").startswith(
        "Bearer"
    )


def get_version(address: str, timeout: float) -> httpx.Response:
    """Whatever answers a request for ``/api/version`` at ``address``."""
    if not is_local(address) and (problem := proxies.problem()):
        raise ServerError(f"{address} cannot be reached: {problem}")
    http = _shared_httpx(address) if speaks_openai(address) else _http_client(is_local(address))
    return http.get(f"{address}/api/version", timeout=timeout, auth=Access(address))


@functools.cache
def _http_client(local: bool) -> httpx.Client:
    """One client for servers on this machine and one for all others, never closed.

    Creating one takes tens of milliseconds, which would delay the next request.
    """
    return httpx.Client(timeout=TIMEOUT, trust_env=not local)

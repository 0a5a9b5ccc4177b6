"""The one way to a server: HTTP clients with finite time limits, and errors as sentences."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import socket
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from slmlab import hardware
from slmlab.engines import proxies, supervisor
from slmlab.engines.address import Credentials, has_credentials, is_local
from slmlab.errors import ModelError, ServerError, ServerLost, did_you_mean

try:
    import ollama
except Exception:
    # It makes a client when it is imported, which fails where the environment names a proxy that
    # httpx cannot use, or an OLLAMA_HOST that is no address.
    with proxies.hidden_environment():
        import ollama

log = logging.getLogger(__name__)

ClientT = TypeVar("ClientT")

# What Ollama says when its child process with the model is gone.
RUNNER_DIED = ("unexpectedly stopped", "runner process has terminated", "runner process no longer")
# What Ollama and the embedded engine say where a model does not fit.
OUT_OF_MEMORY = ("more system memory", "out of memory", "unable to allocate")
# What a proxy answers whose server is not there, perhaps only for a moment.
GATEWAY_ERRORS = (502, 503, 504)

# Seconds without a sign of life from a server after which a request fails.
TIMEOUT = 600.0
# Seconds that a connection may take to be made.
CONNECT_TIMEOUT = 5.0


def client_kwargs(host: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What each HTTP client for a server is made with: finite time limits, no proxy on loopback.

    It fits ``httpx.Client``, ``ollama.Client`` and the ``client_kwargs`` of langchain-ollama. With
    it go the user and password that the address was given with.

    Args:
        host: the server's address, as ``read_address`` spells it.
        timeout: seconds without a sign of life after which a request fails.

    Raises:
        ServerError: the server is on another machine, and the environment names a proxy that
            cannot be used.
    """
    if not is_local(host) and (problem := proxies.problem()):
        raise ServerError(f"{host} cannot be reached: {problem}")
    return {
        "auth": Credentials(host),
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        "trust_env": not is_local(host),
    }


class Session:
    """The clients of one piece of work, one of a kind for each server; all requests can be ended.

    Any number of threads may use a session at once.
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
            key, lambda: ollama.Client(host, **self.client_kwargs(host, timeout))
        )

    def client_kwargs(self, host: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """The arguments of a client of another kind whose requests ``cancel`` shall end too."""
        return client_kwargs(host, timeout) | {"event_hooks": {"request": [self._watch]}}

    def get_or_create(self, key: Hashable, create: Callable[[], ClientT]) -> ClientT:
        """The client kept under this key; creating one takes tens of milliseconds."""
        with self._lock:
            if key not in self._clients:
                self._clients[key] = create()
            client: ClientT = self._clients[key]
            return client

    def cancel(self) -> None:
        """End all requests, now and later: their threads get an error, and their servers notice.

        Closing a client wakes no thread that waits for an answer; shutting down its socket does.
        """
        with self._lock:
            self.cancelled = True
            for stream in self._streams:
                with contextlib.suppress(OSError):
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _watch(self, request: httpx.Request) -> None:
        if self.cancelled:
            raise httpx.ReadError("cancelled", request=request)
        # The one way in which httpx tells of the sockets that it makes.
        request.extensions = {**request.extensions, "trace": self._note}

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._streams.add(info["return_value"])
                if self.cancelled:
                    self.cancel()


# For all requests that nobody ends: each connection is kept and used again.
SHARED = Session()


def client(host: str, timeout: float = TIMEOUT) -> ollama.Client:
    """The ``ollama`` client for one server, shared by all of this process."""
    return SHARED.client(host, timeout)


@contextlib.contextmanager
def errors_as_sentences(
    host: str,
    model: str = "",
    installed: Callable[[], Mapping[str, int]] = dict,
    available: Iterable[str] = (),
) -> Iterator[None]:
    """Turn what the client and the network raise into one of our sentences.

    Args:
        host: the server that is asked.
        model: the model that it is asked for.
        installed: called on a failure: models on the server, by name, with their sizes in bytes.
        available: names of models that could be had.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    try:
        yield
    except ollama.ResponseError as error:
        log.debug("%s answered %d to a request for %s: %s", host, error.status_code, model, error)
        if any(words in error.error.lower() for words in RUNNER_DIED):
            raise ServerLost(
                f"The process that runs {model or 'the model'} ended in the middle, often for want "
                f"of memory: {error.error}.{log_tail_text(host)}"
            ) from error
        if error.status_code == 401 and ask_version(host) is None:
            raise ServerError(no_server(host)) from error
        if not error.error or error.error.lstrip().startswith("<"):
            # A page of a proxy before the server, which may be there again in a moment.
            kind = ServerLost if error.status_code in GATEWAY_ERRORS else ServerError
            raise kind(_what_answers(host, httpx.Response(error.status_code))) from error
        raise ModelError(_sentence(error.error, host, model, installed, available)) from error
    except httpx.TimeoutException as error:
        log.debug("%s did not answer a request for %s in time: %r", host, model, error)
        raise ServerError(
            f"The server at {host} did not answer in time. It may be loading a large model or be "
            "stuck: try again, or restart it with slmlab.stop() and slmlab.start()."
        ) from error
    except (httpx.TransportError, ConnectionError) as error:
        log.debug("The connection to %s broke in a request for %s: %r", host, model, error)
        if ask_version(host) is None:
            raise ServerLost(f"{no_server(host)}{log_tail_text(host)}") from error
        raise ServerLost(
            f"The connection to {host} broke in mid-answer; the server is there again, so try "
            f"again.{log_tail_text(host)}"
        ) from error


def log_tail_text(host: str) -> str:
    """The end of a server's log, to be put behind a sentence; nothing where it explains nothing."""
    if supervisor.state_at(host) is None and ask_version(host):
        return ""  # what answers there now is somebody else's, and the log is of one before it
    tail = supervisor.log_tail(host, 5)
    return f"\nThe end of its log:\n{tail}" if tail else ""


def _sentence(
    error: str,
    host: str,
    model: str,
    installed: Callable[[], Mapping[str, int]],
    available: Iterable[str],
) -> str:
    """What an error of the server means, and what to do."""
    low = error.lower()
    if "requires a newer version" in low or "412:" in low:
        return (
            f"{model} needs a newer Ollama than the one at {host}. Install one with "
            "`python -m slmlab setup --ollama-version VERSION` (see "
            "https://github.com/ollama/ollama/releases) after `python -m slmlab stop`."
        )
    # llama.cpp's reasons ("key not found in model") are about a file that is there.
    if "unable to load" not in low and ("file does not exist" in low or "not found" in low):
        names = [*installed()]
        have = f" Here now: {', '.join(names)}." if names else " No model is here yet."
        return (
            f"There is no model {model!r} on {host}.{did_you_mean(model, [*names, *available])}"
            f"{have} Get one with slmlab.pull(…). ({error})"
        )
    if "no space left" in low:
        return f"Not enough disk for {model}: {error}."
    if any(words in low for words in OUT_OF_MEMORY):
        smaller = _smaller(model, installed())
        return f"{model} does not fit into this machine's memory: {error}. {smaller}"
    return f"{model or 'The server'}: {error}"


def _smaller(model: str, installed: Mapping[str, int]) -> str:
    """What to try in place of a model that does not fit: the next smaller one that is here."""
    size = installed.get(model) or installed.get(f"{model}:latest", 0)
    smaller = {name: other for name, other in installed.items() if other < size}
    name = max(smaller, key=smaller.__getitem__, default=None)
    first = f"Try {name} ({hardware.gib(smaller[name])}), the next" if name else "Try a"
    return (
        f"{first} smaller one, a shorter context (num_ctx=…), or a quantization with fewer bits; "
        "slmlab.catalog_explorer() shows what fits."
    )


def ask_version(address: str, timeout: float = 2.0) -> dict[str, Any] | None:
    """What ``/api/version`` at ``address`` answers, or None where no such server answers."""
    try:
        answer = _get_version(address, timeout)
        facts: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return facts if answer.status_code == 200 and "version" in facts else None


def engine_of(address: str) -> str:
    """``ollama`` or ``embedded``; where no server answers, what Ollama's defaults are taken for."""
    return str((ask_version(address) or {}).get("engine", "ollama"))


def version_at(address: str, timeout: float = 5.0) -> dict[str, Any]:
    """What ``/api/version`` at ``address`` answers.

    Raises:
        ServerError: no server answers there; the message says what does, or why nothing does.
    """
    facts = ask_version(address, timeout)
    if facts is None:
        raise ServerError(f"{no_server(address)}{log_tail_text(address)}")
    return facts


def no_server(address: str, remedy: str = "", setting: str = "") -> str:
    """The sentence on an address where no server answers: what does, or why nothing does.

    Args:
        address: the address, as ``read_address`` spells it.
        remedy: what to do where nothing answers.
        setting: the environment variable that names the address.
    """
    reason = ""
    try:
        answer = _get_version(address, CONNECT_TIMEOUT)
        if answer.status_code != 200 or not answer.text.startswith("{"):
            return _what_answers(address, answer)
    except httpx.TimeoutException:
        reason = ": it says nothing within five seconds"
    except httpx.HTTPError as error:
        # "[Errno -2] Name or service not known", "[SSL: CERTIFICATE_VERIFY_FAILED] …"
        said = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
        reason = f": {said}" if said and "refused" not in said and "attempts" not in said else ""
    if not remedy and is_local(address):
        remedy = "Start one with slmlab.start()."
    where = f"{setting}={address}" if setting else address
    return f"No server answers at {where}{reason}. {remedy or 'Start Ollama there.'}"


def _what_answers(address: str, answer: httpx.Response) -> str:
    """The sentence on something that answers and is no server for us."""
    status = f"status {answer.status_code}"
    if answer.status_code == 401 and has_credentials(address):
        return f"{address} does not take the user and password of its address (401 Unauthorized)."
    if answer.status_code == 401:
        scheme, _, rest = address.partition("://")
        return (
            f"{address} asks for a user and a password (401 Unauthorized). Write them into the "
            f"address: {scheme}://USER:PASSWORD@{rest}"
        )
    if answer.status_code == 403:
        return f"{address} refuses requests from here (403 Forbidden)."
    if answer.status_code in GATEWAY_ERRORS:
        return f"The proxy at {address} does not reach the server behind it ({status})."
    if there := answer.headers.get("location"):
        status += f", and sends on to {urlsplit(there)._replace(query='').geturl()}"
    return (
        f"What answers at {address} is not Ollama ({status}). Check the address, its port, and its "
        "path, which only a server behind a proxy has."
    )


def _get_version(address: str, timeout: float) -> httpx.Response:
    if not is_local(address) and (problem := proxies.problem()):
        raise ServerError(f"{address} cannot be reached: {problem}")
    return _http_client(is_local(address)).get(
        f"{address}/api/version", timeout=timeout, auth=Credentials(address)
    )


@functools.cache
def _http_client(local: bool) -> httpx.Client:
    """One plain client for this machine's servers and one for others, kept for good.

    Making one costs tens of milliseconds, and slows what comes next.
    """
    return httpx.Client(timeout=TIMEOUT, trust_env=not local)

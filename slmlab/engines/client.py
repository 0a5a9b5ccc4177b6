"""The one way to a server: HTTP clients with finite time limits, and errors as sentences."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx
import ollama

from slmlab import hardware
from slmlab.engines import supervisor
from slmlab.engines.address import is_local
from slmlab.errors import ModelError, ServerError, ServerLost, did_you_mean

# What Ollama says when its child process with the model is gone.
RUNNER_DIED = ("unexpectedly stopped", "runner process has terminated", "runner process no longer")
# What Ollama and the embedded engine say where a model does not fit.
OUT_OF_MEMORY = ("more system memory", "out of memory", "unable to allocate")


# Seconds without a sign of life from a server after which a request fails.
TIMEOUT = 600.0
# Seconds that a connection may take to be made.
CONNECT_TIMEOUT = 5.0


def client_kwargs(host: str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What each HTTP client for a server is made with: finite time limits, no proxy on loopback.

    It fits ``httpx.Client``, ``ollama.Client`` and the ``client_kwargs`` of langchain-ollama.

    Args:
        host: the server's address.
        timeout: seconds without a sign of life after which a request fails.
    """
    return {
        "timeout": httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        "trust_env": not is_local(host),
    }


@functools.lru_cache(maxsize=32)
def client(host: str, timeout: float = TIMEOUT) -> ollama.Client:
    """The ``ollama`` client for one server; one is kept for each."""
    return ollama.Client(host, **client_kwargs(host, timeout))


class Abortable(httpx.HTTPTransport):
    """Connections that another thread can cut, which closing a client does not do.

    A thread that waits for an answer wakes only when its socket is shut down; httpx tells of each
    socket through its ``trace`` extension.
    """

    def __init__(self, host: str) -> None:
        super().__init__(trust_env=not is_local(host))
        self._streams: list[Any] = []
        self._aborted = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, noting the connection that it makes."""
        if self._aborted:
            raise httpx.ReadError("stopped", request=request)
        request.extensions = {**request.extensions, "trace": self._note}
        return super().handle_request(request)

    def _note(self, event: str, info: dict) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._streams.append(info["return_value"])
            if self._aborted:
                self.abort()

    def abort(self) -> None:
        """Cut all connections, now and later; to the server that ends their requests."""
        self._aborted = True
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def sentences(
    host: str,
    model: str = "",
    here: Callable[[], Mapping[str, int]] = dict,
    elsewhere: Iterable[str] = (),
) -> Iterator[None]:
    """Turn what the client and the network raise into one of our sentences.

    Args:
        host: the server that is asked.
        model: the model that it is asked for.
        here: called on a failure: the models on the server, by name, with their sizes in bytes.
        elsewhere: names of models that could be had.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    try:
        yield
    except ollama.ResponseError as error:
        if any(words in error.error.lower() for words in RUNNER_DIED):
            raise ServerLost(
                f"The process that runs {model or 'the model'} ended in the middle, often for want "
                f"of memory: {error.error}.{log_of(host)}"
            ) from error
        raise ModelError(_sentence(error.error, host, model, here, elsewhere)) from error
    except httpx.TimeoutException as error:
        raise ServerError(
            f"The server at {host} did not answer in time. It may be loading a large model or be "
            "stuck: try again, or restart it with slmlab.stop() and slmlab.start()."
        ) from error
    except (httpx.TransportError, ConnectionError) as error:
        if ask_version(host) is None:
            raise ServerLost(
                f"No server answers at {host}. Start one with slmlab.start().{log_of(host)}"
            ) from error
        raise ServerLost(
            f"The connection to {host} broke in mid-answer; the server is there again, so try "
            f"again.{log_of(host)}"
        ) from error


def log_of(host: str) -> str:
    """The end of a server's log, to be put behind a sentence; nothing where it is not ours."""
    tail = supervisor.log_tail(host, 5)
    return f"\nThe end of its log:\n{tail}" if tail else ""


def _sentence(
    error: str,
    host: str,
    model: str,
    here: Callable[[], Mapping[str, int]],
    elsewhere: Iterable[str],
) -> str:
    """What an error of the server means, and what to do."""
    low = error.lower()
    if "requires a newer version" in low or "412:" in low:
        return (
            f"{model} needs a newer Ollama than the one at {host}. Install one with "
            "`python -m slmlab setup --ollama-version VERSION` (see "
            "https://github.com/ollama/ollama/releases) after `python -m slmlab stop`."
        )
    if "file does not exist" in low or "not found" in low:
        names = [*here()]
        have = f" Here now: {', '.join(names)}." if names else " No model is here yet."
        return (
            f"There is no model {model!r} on {host}.{did_you_mean(model, [*names, *elsewhere])}"
            f"{have} Get one with slmlab.pull(…). ({error})"
        )
    if "no space left" in low:
        return f"Not enough disk for {model}: {error}."
    if any(words in low for words in OUT_OF_MEMORY):
        smaller = _smaller(model, here())
        return f"{model} does not fit into this machine's memory: {error}. {smaller}"
    return f"{model or 'The server'}: {error}"


def _smaller(model: str, here: Mapping[str, int]) -> str:
    """What to try in place of a model that does not fit: the next smaller one that is here."""
    size = here.get(model) or here.get(f"{model}:latest", 0)
    smaller = {name: other for name, other in here.items() if other < size}
    name = max(smaller, key=smaller.__getitem__, default=None)
    first = f"Try {name} ({hardware.gib(smaller[name])}), the next" if name else "Try a"
    return (
        f"{first} smaller one, a shorter context (num_ctx=…), or a quantization with fewer bits; "
        "slmlab.catalog_explorer() shows what fits."
    )


def ask_version(address: str, timeout: float = 2.0) -> dict | None:
    """What ``/api/version`` at ``address`` answers, or None where no such server answers."""
    try:
        answer = _http_client(is_local(address)).get(f"{address}/api/version", timeout=timeout)
        facts = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return facts if answer.status_code == 200 and "version" in facts else None


@functools.cache
def _http_client(local: bool) -> httpx.Client:
    """One plain client for this machine's servers and one for others, kept for good.

    Making one costs tens of milliseconds, and slows what comes next.
    """
    return httpx.Client(**client_kwargs("http://127.0.0.1" if local else ""))

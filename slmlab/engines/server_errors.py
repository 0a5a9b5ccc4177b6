"""What a server's errors mean, as sentences that say what to do; what answers in its place."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from slmlab import hardware
from slmlab.engines import supervisor
from slmlab.engines.address import OPENAI_ROUTE, credentials_for, is_local, speaks_openai
from slmlab.engines.client import (
    CONNECT_TIMEOUT,
    ask_version,
    asks_for_a_key,
    get_version,
    response_error,
)
from slmlab.errors import ModelError, ServerError, ServerLost, did_you_mean

log = logging.getLogger(__name__)

# What Ollama answers when its child process with the model is gone.
RUNNER_DIED = ("unexpectedly stopped", "runner process has terminated", "runner process no longer")
# What Ollama and the embedded engine answer when a model does not fit.
OUT_OF_MEMORY = ("more system memory", "out of memory", "unable to allocate")
# What a proxy answers when the server behind it is gone, perhaps only for a moment.
GATEWAY_ERRORS = (502, 503, 504)


@contextlib.contextmanager
def errors_as_sentences(
    host: str,
    model: str = "",
    installed: Callable[[], Mapping[str, int]] = dict,
    available: Iterable[str] = (),
) -> Iterator[None]:
    """Turn errors of the client and the network into errors whose message helps the user.

    Args:
        host: the server that the request goes to.
        model: the model that the request is for.
        installed: called on a failure: models on the server, by name, with their sizes in bytes.
        available: names of models that could be downloaded.

    Raises:
        ModelError: the server has no such model, or refuses it.
        ServerError: the server does not answer, or not in time.
    """
    try:
        yield
    except response_error() as error:
        log.debug("%s answered %d to a request for %s: %s", host, error.status_code, model, error)
        text = _text(error.error)
        if any(words in text.lower() for words in RUNNER_DIED):
            raise ServerLost(
                f"The process that runs {model or 'the model'} ended during the request, often "
                f"because memory ran out: {text}.{log_tail_text(host)}"
            ) from error
        if error.status_code == 401 and ask_version(host) is None:
            raise ServerError(no_server(host)) from error
        if not text or text.lstrip().startswith("<"):
            # An error page of a proxy; the server behind it may be back in a moment.
            kind = ServerLost if error.status_code in GATEWAY_ERRORS else ServerError
            raise kind(_message_for_unusable(host, httpx.Response(error.status_code))) from error
        raise ModelError(_sentence(text, host, model, installed, available)) from error
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
            f"The connection to {host} broke during an answer. The server answers again, so try "
            f"again.{log_tail_text(host)}"
        ) from error


def log_tail_text(host: str) -> str:
    """The end of a server's log, to append to a message; empty if the log is not of this server."""
    if supervisor.state_at(host) is None and ask_version(host):
        return ""  # slmlab did not start what answers there now; the log is of an earlier server
    tail = supervisor.log_tail(host, 5)
    return f"\nThe end of its log:\n{tail}" if tail else ""


def _text(error: object) -> str:
    """An error's text. Ollama passes those of llama.cpp's server on as JSON, which is unpacked."""
    if isinstance(error, str):
        with contextlib.suppress(ValueError):
            error = json.loads(error)
    while isinstance(error, dict):
        error = error.get("error") or error.get("message")
    return str(error or "")


def _sentence(
    error: str,
    host: str,
    model: str,
    installed: Callable[[], Mapping[str, int]],
    available: Iterable[str],
) -> str:
    """A sentence on what an error of the server means, and what to do."""
    low = error.lower()
    if "requires a newer version" in low or "412:" in low:
        return (
            f"{model} needs a newer version of Ollama than the one at {host}. Install it with "
            "`python -m slmlab setup --ollama-version VERSION` (see "
            "https://github.com/ollama/ollama/releases) after `python -m slmlab stop`."
        )
    # In llama.cpp's messages ("key not found in model") it is not the model that is missing.
    if "unable to load" not in low and ("file does not exist" in low or "not found" in low):
        names = [*installed()]
        have = f" Here now: {', '.join(names)}." if names else " No model is here yet."
        return (
            f"There is no model {model!r} on {host}.{did_you_mean(model, [*names, *available])}"
            f"{have} Get one with slmlab.pull(…). ({error})"
        )
    if "dial tcp" in low:
        return (
            f"{model} was not downloaded: the server at {host} cannot reach where it comes from. "
            f"With a connection, try again; without one, bring a file: slmlab.add(…). ({error})"
        )
    if "no space left" in low:
        return f"Not enough disk space for {model}: {error}."
    if "support embeddings" in low:
        return (
            f"{model} is a chat model, and {host} makes embeddings with embedding models only: "
            "get one with slmlab.pull('all-minilm')."
        )
    if "context size" in low:
        setting = "" if speaks_openai(host) else " (num_ctx=…)"
        return f"The prompt does not fit into {model}'s context{setting}: {error}."
    if any(words in low for words in OUT_OF_MEMORY):
        smaller = _smaller(model, installed())
        if any(name in low for name in ("cuda", "rocm")):
            return (
                f"{model} does not fit into what is free of the GPU's memory: "
                f"{error.splitlines()[0]}. Shut down other notebooks that train or run models, "
                f"unload all models (slmlab.models.unload), and try again. {smaller}"
            )
        return f"{model} does not fit into this machine's memory: {error}. {smaller}"
    return f"{model or 'The server'}: {error}"


def _smaller(model: str, installed: Mapping[str, int]) -> str:
    """What to try instead of a model that does not fit: the next smaller installed one."""
    size = installed.get(model) or installed.get(f"{model}:latest", 0)
    smaller = {name: other for name, other in installed.items() if other < size}
    name = max(smaller, key=smaller.__getitem__, default=None)
    first = f"Try {name} ({hardware.gib(smaller[name])}), the next" if name else "Try a"
    return (
        f"{first} smaller model, a shorter context (num_ctx=…), or a quantization with fewer bits; "
        "slmlab.catalog_explorer() shows what fits."
    )


def version_at(address: str) -> dict[str, Any]:
    """The answer of ``/api/version`` at ``address``.

    Raises:
        ServerError: no such server answers; the message says what answers instead, or why nothing
            does.
    """
    facts = ask_version(address, timeout=5.0)
    if facts is None:
        raise ServerError(f"{no_server(address)}{log_tail_text(address)}")
    return facts


def no_server(address: str, remedy: str = "", setting: str = "") -> str:
    """The message for an address where no server answers: what does, or why nothing does.

    Args:
        address: the address, as returned by ``read_address``.
        remedy: what to do if nothing answers.
        setting: the environment variable that holds the address.
    """
    reason = ""
    try:
        answer = get_version(address, CONNECT_TIMEOUT)
        if answer.status_code != 200 or not answer.text.startswith("{"):
            return _message_for_unusable(address, answer)
    except httpx.TimeoutException:
        reason = ": no answer within five seconds"
    except httpx.HTTPError as error:
        # "[Errno -2] Name or service not known", "[SSL: CERTIFICATE_VERIFY_FAILED] …"
        text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
        reason = f": {text}" if text and "refused" not in text and "attempts" not in text else ""
    if speaks_openai(address):
        remedy = "Start it there, and give the address that it prints."
    if not remedy and is_local(address):
        remedy = "Start one with slmlab.start()."
    where = f"{setting}={address}" if setting else address
    return f"No server answers at {where}{reason}. {remedy or 'Start Ollama there.'}"


def _message_for_unusable(address: str, answer: httpx.Response) -> str:
    """The message for something that answers but is not a server that slmlab can use."""
    status = f"status {answer.status_code}"
    if answer.status_code == 401 and speaks_openai(address):
        if credentials_for(address):
            return f"{address} rejects the key in its address (401 Unauthorized)."
        scheme, _, rest = address.partition("://")
        return (
            f"{address} requires a key (401 Unauthorized). Write it into the address: "
            f"{scheme}://:KEY@{rest}"
        )
    if asks_for_a_key(answer):
        return (
            f"The embedded engine at {address} answers only the user who started it, and its key "
            "is not in this process's SLMLAB_HOME. Set SLMLAB_HOME to the folder with which it was "
            "started, or unset OLLAMA_HOST and start one of your own with slmlab.start()."
        )
    # llama-server wants its key for any other route, but not for its list of models.
    other = "" if speaks_openai(address) else address + OPENAI_ROUTE
    if answer.status_code in (401, 404) and other and ask_version(other):
        return (
            f"What answers at {address} is not Ollama but speaks OpenAI's API: give the address "
            f"{other}"
        )
    if answer.status_code == 401 and credentials_for(address):
        return f"{address} rejects the user and password in its address (401 Unauthorized)."
    if answer.status_code == 401:
        scheme, _, rest = address.partition("://")
        return (
            f"{address} requires a user and a password (401 Unauthorized). Write them into the "
            f"address: {scheme}://USER:PASSWORD@{rest}"
        )
    if answer.status_code == 403:
        return f"{address} refuses requests from here (403 Forbidden)."
    if answer.status_code in GATEWAY_ERRORS:
        return f"The proxy at {address} does not reach the server behind it ({status})."
    if location := answer.headers.get("location"):
        status += f", redirects to {urlsplit(location)._replace(query='').geturl()}"
    if speaks_openai(address):
        return f"What answers at {address} does not speak OpenAI's API ({status})."
    return (
        f"What answers at {address} is not Ollama ({status}). Check the address, its port and its "
        "path; only a server behind a proxy has a path."
    )

"""Proxies that the environment names, which the HTTP client may not be able to use."""

from __future__ import annotations

import contextlib
import functools
import os
import urllib.request
from collections.abc import Iterator

import httpx


def problem() -> str | None:
    """What keeps httpx from using the proxies of the environment, as a sentence; None if nothing.

    No server on this machine needs a proxy, so this is for the others.
    """
    return _problem(tuple(sorted(urllib.request.getproxies().items())))


@functools.cache
def _problem(proxies: tuple[tuple[str, str], ...]) -> str | None:
    try:
        httpx.Client().close()
    except ImportError:
        return (
            "the environment names a SOCKS proxy (ALL_PROXY or the like). Make slmlab able to use "
            "it with `pip install httpx[socks]`, or go without it: NO_PROXY=*."
        )
    except (ValueError, httpx.InvalidURL) as error:
        return f"the environment names a proxy that cannot be used (ALL_PROXY or the like): {error}"
    return None


@contextlib.contextmanager
def hidden_environment() -> Iterator[None]:
    """Take the proxies and ``OLLAMA_HOST`` out of the environment for a moment."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    hidden = {name: os.environ.pop(name) for name in (*names, "OLLAMA_HOST") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)

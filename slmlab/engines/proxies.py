"""Proxies in the environment that the HTTP client cannot use."""

from __future__ import annotations

import contextlib
import functools
import os
import urllib.request
from collections.abc import Iterator

import httpx


def problem() -> str | None:
    """Why httpx cannot use the proxies in the environment, as a sentence; None if it can.

    Servers on this machine need no proxy, so this only concerns others.
    """
    return _problem(tuple(sorted(urllib.request.getproxies().items())))


@functools.cache
def _problem(proxies: tuple[tuple[str, str], ...]) -> str | None:
    try:
        httpx.Client().close()
    except ImportError:
        return (
            "the environment names a SOCKS proxy (ALL_PROXY or the like). Install support for it "
            "with `pip install httpx[socks]`, or bypass it with NO_PROXY=*."
        )
    except (ValueError, httpx.InvalidURL) as error:
        return f"the environment names a proxy that cannot be used (ALL_PROXY or the like): {error}"
    return None


@contextlib.contextmanager
def hidden_environment() -> Iterator[None]:
    """Remove the proxies and ``OLLAMA_HOST`` from the environment inside a ``with`` block."""
    names = [name for name in os.environ if name.lower().endswith("_proxy")]
    hidden = {name: os.environ.pop(name) for name in (*names, "OLLAMA_HOST") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)

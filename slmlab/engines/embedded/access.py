"""Who may use the embedded engine: its owner, and no web page of another site."""

from __future__ import annotations

import ipaddress
import os
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from slmlab.engines.embedded.responses import error_body

# Where a connection's scope has the user id of the process that made it (see ``sockets``).
USER = "user"
REFUSED = (
    "this engine answers only the user who started it: send its key, slmlab.server.key(), as "
    "'Authorization: Bearer KEY' (set OLLAMA_API_KEY to it for Ollama's client and LangChain), or "
    "let everybody use it with python -m slmlab serve --open"
)


class OnlyOwner:
    """Refuses requests of other users of this machine.

    The owner's are known by the engine's key, or by the user whose process has connected, where the
    system tells: so a browser, ``curl``, or a client that has been given another key needs none.
    Root needs the key too, since proxies that run as root connect for others.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self._expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 401, or pass the request on."""
        if scope["type"] == "http" and not self._is_owner(scope):
            request = Request(scope)
            answer = JSONResponse(
                error_body(request, 401, REFUSED),
                401,
                {"WWW-Authenticate": 'Bearer realm="slmlab"'},
            )
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _is_owner(self, scope: Scope) -> bool:
        user = scope.get("state", {}).get(USER)
        if user is not None and user == os.geteuid():
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return secrets.compare_digest(given, self._expected)


class OnlyLocal:
    """Refuses requests that a web page of another site could send, by their Host and Origin.

    A page that points its own name at 127.0.0.1 (DNS rebinding) is recognized by Host, a page that
    sends a cross-site request by Origin. Ollama refuses both with 403 as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with 403, or pass the request on."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1")
            origin = headers.get(b"origin", b"").decode("latin-1")
            if not _is_local(f"//{host}") or (origin and not _is_local(origin)):
                await Response(status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_local(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "" and url == "//"

"""A small HTTP server in Ollama's words that writes down what it is sent.

It answers with fixed texts at once, so tests of what a client sends, and of what it makes of an
answer, take milliseconds. What models really say is tested with real servers.
"""

from __future__ import annotations

import hashlib
import json
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIZE = 10**9


class RecordingServer:
    """A server with these models installed. Use as a context manager; ``url`` is its address.

    ``requests`` has each path with its body (None for a GET), in order, and ``headers`` the headers
    of each POST. ``loaded`` maps the models
    in memory to their context lengths; ``pieces`` is what each answer consists of, ``thinking``
    what stands before it where thinking is on; ``logprobs`` has the rows of a piece's tokens;
    ``load_ns`` has the load durations of the next
    answers, ``counters`` further ones; ``errors`` maps a path to the errors that its next answers
    are. Answers wait for ``may_start`` and, after their first piece, for ``may_go_on``.
    """

    def __init__(self, *models: str, **facts: Any) -> None:
        self.models = models
        self.facts = {"version": "0.33.0"} | facts
        self.info: dict[str, Any] = {}
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[Message] = []
        self.loaded: dict[str, int] = {}
        self.pieces: list[str] = ["Hello", " there."]
        self.thinking = ""
        self.capabilities = ["completion"]
        self.logprobs: dict[str, list[dict[str, Any]]] = {}
        self.load_ns: list[int] = []
        self.counters: dict[str, int] = {}
        self.errors: dict[str, list[tuple[int, str]]] = {}
        self.may_start, self.may_go_on = threading.Event(), threading.Event()
        self.may_start.set()
        self.may_go_on.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self, None)

            def do_POST(self) -> None:
                server.headers.append(self.headers)
                length = int(self.headers.get("Content-Length", 0))
                server.answer(self, json.loads(self.rfile.read(length) or b"null"))

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_port}"

    def __enter__(self) -> RecordingServer:
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_start.set()
        self.may_go_on.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def sent(self, path: str) -> list[Any]:
        """The bodies of the requests to one route, without those that only load or unload."""
        bodies = [body for at, body in self.requests if at == path]
        return [body for body in bodies if body.get("prompt") or body.get("messages")]

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        self.requests.append((request.path, body))
        if self.errors.get(request.path) and (body is None or body.get("prompt") != ""):
            status, text = self.errors[request.path].pop(0)
            self._write(request, [{"error": text}], status)
        elif request.path == "/api/version":
            self._write(request, [self.facts])
        elif request.path == "/api/tags":
            self._write(request, [{"models": [_described(name) for name in self.models]}])
        elif request.path == "/api/ps":
            here = [_described(m) | {"context_length": n} for m, n in self.loaded.items()]
            self._write(request, [{"models": here}])
        elif request.path == "/api/show":
            self._write(
                request,
                [{"model_info": self.info, "details": {}, "capabilities": self.capabilities}],
            )
        elif body.get("prompt") == "":
            if body.get("keep_alive") == 0:
                self.loaded.pop(body["model"], None)
            else:
                self.loaded[body["model"]] = body["options"]["num_ctx"]
            self._write(request, [{"model": body["model"], "response": "", "done": True}])
        else:
            self._generate(request, body)

    def _generate(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        chat = request.path == "/api/chat"
        self.may_start.wait(20)
        self.loaded.setdefault(body["model"], body["options"]["num_ctx"])

        def part(text: str, thinking: str = "") -> dict[str, Any]:
            more = {"thinking": thinking} if thinking else {}
            rows = self.logprobs.get(text) if body.get("logprobs") else None
            of_tokens = {"logprobs": rows} if rows else {}
            if chat:
                return {"message": {"role": "assistant", "content": text} | more} | of_tokens
            return {"response": text} | more | of_tokens

        thoughts = self.thinking if body.get("think") else ""
        most = body["options"].get("num_predict", -1)
        pieces = self.pieces[:most] if most > 0 else self.pieces
        last = {
            "done_reason": "length" if len(pieces) < len(self.pieces) else "stop",
            "load_duration": self.load_ns.pop(0) if self.load_ns else 1,
            "prompt_eval_count": 7,
            "prompt_eval_duration": 10**8,
            **self.counters,
            "eval_count": len(pieces),
            "eval_duration": 10**9,
        }
        if body.get("stream", True) is False:
            lines = [part("".join(pieces), thoughts) | last]
        else:
            lines = [part("", thoughts)] if thoughts else []
            lines += [part(piece) for piece in pieces] + [part("") | last]
        for n, line in enumerate(lines):
            done = n == len(lines) - 1
            line |= {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "done": done}
        self._write(request, lines)

    def _write(self, request: BaseHTTPRequestHandler, lines: list[Any], status: int = 200) -> None:
        """A chunk for each line, so that an answer which is cut is known for one."""
        request.send_response(status)
        request.send_header("Content-Type", "application/x-ndjson")
        request.send_header("Transfer-Encoding", "chunked")
        request.send_header("Connection", "close")
        request.end_headers()
        for n, line in enumerate(lines):
            if n == 1:
                self.may_go_on.wait(20)
            text = json.dumps(line).encode() + b"\n"
            end = b"0\r\n\r\n" if n == len(lines) - 1 else b""
            try:
                request.wfile.write(b"%x\r\n%s\r\n%s" % (len(text), text, end))
                request.wfile.flush()
            except OSError:  # the client has hung up
                return


def _described(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "size": SIZE,
        "size_vram": 0,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {"parameter_size": "1B", "quantization_level": "Q4_0", "family": "llama"},
    }

"""A small real HTTP server on 127.0.0.1 for downloads, with faults that tests inject on purpose.

It serves bytes with Range, as release hosts do, and speaks as much of a container registry as
``ollama pull`` needs: a manifest, and blobs that are redirected to their bytes.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FileServer:
    """Serves ``files`` (path → bytes). Use as a context manager; ``url`` is its address.

    ``cut`` maps a path to the numbers of bytes after which the next answers for it break off;
    ``stall`` maps a path to numbers of bytes after which the next answers say nothing any more;
    ``busy`` maps a path to the statuses that the next answers for it have; ``status`` maps a path
    to the status that it always has; ``claims`` maps a path to the number of bytes that all its
    answers say they have; ``headers`` and ``bodies`` map a path to what answers for it have
    that are errors; ``token`` is
    what requests below ``/v2/`` have to carry, if anything, and ``/token`` hands out;
    ``ignore_range`` answers with all bytes always; ``seen`` has all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut: dict[str, list[int]] = {}
        self.stall: dict[str, list[int]] = {}
        self.busy: dict[str, list[int]] = {}
        self.status: dict[str, int] = {}
        self.claims: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.bodies: dict[str, bytes] = {}
        self.token = ""
        self.ignore_range = False
        self.over = threading.Event()
        self.seen: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *_: None  # who hangs up is no error here
        self.address = f"127.0.0.1:{self.httpd.server_port}"
        self.url = f"http://{self.address}"

    def __enter__(self) -> FileServer:
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        wanted = request.headers.get("Range")
        self.seen.append((path, wanted))
        if self.ignore_range:
            wanted = None
        if path == "/token":
            self._send(request, 200, json.dumps({"token": self.token}).encode())
            return
        if self.token and path.startswith("/v2/"):
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                challenge = f'Bearer realm="{self.url}/token",service="here",scope="pull,all"'
                self._send(request, 401, b"", {"WWW-Authenticate": challenge})
                return
        elif "Authorization" in request.headers:
            self._send(request, 400, b"")  # what was for the registry is for nobody else
            return
        if path in self.redirects and path not in self.status:
            request.send_response(307)
            # Ollama takes only a redirect to another host name as the way to the bytes.
            other_name = self.url.replace("127.0.0.1", "localhost")
            to = self.redirects[path]
            request.send_header("Location", to if "://" in to else other_name + to)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        status = self.busy[path].pop(0) if self.busy.get(path) else self.status.get(path)
        if status or path not in self.files:
            self._send(
                request, status or 404, self.bodies.get(path, b""), self.headers.get(path, {})
            )
            return
        body, total = self.files[path], len(self.files[path])
        start, end = 0, total - 1
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) if last else total - 1
            if start >= total:
                request.send_response(416)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        part = body[start : end + 1]
        request.send_response(206 if wanted else 200)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(self.claims.get(path, len(part))))
        if path.endswith("/"):  # a page of a package index
            request.send_header("Content-Type", "text/html")
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{end}/{total}")
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.cut.get(path):
            request.wfile.write(part[: self.cut[path].pop(0)])
            request.wfile.flush()
            request.connection.close()
            request.close_connection = True
            return
        if self.stall.get(path):
            request.wfile.write(part[: self.stall[path].pop(0)])
            request.wfile.flush()
            self.over.wait(120)
            request.close_connection = True
            return
        try:
            request.wfile.write(part)
        except OSError:
            request.close_connection = True
        request.close_connection = request.close_connection or path in self.claims

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def add_model(
        self,
        name: str,
        gguf: Path,
        texts: Mapping[str, str | bytes] | None = None,
        kind: str = "model",
    ) -> str:
        """Offer a GGUF file as the model ``library/NAME:latest``; returns the blob's path.

        ``texts`` are further layers by their kinds (``template``, ``projector`` …).
        """
        model = self._blob(name, gguf.read_bytes())
        config = self._blob(
            name,
            json.dumps(
                {
                    "model_format": "gguf",
                    "model_family": "llama",
                    "model_families": ["llama"],
                    "model_type": "134.52M",
                    "file_type": "Q4_1",
                    "architecture": "amd64",
                    "os": "linux",
                    "rootfs": {"type": "layers", "diff_ids": [model["digest"]]},
                }
            ).encode(),
        )
        layers = [model | {"mediaType": f"application/vnd.ollama.image.{kind}"}]
        for name_of_kind, text in (texts or {}).items():
            media_type = {"mediaType": f"application/vnd.ollama.image.{name_of_kind}"}
            content = text.encode() if isinstance(text, str) else text
            layers.append(self._blob(name, content) | media_type)
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": config | {"mediaType": "application/vnd.docker.container.image.v1+json"},
            "layers": layers,
        }
        self.files[f"/v2/library/{name}/manifests/latest"] = json.dumps(manifest).encode()
        return f"/bytes/{model['digest']}"

    def change_manifest(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Let the manifest of a model say something else."""
        path = f"/v2/library/{name}/manifests/latest"
        manifest = json.loads(self.files[path])
        change(manifest)
        self.files[path] = json.dumps(manifest).encode()

    def _blob(self, name: str, content: bytes) -> dict:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.redirects[f"/v2/library/{name}/blobs/{digest}"] = f"/bytes/{digest}"
        self.files[f"/bytes/{digest}"] = content
        return {"digest": digest, "size": len(content)}

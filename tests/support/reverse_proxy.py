"""A reverse proxy on 127.0.0.1 that asks for a user and a password, as nginx before an Ollama."""

from __future__ import annotations

import base64
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

USER, PASSWORD = "ada", "p@ss/w#rd"
# The password as it is written in an address.
IN_ADDRESS = "ada:p%40ss%2Fw%23rd"
PAGE = b"<html><head><title>401 Authorization Required</title></head></html>"


class ReverseProxy:
    """Hands requests under ``path`` on to the server at ``url``; ``passed`` counts them.

    With ``only`` the rest of the path has to begin so: ``/v1`` hides all but OpenAI's API.
    """

    def __init__(self, url: str, path: str = "", only: str = "") -> None:
        there = urlsplit(url).netloc
        code = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        proxy = self
        self.passed = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Authorization") != f"Basic {code}":
                    return self.answer(401, PAGE)
                if not self.path.startswith(path + only):
                    return self.answer(404, b"")
                back = http.client.HTTPConnection(there, timeout=120)
                headers = {"Host": there, "Content-Type": "application/json"}
                try:
                    back.request(self.command, self.path.removeprefix(path), body, headers)
                    answer = back.getresponse()
                    content = answer.read()
                except OSError:
                    return self.answer(502, b"<html>502 Bad Gateway</html>")
                finally:
                    back.close()
                proxy.passed += 1
                self.answer(answer.status, content)

            do_POST = do_DELETE = do_HEAD = do_GET

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.place = f"127.0.0.1:{self.httpd.server_port}{path}"
        self.url = f"http://{self.place}"

    def __enter__(self) -> ReverseProxy:
        threading.Thread(target=self.httpd.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()

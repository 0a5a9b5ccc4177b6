"""A second user of this machine, who listens where slmlab looks for its server.

Run as a program, this answers like an Ollama at one port and prints the headers and the body of
each request as a line of JSON; or it sends requests to an address.
"""

from __future__ import annotations

import contextlib
import ctypes
import encodings.idna  # noqa: F401  while the files of Python can be read
import http.client
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

OTHER = "nobody"
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can be two users"
)


class Answering(BaseHTTPRequestHandler):
    """Answers every request."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        seen = {"path": self.path, "headers": dict(self.headers)}
        print(json.dumps(seen | {"body": self.rfile.read(length).decode()}), flush=True)
        answer = json.dumps({"version": "0.33.0", "response": "stolen", "done": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class OtherServer:
    """The other user's server: where it listens, and what it was sent."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def end(self) -> list[dict]:
        """End it; returns the requests that it got."""
        if self.process.poll() is None:
            self.process.terminate()
        out = self.process.stdout.read()
        return [json.loads(line) for line in out.splitlines()]


@contextlib.contextmanager
def other_server(
    port: int, host: str = "127.0.0.1", *, root: bool = False
) -> Iterator[OtherServer]:
    """Such a server, of the user ``nobody``; it listens already.

    With ``root`` it calls itself root, and its socket, as every user may in a name space of theirs.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, host, str(port), *["root"] * root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        if (greeting := process.stdout.readline()) == "no name space\n":
            pytest.skip("here users have no name spaces of their own")
        assert greeting == "ready\n"
        yield OtherServer(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def ask_as_other(
    url: str, requests: list[tuple[str, str, object]], headers: dict[str, str]
) -> list[tuple[int, str]]:
    """The status and text of the answer to each request (method, path, JSON) of that user."""
    done = subprocess.run(
        [sys.executable, __file__, url],
        input=json.dumps([requests, headers]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout)]


def _ask(url: str) -> None:
    requests, headers = json.load(sys.stdin)
    answers = []
    for method, path, body in requests:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        answers.append((answer.status, answer.read().decode()))
    print(json.dumps(answers))


def _call_itself_root() -> None:
    libc, uid = ctypes.CDLL(None), os.getuid()
    libc.prctl(4, 1, 0, 0, 0)  # it may write into its own folder of /proc again
    if libc.unshare(0x10000000):
        print("no name space", flush=True)
        sys.exit()
    with open("/proc/self/uid_map", "w") as file:
        file.write(f"0 {uid} 1")
    assert os.getuid() == 0


if __name__ == "__main__":
    # It may not be able to read the programs of this one, so it changes to the other user late.
    user = pwd.getpwnam(OTHER)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if len(sys.argv) == 2:
        _ask(sys.argv[1])
        sys.exit()
    if sys.argv[3:] == ["root"]:
        _call_itself_root()
    with ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answering) as server:
        os.fchown(server.fileno(), os.getuid(), -1)
        print("ready", flush=True)
        server.serve_forever()

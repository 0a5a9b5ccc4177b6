"""Two users on one machine: neither may take the other's server for their own."""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import ollama
import openai
import psutil
import pytest

import slmlab
from slmlab.engines import access, find, keys, launch, server, sockets, supervisor
from slmlab.engines.client import client_kwargs
from slmlab.engines.embedded.access import REFUSED
from slmlab.errors import ServerError
from slmlab.widgets.langchain_code import langchain_code
from tests.support.engines import SHALLOW, SMOL, engine_process, runners
from tests.support.other_user import OTHER, ask_as_other, needs_root, other_server
from tests.support.processes import free_port, run, serving, wait_for

pytestmark = needs_root
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture
def default_port(lab, monkeypatch):
    """A port in place of Ollama's, which something on this machine may be using."""
    port = free_port()
    monkeypatch.delenv("OLLAMA_HOST")
    for module in (find, server):
        monkeypatch.setattr(module, "DEFAULT_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(launch, "DEFAULT_PORT", port)
    yield port
    os.environ.pop("OLLAMA_HOST", None)  # start() set it


def test_a_server_of_another_user_is_not_used(default_port, capsys):
    with other_server(default_port) as other:
        assert slmlab.status() is None
        with pytest.raises(ServerError, match=f"another user of this machine.*{OTHER}"):
            slmlab.ask(SMOL, "a secret question")
        started = slmlab.start("embedded")
        assert started.ours and started.host != other.url
        assert f"another user of this machine ({OTHER})" in capsys.readouterr().out
        assert slmlab.server.host() == started.host
        assert other.end() == []


def test_a_server_that_calls_itself_root_is_still_another_users(default_port):
    with other_server(default_port, root=True) as other:
        assert access.other_user_at(other.url) == OTHER
        assert slmlab.status() is None
        assert other.end() == []


def test_it_is_used_where_the_reader_names_it(default_port, monkeypatch):
    with other_server(default_port) as other:
        assert slmlab.server.host() == other.url
        monkeypatch.setenv("OLLAMA_HOST", other.url)
        assert slmlab.status().version == "0.33.0"
        assert slmlab.start(quiet=True).host == other.url
        assert {one["path"] for one in other.end()} == {"/api/version"}


def test_a_server_of_root_or_of_this_user_is_used(default_port, embedded, monkeypatch):
    """Root may; the tests run as root here."""
    for module in (find, server):
        monkeypatch.setattr(module, "DEFAULT_HOST", embedded.url)
    assert slmlab.start(quiet=True).host == embedded.url


def test_the_port_is_taken_while_the_server_is_down(lab):
    """A neighbour who waits for the crash gets no request, though OLLAMA_HOST has the address."""
    host = slmlab.start("embedded", quiet=True).host
    (state,) = supervisor.states()
    port = int(host.rsplit(":", 1)[1])
    kill_and_take = engine_process(host)
    kill_and_take.kill()
    kill_and_take.wait()
    with other_server(port) as other:
        assert state in supervisor.states()  # it is about to start the server again
        with pytest.raises(ServerError, match=f"another user of this machine.*{OTHER}"):
            slmlab.generate(SMOL, "a secret question", host=host)
        assert slmlab.status() is None
        again = slmlab.start("embedded", quiet=True)
        assert again.ours and again.host != host
        assert other.end() == []


def test_the_port_is_taken_before_the_server_starts(lab, monkeypatch, capsys):
    port, choose = int(os.environ["OLLAMA_HOST"].rsplit(":", 1)[1]), launch._free_port
    with other_server(port) as other:
        chosen = iter([port])  # as if it had been free a moment ago
        monkeypatch.setattr(launch, "_free_port", lambda: next(chosen, None) or choose())
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        started = slmlab.start("embedded")
        assert started.ours and started.host != other.url
        assert f"({OTHER}) has taken {other.url}. Trying another port." in capsys.readouterr().out
        assert {one["path"] for one in other.end()} <= {"/api/version"}


def test_the_key_of_ollamas_cloud_stays_here(lab, monkeypatch):
    """Ollama's client adds it to each request; a server on this machine gets none."""
    port = free_port()
    monkeypatch.setenv("OLLAMA_API_KEY", "cloud-key")
    with other_server(port) as other:
        monkeypatch.setenv("OLLAMA_HOST", other.url)
        ollama.Client(other.url, **client_kwargs(other.url)).generate(SMOL, "x")
        slmlab.chain(SMOL).invoke({"question": "x"})
        with httpx.Client(trust_env=False, verify=False) as bare:
            bare.get(other.url, headers={"Authorization": "Bearer cloud-key"})  # it would tell
        requests = [one for one in other.end() if one["path"] != "/api/version"]
    told = ["cloud-key" in str(one) for one in requests]
    assert told == [False, False, True]


def test_sockets_and_their_users():
    port = free_port()
    with other_server(port) as other:
        for address in (other.url, f"http://localhost:{port}"):
            assert access.other_user_at(address) == OTHER
        assert sockets.listeners(f"http://127.0.0.2:{port}") == set()
        here = [*sockets._listening_now(socket.AF_INET), *sockets._listening_now(socket.AF_INET6)]
        for found in (here, [*sockets._read_tables()]):
            uid = pwd.getpwnam(OTHER).pw_uid
            assert [one for one in found if one[1] == port] == [(LOOPBACK, port, uid)]


def test_a_request_waits_for_the_check_only_a_moment(default_port):
    """It takes a tenth of a millisecond here; a first token takes fifty."""
    with other_server(default_port) as other:
        access.choose(other.url)
        started = time.perf_counter()
        assert all(access.owner_to_distrust(other.url) == OTHER for _ in range(50))
        assert time.perf_counter() - started < 50 * 0.005


def test_a_socket_that_takes_all_addresses():
    port = free_port()
    with other_server(port, "0.0.0.0"):
        assert access.other_user_at(f"http://127.0.0.2:{port}") == OTHER


DELETE = ("DELETE", "/api/delete", {"model": SMOL})
CHANGE = ("POST", "/api/create", {"model": SMOL, "from": SMOL, "system": "Lie."})
USE = [
    ("GET", "/api/tags", None),
    ("GET", "/v1/models", None),
    ("POST", "/api/generate", {"model": SMOL, "prompt": "Hi", "stream": False}),
    ("POST", "/v1/chat/completions", {"model": SMOL, "messages": []}),
    ("POST", "/api/blobs/sha256:" + "0" * 64, {}),
]


def test_the_engine_answers_its_owner_only(lab_with_models, monkeypatch):
    host = slmlab.start("embedded", quiet=True).host
    before = slmlab.models.installed()
    key, wrong = slmlab.server.key(), "wrong" * 8
    asked = [*USE, CHANGE, DELETE, ("GET", "/", None), ("GET", "/api/version", None)]
    for headers in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": f"Basic {key}"}):
        for (_, path, _), (status, answer) in zip(
            asked, ask_as_other(host, asked, headers), strict=True
        ):
            error = json.loads(answer)["error"]
            said = error["message"] if path.startswith("/v1/") else error
            assert (status, said) == (401, REFUSED)
    # Who has been given the key is let in.
    ((status, answer),) = ask_as_other(host, USE[:1], {"Authorization": f"Bearer {key}"})
    assert status == 200 and SMOL in answer
    # The owner is, whatever a client sends: OpenAI's insists on some key.
    bare = {"trust_env": False, "headers": {"Authorization": f"Bearer {wrong}"}}
    assert httpx.get(f"{host}/v1/models", **bare).status_code == 200
    assert SMOL in [
        one.model for one in ollama.Client(host, trust_env=False, verify=False).list().models
    ]
    assert slmlab.models.installed() == before


def test_nobody_else_can_reach_a_models_process(lab_with_models):
    """llama.cpp's server would tell its health without a key, and answers pages of all sites."""
    host = slmlab.start("embedded", quiet=True).host
    assert slmlab.generate(SHALLOW, "Hi", num_predict=2).error is None
    workers = runners(host)  # one has the model, one waits for the next
    assert [one for worker in workers for one in worker.net_connections("inet")] == []
    listening = [one for worker in workers for one in worker.net_connections("unix")]
    (place,) = {Path(one.laddr) for one in listening if one.laddr}
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    slmlab.stop()
    assert not place.parent.exists()


def test_at_a_port_a_models_process_tells_strangers_that_it_runs_and_no_more(smol_gguf):
    """As on Windows, where it can listen at no other place."""
    config = {"path": str(smol_gguf), "socket": "", "key": "secret" * 8, "embedding": False}
    config |= {"num_ctx": 256, "parallel": 1, "threads": 1, "cache_type": "f16"}
    command = [sys.executable, "-m", "slmlab.engines.embedded.worker"]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet, text=True) as worker:
        worker.stdin.write(json.dumps(config) + "\n")
        worker.stdin.flush()
        url = json.loads(worker.stdout.readline())["address"]
        bare = {"trust_env": False, "timeout": 20}
        told = {}
        for path in ("health", "v1/models", "props", "slots", "tokenize", "completion"):
            told[path] = httpx.get(f"{url}/{path}", **bare).status_code
            told[path] = told[path], httpx.post(f"{url}/{path}", json={}, **bare).status_code
        assert httpx.get(f"{url}/health", **bare).json() == {"status": "ok"}
        assert told.pop("health")[0] == 200
        assert {status for both in told.values() for status in both} <= {401, 404}
        with_key = {"headers": {"Authorization": f"Bearer {config['key']}"}, **bare}
        assert str(smol_gguf) in httpx.get(f"{url}/props", **with_key).text
        worker.stdin.close()


def test_an_engine_that_is_open_answers_everybody(lab_with_models):
    port = free_port()
    command = [sys.executable, "-m", "slmlab", "serve", "--open", "--port", str(port)]
    with serving(command, f"http://127.0.0.1:{port}", lab_with_models / "log"):
        ((status, answer),) = ask_as_other(f"http://127.0.0.1:{port}", USE[:1], {})
        assert status == 200 and SMOL in answer
    said = (lab_with_models / "log").read_text()
    assert said.startswith("Open: every user of this machine can use, change and delete")


def test_a_connection_that_has_been_closed_is_nobodys():
    """Else a neighbour who closes the connection before the engine looks would pass for root."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as client:
            client.sendall(b"DELETE")
            taken, _ = listening.accept()
            assert sockets.connected(taken) == os.geteuid()
        with taken:
            assert sockets.connected(taken) is None
            assert taken.recv(6) == b"DELETE"


BLIND = """
import sys
from slmlab.engines import sockets
sockets.connected = lambda connection: None
from slmlab.cli import main
sys.exit(main(["serve", "--port", sys.argv[1]]))
"""


def test_where_the_system_does_not_tell_the_key_does(lab_with_models, monkeypatch):
    """As on macOS and Windows: all clients of this user send the key without being told."""
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("OLLAMA_HOST", host)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    blind = [sys.executable, "-c", BLIND, str(port)]
    monkeypatch.setattr(launch, "_serve_command", lambda _: blind)
    assert slmlab.start("embedded", quiet=True).host == host
    file = supervisor.folder_of(host) / keys.NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert slmlab.generate(SHALLOW, "Hi", num_predict=2).error is None
    assert slmlab.chain(SHALLOW, num_predict=2).invoke({"question": "Hi"})
    # These read what start() has put into the environment.
    assert ollama.Client().list().models
    code = langchain_code(
        SHALLOW, "{question}", {"question": "Hi"}, system="", host=host, options={"num_predict": 2}
    )
    assert slmlab.server.key() not in code
    exec(code, {})
    client = openai.OpenAI(base_url=f"{host}/v1", api_key=slmlab.server.key())
    assert client.models.list().data
    with pytest.raises(openai.AuthenticationError, match="answers only the user who started it"):
        openai.OpenAI(base_url=f"{host}/v1", api_key="wrong").models.list()
    # Another process of this user.
    done = run(sys.executable, "-m", "slmlab", "models", "--json")
    assert SHALLOW in done.stdout
    # A crash does not change it, a new start does.
    key = slmlab.server.key()
    monkeypatch.setenv("SLMLAB_HOME", str(lab_with_models / "another"))
    with pytest.raises(ServerError, match="answers only the user who started it, and its key"):
        slmlab.models.installed()
    monkeypatch.setenv("SLMLAB_HOME", str(lab_with_models))
    child = psutil.Process(int((file.parent / "child.pid").read_text()))
    child.kill()
    child.wait()
    wait_for(slmlab.status, what="the engine to come back")
    assert slmlab.server.key() == key
    slmlab.stop()
    assert "OLLAMA_API_KEY" not in os.environ and not file.exists()
    monkeypatch.setenv("OLLAMA_HOST", host)
    slmlab.start("embedded", quiet=True)
    assert slmlab.server.key() not in (key, "none")


def test_the_lent_key_goes_to_no_other_machine(lab, monkeypatch):
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    host = slmlab.start("embedded", quiet=True).host
    access.lend_key(host)
    lent = {"Authorization": f"Bearer {os.environ['OLLAMA_API_KEY']}"}
    there = access.Access("http://gpu.example:11434")
    assert (
        "authorization"
        not in there(httpx.Request("GET", "http://gpu.example", headers=lent)).headers
    )
    own = {"Authorization": "Bearer of-the-cloud"}
    assert there(httpx.Request("GET", "http://gpu.example", headers=own)).headers.items() >= {
        ("authorization", "Bearer of-the-cloud")
    }
    # What the reader has set stays.
    monkeypatch.setenv("OLLAMA_API_KEY", "of-the-cloud")
    access.lend_key(host)
    slmlab.stop()
    assert os.environ["OLLAMA_API_KEY"] == "of-the-cloud"

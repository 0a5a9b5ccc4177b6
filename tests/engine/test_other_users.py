"""Two users on one machine: what the one listens to, the other must not take for its own."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import time

import httpx
import ollama
import pytest

import slmlab
from slmlab.engines import access, find, launch, server, supervisor
from slmlab.engines.client import client_kwargs
from slmlab.errors import ServerError
from tests.support.engines import SMOL, engine_process
from tests.support.other_user import OTHER, needs_root, other_server
from tests.support.processes import free_port

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


def test_it_is_used_where_the_reader_names_it(default_port, monkeypatch):
    with other_server(default_port) as other:
        assert slmlab.server.host() == other.url
        monkeypatch.setenv("OLLAMA_HOST", other.url)
        assert slmlab.status().version == "0.33.0"
        assert slmlab.start(quiet=True).host == other.url
        assert {one["path"] for one in other.end()} == {"/api/version"}


def test_a_server_of_root_or_of_this_user_is_used(default_port, embedded, monkeypatch):
    """Those of the tests are: they run as root here."""
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
        with httpx.Client(trust_env=False) as bare:
            bare.get(other.url, headers={"Authorization": "Bearer cloud-key"})  # it would tell
        requests = [one for one in other.end() if one["path"] != "/api/version"]
    told = ["cloud-key" in str(one) for one in requests]
    assert told == [False, False, True]


def test_sockets_and_their_users():
    port = free_port()
    with other_server(port) as other:
        for address in (other.url, f"http://localhost:{port}"):
            assert access.other_user_at(address) == OTHER
        assert access.listeners(f"http://127.0.0.2:{port}") == set()
        here = [*access._ask_kernel(socket.AF_INET), *access._ask_kernel(socket.AF_INET6)]
        for found in (here, [*access._read_tables()]):
            uid = pwd.getpwnam(OTHER).pw_uid
            assert [one for one in found if one[1] == port] == [(LOOPBACK, port, uid)]


def test_a_request_waits_for_the_check_only_a_moment(default_port):
    """A tenth of a millisecond here, where a first token takes fifty."""
    with other_server(default_port) as other:
        access.choose(other.url)
        started = time.perf_counter()
        assert all(access.owner_to_distrust(other.url) == OTHER for _ in range(50))
        assert time.perf_counter() - started < 50 * 0.005


def test_a_socket_that_takes_all_addresses():
    port = free_port()
    with other_server(port, "0.0.0.0"):
        assert access.other_user_at(f"http://127.0.0.2:{port}") == OTHER

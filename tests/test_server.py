"""Starting, finding, losing and stopping servers: real processes, real faults."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import answers, free_port, wait_for

import slmlab
from slmlab.engines import ollama_install, server, supervisor
from slmlab.engines.address import configured_host
from slmlab.engines.client import ask_version
from slmlab.errors import InstallError, ServerError


@pytest.fixture(params=["embedded", pytest.param("ollama", marks=pytest.mark.ollama)])
def kind(request, lab, monkeypatch):
    """Each engine in turn; the real Ollama is on PATH for its turn."""
    if request.param == "ollama":
        release = request.getfixturevalue("ollama_release")
        monkeypatch.setenv("PATH", f"{release / 'bin'}:{os.environ['PATH']}")
    return request.param


def keeper_of(host: str) -> psutil.Process:
    (state,) = [one for one in supervisor.states() if one["host"] == host]
    return psutil.Process(state["pid"])


def child_of(host: str) -> psutil.Process:
    """The server's own process. The wrapper script of the real Ollama execs, so it is that too."""
    return wait_for(lambda: keeper_of(host).children(), 10, "the keeper's child")[0]


@pytest.mark.slow
class TestLife:
    def test_start_status_stop(self, kind, lab):
        assert server.status() is None
        started = slmlab.start(kind, quiet=True)
        assert started.engine == kind
        assert started.ours
        assert started.host == f"http://{os.environ['OLLAMA_HOST'].removeprefix('http://')}"
        assert slmlab.status() == started
        child = child_of(started.host)
        assert slmlab.stop() == [started.host]
        assert server.status() is None
        assert not child.is_running()

    def test_a_second_start_uses_the_first(self, kind, lab):
        first = slmlab.start(kind, quiet=True)
        pid = child_of(first.host).pid
        assert slmlab.start(quiet=True) == first
        assert child_of(first.host).pid == pid

    def test_it_is_restarted_after_a_crash(self, kind, lab):
        host = slmlab.start(kind, quiet=True).host
        first = child_of(host)
        first.send_signal(signal.SIGKILL)
        wait_for(lambda: not first.is_running() and answers(host), 20, "the server to come back")
        assert child_of(host).pid != first.pid
        assert "ended with status -9" in supervisor.log_tail(host, 50)

    def test_a_cell_interrupt_does_not_reach_it(self, kind, lab):
        """A notebook's interrupt signals the kernel's whole process group."""
        code = f"""
            import slmlab, time
            slmlab.start({kind!r}, quiet=True)
            try:
                print("up", flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            time.sleep(2)
            print(slmlab.status() is not None, flush=True)
        """
        kernel = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert kernel.stdout.readline() == "up\n"
        os.killpg(kernel.pid, signal.SIGINT)
        assert kernel.communicate(timeout=30)[0] == "interrupted\nTrue\n"

    def test_it_goes_when_its_last_user_is_killed(self, lab):
        code = "import slmlab, time; slmlab.start('embedded', quiet=True); print('up', flush=True)"
        kernel = subprocess.Popen(
            [sys.executable, "-c", code + "; time.sleep(600)"], stdout=subprocess.PIPE, text=True
        )
        assert kernel.stdout.readline() == "up\n"
        host = server.host()
        watcher, child = keeper_of(host), child_of(host)
        kernel.kill()
        kernel.wait()
        time.sleep(2)
        assert answers(host), "a kernel that restarts finds its server again"
        gone = lambda: not child.is_running() and not watcher.is_running()  # noqa: E731
        wait_for(gone, supervisor.GRACE + 10, "the end")

    def test_it_goes_with_a_killed_keeper(self, kind, lab):
        host = slmlab.start(kind, quiet=True).host
        child = child_of(host)
        keeper_of(host).kill()
        wait_for(lambda: not child.is_running(), 15, "the server to end")
        assert slmlab.start(kind, quiet=True).host == host

    def test_another_program_on_the_port_is_left_alone(self, kind, lab):
        port = int(os.environ["OLLAMA_HOST"].rsplit(":", 1)[1])
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            started = slmlab.start(kind, quiet=True)
            assert started.host != f"http://127.0.0.1:{port}"
            assert os.environ["OLLAMA_HOST"] == started.host
            slmlab.stop()
            assert other.fileno() > 0


@pytest.mark.slow
def test_two_that_start_at_once_share_one_server(lab):
    code = "import slmlab; print(slmlab.start('embedded', quiet=True).host); input()"
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        assert len({one.stdout.readline() for one in starters}) == 1
        assert len(list(supervisor.states())) == 1
    finally:
        for one in starters:
            one.communicate("\n", timeout=10)


@pytest.mark.slow
def test_a_server_that_keeps_crashing_is_given_up_with_its_log(lab, monkeypatch):
    folder = lab / "servers/1"
    (folder / "users").mkdir(parents=True)
    supervisor.add_user(folder)
    crash = [sys.executable, "-c", "print('no luck', flush=True); raise SystemExit(3)"]
    (folder / "config.json").write_text(json.dumps({"command": crash, "env": {}}))
    done = subprocess.run(
        [sys.executable, "-m", "slmlab.engines.supervisor", str(folder)], timeout=60
    )
    assert done.returncode == 1
    log = (folder / "server.log").read_text()
    assert log.count("no luck") == supervisor.MAX_RESTARTS + 1
    assert "too many crashes" in log


def test_an_error_on_start_shows_the_log(lab, tmp_path, monkeypatch):
    broken = tmp_path / "bin/ollama"
    broken.parent.mkdir()
    broken.write_text(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'ollama version is 9.9.9' && exit\n"
        "echo 'no such library: libfoo' >&2; exit 4\n"
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with pytest.raises(ServerError, match="libfoo"):
        slmlab.start("ollama", quiet=True)
    assert not list(supervisor.states())


@pytest.mark.slow
def test_a_foreign_server_is_used_and_never_stopped(lab, embedded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    found = slmlab.start(quiet=True)
    assert (found.host, found.ours) == (embedded.url, False)
    assert slmlab.stop() == []
    assert answers(embedded.url)


class TestHost:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("", None),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("gpu-server", "http://gpu-server:11434"),
            ("http://gpu-server", "http://gpu-server:80"),
            ("https://gpu.example/ollama/", "https://gpu.example:443/ollama"),
            ('"127.0.0.1:5000"', "http://127.0.0.1:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            (":5000", "http://127.0.0.1:5000"),
        ],
    )
    def test_ollama_host_is_read_as_ollama_reads_it(self, monkeypatch, text, address):
        monkeypatch.setenv("OLLAMA_HOST", text)
        assert configured_host() == address

    @pytest.mark.parametrize("text", ["127.0.0.1:port", "ftp://x", "127.0.0.1:99999"])
    def test_nonsense_is_named(self, monkeypatch, text):
        monkeypatch.setenv("OLLAMA_HOST", text)
        with pytest.raises(ServerError, match="not an address"):
            server.host()

    def test_a_remote_server_that_is_silent_is_never_replaced(self, lab, monkeypatch):
        monkeypatch.setenv("OLLAMA_HOST", "http://slmlab.invalid:11434")
        with pytest.raises(
            ServerError, match=r"No server answers at OLLAMA_HOST=.*slmlab\.invalid"
        ):
            slmlab.start(quiet=True)
        assert not list(supervisor.states())

    @pytest.mark.slow
    def test_a_remote_server_of_another_engine_is_said_to_be_so(self, lab, embedded, monkeypatch):
        """A real server on this machine, taken for another machine's."""
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setattr(server, "is_local", lambda _: False)
        with pytest.raises(ServerError, match="not the ollama engine but embedded"):
            slmlab.start("ollama", quiet=True)
        found = slmlab.start(quiet=True)
        assert (found.engine, found.ours) == ("embedded", False)

    def test_an_unknown_engine(self, lab):
        with pytest.raises(ServerError, match="There is no engine 'olama'"):
            slmlab.start("olama", quiet=True)


def test_without_a_network_that_is_known_within_ten_seconds(lab):
    started = time.monotonic()
    with pytest.raises(InstallError, match="cannot be reached"):
        ollama_install.install(base_url="http://slmlab.invalid")
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_without_ollama_and_without_a_network_auto_is_embedded(lab, monkeypatch, capsys):
    def ensure(version: str | None, say) -> Path:
        return ollama_install.install(base_url="http://slmlab.invalid", say=say)

    monkeypatch.setattr(ollama_install, "ensure", ensure)
    assert slmlab.start().engine == "embedded"
    assert "slmlab.invalid cannot be reached. Going on with the embedded" in capsys.readouterr().out


def test_a_hung_server_is_a_sentence_and_not_a_hang(lab):
    """A program that accepts and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        accepted = threading.Thread(target=lambda: silent.accept(), daemon=True)
        accepted.start()
        started = time.monotonic()
        assert ask_version(address, timeout=1) is None
        assert time.monotonic() - started < 5


def test_the_folder_of_state_is_ours(lab: Path):
    assert supervisor.folder_of(f"http://127.0.0.1:{free_port()}").is_relative_to(lab)

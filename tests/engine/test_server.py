"""Starting, finding, losing and stopping servers: real processes, real faults."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

import slmlab
from slmlab import models
from slmlab.engines import find, ollama_install, server, supervisor
from slmlab.errors import (
    ServerError,
)
from tests.support.engines import SHALLOW, runners
from tests.support.processes import answers, wait_for


@pytest.fixture(params=["embedded", pytest.param("ollama", marks=pytest.mark.ollama)])
def kind(request, lab, monkeypatch):
    """Each engine in turn; the real Ollama is on PATH for its turn."""
    if request.param == "ollama":
        release = request.getfixturevalue("ollama_release")
        monkeypatch.setenv("PATH", f"{release / 'bin'}:{os.environ['PATH']}")
    return request.param


def supervisor_of(host: str) -> psutil.Process:
    (state,) = [one for one in supervisor.states() if one["host"] == host]
    return psutil.Process(state["pid"])


def child_of(host: str) -> psutil.Process:
    """The server's own process. The wrapper script of the real Ollama execs, so it is that too."""
    return wait_for(lambda: supervisor_of(host).children(), 60, "the supervisor's child")[0]


def listening(process: psutil.Process) -> set[str]:
    """The addresses at which a process and all its children listen."""
    return {
        connection.laddr.ip
        for one in [process, *process.children(recursive=True)]
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


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

    def test_it_listens_to_this_machine_only(self, kind, lab):
        started = slmlab.start(kind, quiet=True)
        child_of(started.host)
        assert listening(supervisor_of(started.host)) == {"127.0.0.1"}

    def test_a_models_process_listens_at_no_port(self, lab_with_models):
        started = slmlab.start("embedded", quiet=True)
        models.load(SHALLOW, 512)
        found = runners(started.host)  # the model's, and one that waits for the next model
        assert len(found) == 2
        assert not any(listening(one) for one in found)

    def test_a_second_start_uses_the_first(self, kind, lab):
        first = slmlab.start(kind, quiet=True)
        pid = child_of(first.host).pid
        assert slmlab.start(quiet=True) == first
        assert child_of(first.host).pid == pid

    def test_it_is_restarted_after_a_crash(self, kind, lab):
        host = slmlab.start(kind, quiet=True).host
        first = child_of(host)
        first.send_signal(signal.SIGKILL)
        wait_for(lambda: not first.is_running() and answers(host), 60, "the server to come back")
        assert child_of(host).pid != first.pid
        assert "ended with status -9" in supervisor.log_tail(host, 500)

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
        assert kernel.communicate(timeout=120)[0] == "interrupted\nTrue\n"

    def test_it_goes_when_its_last_user_is_killed(self, lab):
        grace = 6
        code = (
            "import slmlab, time; from slmlab.engines import supervisor; "
            f"supervisor.GRACE = {grace}; slmlab.start('embedded', quiet=True); "
            "print('up', flush=True)"
        )
        kernel = subprocess.Popen(
            [sys.executable, "-c", code + "; time.sleep(600)"], stdout=subprocess.PIPE, text=True
        )
        assert kernel.stdout.readline() == "up\n"
        host = server.host()
        watcher, child = supervisor_of(host), child_of(host)
        kernel.kill()
        kernel.wait()
        time.sleep(2)
        assert answers(host), "a kernel that restarts finds its server again"
        gone = lambda: not child.is_running() and not watcher.is_running()  # noqa: E731
        wait_for(gone, grace + 60, "the end")

    def test_it_goes_with_a_killed_supervisor(self, kind, lab):
        host = slmlab.start(kind, quiet=True).host
        child = child_of(host)
        supervisor_of(host).kill()
        wait_for(lambda: not child.is_running(), 60, "the server to end")
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
            one.communicate("\n", timeout=60)


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


def test_a_foreign_server_is_used_and_never_stopped(lab, embedded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    found = slmlab.start(quiet=True)
    assert (found.host, found.ours) == (embedded.url, False)
    assert slmlab.stop() == []
    assert answers(embedded.url)


class TestHost:
    def test_a_remote_server_of_another_engine_is_said_to_be_so(self, lab, embedded, monkeypatch):
        """A real server on this machine, treated as one on another machine."""
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setattr(find, "is_local", lambda _: False)
        with pytest.raises(ServerError, match="not the ollama engine but embedded"):
            slmlab.start("ollama", quiet=True)
        found = slmlab.start(quiet=True)
        assert (found.engine, found.ours) == ("embedded", False)


def test_without_ollama_and_without_a_network_auto_is_embedded(lab, monkeypatch, capsys):
    def ensure(version: str | None, say) -> Path:
        return ollama_install.install(base_url="http://slmlab.invalid", say=say)

    monkeypatch.setattr(ollama_install, "ensure", ensure)
    assert slmlab.start().engine == "embedded"
    said = capsys.readouterr().out
    assert "Ollama cannot be downloaded here: slmlab.invalid cannot be reached (" in said
    assert "Going on with the embedded" in said


def test_nothing_is_imported_from_the_current_folder(lab_with_models, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    books = tmp_path / "books"
    books.mkdir()
    for name in ("psutil", "filelock", "pip", "httpx", "xllamacpp"):
        (books / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})")
    monkeypatch.chdir(books)
    monkeypatch.setenv("SLMLAB_HOME", os.path.relpath(lab_with_models))
    server = slmlab.start("embedded", quiet=True)
    assert slmlab.generate(SHALLOW, "Hi", num_predict=1).tokens == 1
    family = psutil.Process(supervisor.state_at(server.host)["pid"])
    processes = family.children(recursive=True)
    assert len(processes) == 3, "the server, a model, and the process for the next"
    folder = supervisor.folder_of(server.host).resolve()
    for process in (family, *processes):
        assert Path(process.cwd()) == folder
    assert not mark.exists()
    private = [one for one in folder.rglob("*") if one.suffix != ".lock"]
    assert {one.name for one in private} >= {"state.json", "config.json", "server.log", "child.pid"}
    for one in private:
        assert not one.stat().st_mode & 0o077, one
    slmlab.stop()


def test_a_proxy_in_the_environment_never_catches_this_machine(lab_with_models, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        slmlab.start("embedded", quiet=True)
        frame = slmlab.compare(SHALLOW, ["Say A."], num_predict=2, quiet=True)
        assert frame["error"].isna().all()
        assert slmlab.ask(SHALLOW, "Say A.", num_predict=2).tokens == 2

"""The process that watches a server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import filelock
import psutil
import pytest

from slmlab.engines import supervisor
from slmlab.processes import start_time
from tests.support.processes import free_port, wait_for


class TestTime:
    def test_a_clock_that_jumps_ends_no_server(self, tmp_path, monkeypatch):
        """/proc as it is after somebody set the clock on by an hour: the boot moves with it."""
        supervisor.add_user(tmp_path)
        proc = tmp_path / "proc"
        proc.mkdir()
        for entry in Path("/proc").iterdir():
            if entry.name != "stat":
                (proc / entry.name).symlink_to(entry)
        lines = Path("/proc/stat").read_text().splitlines()
        moved = [
            f"btime {int(line.split()[1]) + 3600}" if line.startswith("btime") else line
            for line in lines
        ]
        (proc / "stat").write_text("\n".join(moved) + "\n")
        before = psutil.boot_time()
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
        assert psutil.boot_time() == before + 3600
        assert supervisor.has_users(tmp_path)


def test_the_folder_of_state_is_ours(lab: Path):
    assert supervisor.folder_of(f"http://127.0.0.1:{free_port()}").is_relative_to(lab)


@pytest.fixture
def ours(lab: Path) -> Iterator[int]:
    """The port of a server that slmlab started, as far as its folder says."""
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    folder = supervisor.folder_of(host)
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("it listens")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        state = {"host": host, "engine": "embedded"}
        state |= {"pid": process.pid, "start_time": start_time(process.pid)}
        supervisor.write_json(folder / "state.json", state)
        yield port
        process.kill()


class TestState:
    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_a_server_is_known_by_its_port_under_each_name_of_the_machine(self, name, ours):
        state = supervisor.state_at(f"http://{name}:{ours}")
        assert state["host"] == f"http://127.0.0.1:{ours}"
        assert supervisor.log_tail(f"http://{name}:{ours}") == "it listens"

    @pytest.mark.parametrize("last", ["", "llama.cpp: bye\n"])
    def test_what_a_server_wrote_before_it_was_stopped_is_shown_to_nobody(self, last, ours):
        address = f"http://127.0.0.1:{ours}"
        log = supervisor.folder_of(address) / "server.log"
        log.write_text("llama.cpp: loading\n[supervisor] stopping the server\n" + last)
        assert supervisor.log_tail(address) == ""
        log.write_text("llama.cpp: loading\n[supervisor] the server ended with status 1\n" + last)
        assert "status 1" in supervisor.log_tail(address)

    def test_of_a_long_log_the_end_is_shown(self, ours):
        address = f"http://127.0.0.1:{ours}"
        lines = [f"line {number}" for number in range(40)]
        (supervisor.folder_of(address) / "server.log").write_text("\n".join(lines))
        assert supervisor.log_tail(address, lines=2) == "line 38\nline 39"

    @pytest.mark.parametrize("address", ["http://gpu-server", "https://localhost", "http://[::1]"])
    def test_a_server_elsewhere_on_the_same_port_is_another(self, address, ours):
        assert supervisor.state_at(f"{address}:{ours}") is None
        assert supervisor.log_tail(f"{address}:{ours}") == ""

    @pytest.mark.parametrize("text", ["", "{}", "null", '{"pid": "x"}', '{"pid": 1}'])
    def test_half_a_state_is_none(self, text, ours):
        address = f"http://127.0.0.1:{ours}"
        (supervisor.folder_of(address) / "state.json").write_text(text)
        assert supervisor.state_at(address) is None
        assert not list(supervisor.states())

    def test_the_state_of_a_supervisor_that_ended_is_none(self, ours):
        address = f"http://127.0.0.1:{ours}"
        process = psutil.Process(supervisor.state_at(address)["pid"])
        process.kill()
        wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, 10, "it to end")
        assert supervisor.state_at(address) is None, "although its parent took no note of it"

    def test_what_another_user_wrote_is_not_taken_for_ours(self, ours, monkeypatch):
        address = f"http://127.0.0.1:{ours}"
        with monkeypatch.context() as as_another:
            as_another.setattr(supervisor.os, "geteuid", lambda: os.getuid() + 1)
            assert supervisor.state_at(address) is None
        assert supervisor.state_at(address)


class TestLastUser:
    """Between the last look at the users and the server's end somebody may begin to use it."""

    def test_a_new_user_keeps_it_and_may_go_on_to_start(self, tmp_path):
        folder = tmp_path / "5000"
        supervisor.add_user(folder)
        with contextlib.ExitStack() as ending:
            assert not supervisor._lock_out_new_users(folder, ending)
            with supervisor.exclusive(tmp_path / supervisor.START_LOCK, timeout=0):
                pass

    def test_without_one_nobody_can_start_until_it_is_gone(self, tmp_path):
        folder = tmp_path / "5000"
        folder.mkdir()
        lock = supervisor.exclusive(tmp_path / supervisor.START_LOCK, timeout=0)
        with contextlib.ExitStack() as ending:
            assert supervisor._lock_out_new_users(folder, ending)
            with pytest.raises(filelock.Timeout), lock:
                pass


class TestCrashes:
    @pytest.mark.parametrize(("lasts", "restarted"), [(0.5, False), (60.0, True)])
    def test_those_of_a_server_that_ran_well_before_are_not_added_up(
        self, tmp_path, monkeypatch, lasts, restarted
    ):
        """A server that answers, ends after so many seconds, and is used until its tenth start."""
        now, starts = [0.0], []

        class Child:
            pid, returncode = os.getpid(), 1

            def __init__(self):
                starts.append(now[0])

            def poll(self):
                return 1 if now[0] - starts[-1] > lasts else None

            def wait(self):
                return 1

        def sleep(seconds):
            now[0] += seconds

        clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
        monkeypatch.setattr(supervisor, "time", clock)
        monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
        monkeypatch.setattr(supervisor, "_listens", lambda port: True)
        monkeypatch.setattr(supervisor, "_start_child", lambda config, log: Child())
        monkeypatch.setattr(supervisor, "has_users", lambda folder: len(starts) < 10)
        monkeypatch.setattr(supervisor, "end_tree", lambda process: None)
        folder = tmp_path / "5000"
        folder.mkdir()
        log = io.BytesIO()
        status = supervisor._run(folder, {"grace": 0.1}, log)
        assert ("too many crashes" in log.getvalue().decode()) is not restarted
        assert (status, len(starts)) == ((0, 10) if restarted else (1, supervisor.MAX_RESTARTS + 1))


class TestSupervise:
    """What the process does before it would start a server."""

    @pytest.fixture
    def folder(self, lab: Path) -> Path:
        folder = lab / "servers" / str(free_port())
        folder.mkdir(parents=True)
        started = "from pathlib import Path; Path('started').touch()"
        config = {"command": [sys.executable, "-c", started], "env": {}, "grace": 0.1}
        supervisor.write_json(folder / "config.json", config)
        return folder

    def supervise(self, folder: Path) -> int:
        command = [sys.executable, "-m", "slmlab.engines.supervisor", str(folder)]
        return subprocess.run(command, cwd=folder, timeout=60).returncode

    def test_without_a_user_it_starts_nothing(self, folder):
        assert self.supervise(folder) == 0
        assert not (folder / "started").exists()
        assert not (folder / "state.json").exists()
        assert "has ended; not starting it" in (folder / "server.log").read_text()

    def test_beside_another_supervisor_it_starts_nothing(self, folder):
        supervisor.add_user(folder)
        (folder / "server.log").write_text("of the other one")
        with filelock.FileLock(folder / supervisor.LOCK):
            assert self.supervise(folder) == 0
        assert not (folder / "started").exists()
        assert (folder / "server.log").read_text() == "of the other one"

    def test_it_says_who_it_is_before_it_starts_the_server(self, folder):
        supervisor.add_user(folder)
        look = "import shutil, time; shutil.copy('state.json', 'seen.json'); "
        look += "shutil.rmtree('users'); time.sleep(60)"
        config = {"engine": "ollama", "command": [sys.executable, "-c", look], "env": {}}
        supervisor.write_json(folder / "config.json", config | {"grace": 0.1})
        assert self.supervise(folder) == 0
        assert "the server had no users for 0.1 s" in (folder / "server.log").read_text()
        seen = json.loads((folder / "seen.json").read_text())
        assert (seen["host"], seen["engine"]) == (f"http://127.0.0.1:{folder.name}", "ollama")

    def test_a_program_that_is_not_there_is_named_in_the_log(self, folder):
        supervisor.add_user(folder)
        config = {"command": [str(folder / "no-ollama"), "serve"], "env": {}}
        supervisor.write_json(folder / "config.json", config)
        assert self.supervise(folder) == 1
        assert "no-ollama: [Errno 2] No such file" in (folder / "server.log").read_text()

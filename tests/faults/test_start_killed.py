"""``slmlab.start()`` in a process that is killed at each of its milestones, and beside others.

The starting process is watched, and killed when it has just reached a milestone: never after a
number of seconds, in which a busy machine comes less far.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import slmlab
from slmlab.engines import find, supervisor
from slmlab.errors import ServerError
from tests.support.engines import engines_of
from tests.support.processes import answers, free_port, wait_for

GRACE = 1.0
START = f"""
from slmlab.engines import supervisor
supervisor.GRACE = {GRACE}
import slmlab
print("ready", flush=True)
input()
print(slmlab.start("embedded", quiet=True).host, flush=True)
input()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


class Starter:
    """A process that is about to call ``slmlab.start()``, and calls it when it is told to."""

    def __init__(self, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def folder() -> Path:
    """The folder of the server at the address that ``OLLAMA_HOST`` names."""
    return supervisor.folder_of(f"http://{os.environ['OLLAMA_HOST'].removeprefix('http://')}")


def supervisors_of(home: Path) -> list[psutil.Process]:
    """The supervisors of the servers of this SLMLAB_HOME."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        _, *command = one.info["cmdline"] or [""]
        if command[:2] == ["-m", "slmlab.engines.supervisor"]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if Path(command[2]).is_relative_to(home):
                    found.append(one)
    return found


def reached(milestone: Callable[[Path, subprocess.Popen], object], starter: Starter) -> None:
    """Return as soon as the milestone is reached, while ``start()`` has not returned."""
    where, deadline = folder(), time.monotonic() + 60
    while not milestone(where, starter.process):
        assert time.monotonic() < deadline
        assert starter.process.poll() is None, starter.process.stderr.read()
        time.sleep(0.001)  # the processor is for the one that starts


def supervisor_of(starter: subprocess.Popen) -> list[psutil.Process]:
    """The supervisor that this process has started, as soon as it is one."""
    children = psutil.Process(starter.pid).children()
    return [one for one in children if "slmlab.engines.supervisor" in one.cmdline()]


MILESTONES: dict[str, Callable[[Path, subprocess.Popen], object]] = {
    "the folder": lambda where, _: where.exists(),
    "the folder's lock": lambda where, _: (where / supervisor.LOCK).exists(),
    "what to start": lambda where, _: (where / "config.json").exists(),
    "its user": lambda where, starter: (where / "users" / str(starter.pid)).exists(),
    "the supervisor": lambda _, starter: supervisor_of(starter),
    "the supervisor's state": lambda where, _: (where / "state.json").exists(),
    "the server": lambda where, _: (where / "child.pid").exists(),
    "the port": lambda where, _: listens(int(where.name)),
    "an answer": lambda where, _: answers(f"http://127.0.0.1:{where.name}"),
}


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(supervisor, "GRACE", GRACE)


def one_server_that_is_ours(home: Path) -> None:
    """One server and one supervisor, which stay while we live, and which stop() ends."""
    host = slmlab.start("embedded", quiet=True).host
    assert slmlab.status().ours
    (state,) = supervisor.states()
    assert (state["host"], [state["pid"]]) == (host, [one.pid for one in supervisors_of(home)])
    (engine,) = engines_of(home)
    assert engine.ppid() == state["pid"]
    time.sleep(GRACE + 1.5)
    assert answers(host), "this process is one of its users"
    assert [one.pid for one in engines_of(home)] == [engine.pid], "never ended, never doubled"
    assert [one.pid for one in supervisors_of(home)] == [state["pid"]]
    assert slmlab.stop() == [host]
    assert not engines_of(home)
    assert not supervisors_of(home)


@pytest.mark.parametrize("milestone", MILESTONES)
def test_the_next_start_has_the_one_server(milestone, lab, short_grace):
    starter = Starter()
    starter.start()
    reached(MILESTONES[milestone], starter)
    starter.kill()
    one_server_that_is_ours(lab)


@pytest.mark.parametrize("milestone", ["the supervisor", "the server", "the port"])
def test_the_next_start_after_an_interrupt(milestone, lab, short_grace):
    """Ctrl-C at the terminal, which also ends the process: what it started goes with it."""
    starter = Starter()
    starter.start()
    reached(MILESTONES[milestone], starter)
    starter.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in starter.process.communicate(timeout=60)[1]
    wait_for(lambda: not engines_of(lab), GRACE + 20, "the server to end")
    wait_for(lambda: not supervisors_of(lab), 20, "the supervisor to end")
    one_server_that_is_ours(lab)


class TestALateSupervisor:
    """A supervisor whose ``start()`` was killed, and which goes on only after the next one."""

    def late(self) -> psutil.Process:
        starter = Starter()
        starter.start()
        reached(lambda _, process: supervisor_of(process), starter)
        (late,) = supervisor_of(starter.process)
        late.suspend()
        assert not (folder() / "state.json").exists()
        starter.kill()
        return late

    def test_it_leaves_its_folder_to_the_one_that_is_there(self, lab, short_grace):
        late = self.late()
        host = slmlab.start("embedded", quiet=True).host
        (engine,) = engines_of(lab)
        late.resume()
        wait_for(lambda: not late.is_running(), 20, "the late supervisor to end")
        assert engines_of(lab) == [engine]
        assert [state["host"] for state in supervisor.states()] == [host]
        one_server_that_is_ours(lab)

    def test_it_starts_nothing_for_nobody(self, lab, short_grace, monkeypatch):
        """The next start() is at another address, so nothing in the folder stops the late one."""
        late, where = self.late(), folder()
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
        slmlab.start("embedded", quiet=True)
        late.resume()
        wait_for(lambda: not late.is_running(), 20, "the late supervisor to end")
        assert not (where / "child.pid").exists()
        one_server_that_is_ours(lab)


class TestTogether:
    def test_two_that_start_at_once(self, lab, short_grace):
        starters = [Starter(), Starter()]
        for one in starters:
            one.start()
        hosts = {one.process.stdout.readline() for one in starters}
        assert hosts == {f"http://127.0.0.1:{folder().name}\n"}
        assert len(engines_of(lab)) == len(supervisors_of(lab)) == 1
        starters[0].kill()
        time.sleep(GRACE + 1.5)
        assert answers(hosts.pop().strip()), "the other one uses it"
        starters[1].kill()
        wait_for(lambda: not engines_of(lab), GRACE + 10, "the server to end")
        wait_for(lambda: not supervisors_of(lab), 10, "the supervisor to end")

    def test_one_is_killed_while_the_other_waits_for_it(self, lab, short_grace):
        first, second = Starter(), Starter()
        first.start()
        reached(MILESTONES["the server"], first)
        second.start()
        first.kill()
        host = second.process.stdout.readline().strip()
        assert len(engines_of(lab)) == len(supervisors_of(lab)) == 1
        time.sleep(GRACE + 1.5)
        assert answers(host)
        second.kill()

    @pytest.mark.parametrize("milestone", ["the supervisor's state", "the server", "the port"])
    def test_stop_while_another_process_starts(self, milestone, lab, short_grace):
        starter = Starter()
        starter.start()
        reached(MILESTONES[milestone], starter)
        slmlab.stop()
        printed, errors = starter.process.communicate("\n", timeout=60)
        assert printed.startswith("http://") or "ServerError: The server at" in errors
        wait_for(lambda: not supervisors_of(lab), 10, "the supervisor to end")
        assert not engines_of(lab)
        one_server_that_is_ours(lab)

    def test_start_while_another_process_stops(self, lab, short_grace):
        slmlab.start("embedded", quiet=True)
        (engine,) = engines_of(lab)
        engine.suspend()  # so that it takes its time to end
        stopping = threading.Thread(target=slmlab.stop)
        stopping.start()
        log = folder() / "server.log"
        wait_for(lambda: b"stopping the server" in log.read_bytes(), 10, "the stop to begin")
        second = Starter()
        second.start()
        host = second.process.stdout.readline().strip()
        stopping.join()
        assert not engine.is_running()
        assert answers(host)
        assert len(engines_of(lab)) == len(supervisors_of(lab)) == 1
        second.kill()

    def test_a_server_that_restarts_is_waited_for(self, lab, short_grace):
        """Between a crash and the restart nothing answers, and the port is free."""
        slmlab.start("embedded", quiet=True)
        (state,) = supervisor.states()
        (engine,) = engines_of(lab)
        engine.kill()
        second = Starter()
        second.start()
        assert second.process.stdout.readline().strip() == state["host"]
        assert [one["pid"] for one in supervisor.states()] == [state["pid"]]
        assert len(engines_of(lab)) == len(supervisors_of(lab)) == 1
        second.kill()


def test_a_server_that_hangs_is_a_sentence_and_not_a_second_one(lab, short_grace, monkeypatch):
    monkeypatch.setattr(find, "START_DEADLINE", 3.0)
    slmlab.start("embedded", quiet=True)
    (engine,) = engines_of(lab)
    engine.suspend()
    try:
        with pytest.raises(
            ServerError, match=r"did not answer within 3 s\. End it with slmlab\.stop"
        ):
            slmlab.start("embedded", quiet=True)
        assert engines_of(lab) == [engine]
    finally:
        engine.resume()


@pytest.mark.parametrize("name", ["localhost", "http://localhost", "127.0.0.1"])
def test_its_user_is_counted_by_whatever_name_it_came(name, lab, short_grace):
    port, starter = folder().name, Starter()
    starter.start()
    reached(MILESTONES["an answer"], starter)
    starter.process.stdout.readline()
    second = Starter(OLLAMA_HOST=f"{name}:{port}")
    second.start()
    host = second.process.stdout.readline().strip()
    assert host == f"http://{name.removeprefix('http://')}:{port}"
    starter.kill()
    time.sleep(GRACE + 1.5)
    assert answers(host)
    second.kill()


def test_one_that_has_ended_is_no_user_although_its_parent_took_no_note(lab):
    enter = "from slmlab.engines import supervisor; supervisor.add_user(supervisor.Path('.'))"
    with subprocess.Popen([sys.executable, "-c", enter], cwd=lab) as ended:
        zombie = psutil.Process(ended.pid)
        wait_for(lambda: zombie.status() == psutil.STATUS_ZOMBIE, 20, "it to end")
        assert (lab / "users" / str(ended.pid)).exists()
        assert not supervisor.has_users(lab)

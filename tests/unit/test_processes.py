"""Processes told apart and ended for certain; the processes here are real."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from slmlab import processes
from tests.support.processes import wait_for

# Deaf to a polite request; says so when it is.
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def start():
    """Starts programs, and ends them at the end."""
    started = []

    def run(*command: str, **more) -> subprocess.Popen:
        started.append(subprocess.Popen(command, **more))
        return started[-1]

    yield run
    for one in started:
        one.kill()
        one.communicate()


class TestIsSame:
    def test_a_process_is_itself(self):
        assert processes.is_same(os.getpid(), processes.start_time(os.getpid()))

    def test_another_one_with_the_same_number_is_not(self):
        start = processes.start_time(os.getpid())
        assert not processes.is_same(os.getpid(), start - 5)
        assert not processes.is_same(os.getpid(), start + 5)

    def test_one_that_has_ended_is_not(self, start):
        process = start("true")
        began = processes.start_time(process.pid)
        process.wait()
        assert not processes.is_same(process.pid, began)
        with pytest.raises(psutil.NoSuchProcess):
            processes.start_time(process.pid)

    def test_one_that_has_ended_and_is_not_waited_for_is_not(self, start):
        process = start("sleep", "60")
        began = processes.start_time(process.pid)
        assert processes.is_same(process.pid, began)
        process.kill()
        one = psutil.Process(process.pid)
        wait_for(lambda: one.status() == psutil.STATUS_ZOMBIE, 10, "its end")
        assert not processes.is_same(process.pid, began)

    @pytest.mark.skipif(not psutil.LINUX, reason="elsewhere psutil's own time holds")
    def test_the_clock_may_be_set(self, monkeypatch):
        start = processes.start_time(os.getpid())
        boot, created = psutil.boot_time(), psutil.Process().create_time()
        monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: created + 3600)
        assert processes.is_same(os.getpid(), start)


class TestEndTree:
    def test_children_end_too(self, start):
        shell = start("sh", "-c", "sleep 60 & sleep 60")
        parent = psutil.Process(shell.pid)
        children = wait_for(lambda: len(parent.children()) == 2 and parent.children(), 10)
        processes.end_tree(parent)
        assert not parent.is_running()
        assert not any(one.is_running() for one in children)

    def test_one_that_does_not_listen_is_killed(self, start):
        deaf = start(sys.executable, "-c", DEAF, stdout=subprocess.PIPE)
        assert deaf.stdout.readline() == b"deaf\n"
        one = psutil.Process(deaf.pid)
        processes.end_tree(one, patience=0.2)
        assert not one.is_running()

    def test_one_that_has_ended_is_no_error(self, start):
        process = start("sleep", "60")
        one = psutil.Process(process.pid)
        process.kill()
        process.wait()
        processes.end_tree(one)

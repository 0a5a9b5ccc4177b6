"""Kernels that are interrupted or killed while a widget answers."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from slmlab.evaluation import votes
from tests.support.engines import SHALLOW, SMOL, engines_of
from tests.support.faults import note, times
from tests.support.processes import wait_for


class TestKilledWidget:
    """A real kernel that is interrupted or killed while a widget answers, votes and saves."""

    # The cell writes down where it is, and a thread of it how far the answers have come.
    SHOW = """
import pathlib, threading, time
def reached(*moments):
    with pathlib.Path("moments").open("a") as file:
        print(*moments, file=file)
reached("cell")
import slmlab
slmlab.start("embedded", quiet=True)
reached("server")
lab = slmlab.side_by_side({names!r}, "Write a long story.", num_predict={tokens})
def watch(lab=lab):
    while lab.answers is None or lab.running:
        reached(*(one.state for one in getattr(lab.answers, 'answers', ())))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
lab.run()
"""
    MOMENTS = ("writing", "cell", "reading", "server")
    VOTE = """
from pathlib import Path
from slmlab import votes
vote = dict(voter="Bo", prompt="p", model_a="a", model_b="b", winner="a")
while True:
    votes.add_vote(Path("votes.jsonl"), **vote)
"""

    @pytest.mark.parametrize("how", ["interrupt", "kill"])
    @pytest.mark.parametrize("world", ["Jupyter", "Colab"])
    def test_the_next_run_picks_up(self, how, world, lab_with_models, tmp_path, monkeypatch):
        if world == "Colab":  # there the callback stays until the answers are there
            monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-test")
        show = self.SHOW.format(names=[SMOL, SHALLOW], tokens=2000)
        short = self.SHOW.format(names=[SMOL, SHALLOW], tokens=4)
        moments, n = tmp_path / "moments", times(1, 15)
        with kernel(tmp_path) as (manager, client):
            for moment in itertools.islice(itertools.cycle(self.MOMENTS), n):
                moments.write_text("")
                cell = client.execute(show)
                wait_for(lambda m=moment: m in moments.read_text(), 60, moment)
                if how == "kill":
                    manager.restart_kernel(now=True)
                    client.wait_for_ready(timeout=60)
                else:
                    manager.interrupt_kernel()
                    while client.get_shell_msg(timeout=120)["parent_header"]["msg_id"] != cell:
                        pass
                assert len(engines_of(lab_with_models)) <= 1
                ask_kernel(client, short)
                ask_kernel(client, "import time\nwhile lab.running: time.sleep(.05)")
                output = ask_kernel(client, "print([one.state for one in lab.answers.answers])")
                assert output == "['done', 'done']\n"
                assert len(engines_of(lab_with_models)) == 1
            client.execute(self.VOTE)
            file = tmp_path / "votes.jsonl"
            wait_for(lambda: file.exists() and file.stat().st_size > 10_000, 60, "votes")
            (manager.restart_kernel if how == "kill" else manager.interrupt_kernel)()
            client.wait_for_ready(timeout=60)
            assert len(votes.read_votes(file)) == file.read_bytes().count(b"\n")
        note(world=world, how=how, times=n + 1)


@contextlib.contextmanager
def kernel(folder: Path):
    """A Jupyter kernel of this environment, and the client that a front end is."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(folder))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def ask_kernel(client, code: str, timeout: float = 120) -> str:
    """What a cell prints; an error in it is this test's."""
    printed = []

    def take(message: dict) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=timeout, output_hook=take)
    if reply["content"]["status"] == "aborted":  # it came while an interrupted cell was ending
        reply = client.execute_interactive(code, timeout=timeout, output_hook=take)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)

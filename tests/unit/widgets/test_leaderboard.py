"""A teacher's view of the votes of a class."""

from __future__ import annotations

import asyncio
import threading

import pytest

import slmlab
from slmlab.errors import ResultsError
from slmlab.show import display
from slmlab.widgets import leaderboard as module
from slmlab.widgets.voting import Ballot


def test_it_shows_what_there_is_and_says_when_there_is_nothing(tmp_path):
    board = slmlab.leaderboard(tmp_path / "class")
    assert "No vote in" in board.table.value
    assert str(board) == f"Leaderboard: 0 votes in {tmp_path / 'class'}."
    Ballot("Ada", tmp_path / "class").cast("Why?", "<b>x</b>", "y", "a")
    board.look()
    assert "&lt;b&gt;x" in board.table.value
    assert "too few votes" in board.static_html()
    assert str(board).startswith("Leaderboard: 1 vote in")
    with pytest.raises(ResultsError, match="There is no folder"):
        slmlab.leaderboard(tmp_path / "drive/class")


def test_what_cannot_be_read_is_named_and_the_rest_counts(tmp_path):
    Ballot("Ada", tmp_path).cast("Why?", "x", "y", "a")
    broken = tmp_path / "zoe.jsonl"
    broken.write_bytes(b"{}\n\xff\n")
    board = slmlab.leaderboard(tmp_path)
    assert "zoe.jsonl cannot be read" in board.table.value
    assert len(board.votes) == 1
    broken.write_text("{}\n")
    board.look()
    assert "zoe.jsonl, line 1 is not a vote" in board.table.value
    broken.unlink()
    board.look()
    assert "zoe" not in board.table.value


def test_it_follows_in_the_kernels_loop_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.01)
    monkeypatch.setattr(module, "unattended", lambda: False)
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    threads = threading.active_count()

    async def lesson() -> None:
        board = slmlab.leaderboard(tmp_path)
        came = asyncio.Event()
        board.table.observe(lambda _: came.set(), "value")
        assert board.following
        Ballot("Ada", tmp_path).cast("Why?", "x", "y", "a")
        await asyncio.wait_for(came.wait(), 10)
        assert "too few votes" in board.table.value
        board.stop()
        assert not board.following
        board.follow()
        assert board.following
        board.close()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(lesson())
    assert threading.active_count() == threads

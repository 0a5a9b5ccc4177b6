"""The folders of slmlab are for one user."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import slmlab
from slmlab import paths
from slmlab.engines import supervisor
from slmlab.errors import ResultsError, ServerError
from slmlab.evaluation import votes
from slmlab.processes import start_time
from slmlab.run import store
from tests.support.records import record

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights are POSIX's")
NOBODY = 65534


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """An account whose new files everybody may read and write, unless a program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_slmlab_keeps_is_for_its_user_only(tmp_path):
    store.RecordStore(paths.results()).add("0" * 64, record())
    (written,) = paths.results().iterdir()
    assert (mode(paths.home()), mode(paths.results()), mode(written)) == (0o700, 0o700, 0o600)
    vote = {"voter": "a", "prompt": "?", "model_a": "x", "model_b": "y", "winner": "a"}
    for folder, rights in ((paths.home(), 0o600), (tmp_path, 0o666)):
        votes.add_vote(folder / "votes.jsonl", **vote)
        assert mode(folder / "votes.jsonl") == rights, "elsewhere the reader's own settings count"
    supervisor.write_json(tmp_path / "state.json", {})
    supervisor.add_user(tmp_path)
    assert mode(tmp_path / "state.json") == mode(tmp_path / "users" / str(os.getpid())) == 0o600


def test_a_folder_elsewhere_is_made_as_usual(tmp_path):
    paths.make(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o777


def test_a_home_that_others_may_write_is_refused(capsys):
    paths.home().mkdir(mode=0o775)
    with pytest.raises(ServerError, match=r"others? .*may write into .*chmod go-w"):
        slmlab.start("embedded", quiet=True)
    with pytest.raises(ResultsError, match=r"may write into .*chmod go-w.*store=… another folder"):
        store.RecordStore(paths.results()).add("0" * 64, record())
    assert not [*paths.results().glob("*")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_home_or_a_state_of_another_user_is_refused():
    paths.make(paths.servers() / "11434")
    state = {"host": "http://127.0.0.1:11434", "engine": "embedded", "pid": os.getpid()}
    path = paths.servers() / "11434" / "state.json"
    supervisor.write_json(path, state | {"start_time": start_time(os.getpid())})
    assert [one["pid"] for one in supervisor.states()] == [os.getpid()]
    os.chown(path, NOBODY, NOBODY)
    assert [*supervisor.states()] == [], "or stop() would end a process that another user names"
    os.chown(paths.home(), NOBODY, NOBODY)
    with pytest.raises(ServerError, match=r"belongs to another user \(nobody\).*SLMLAB_HOME"):
        slmlab.start("embedded", quiet=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_turns_read_only_is_named_before_anything_runs():
    before = store.RecordStore(paths.results())
    before.add("0" * 64, record())
    for folder in (paths.results(), paths.home()):
        folder.chmod(0o500)
    try:
        with pytest.raises(ResultsError, match=r"cannot be written to .*Permission denied"):
            store.RecordStore(paths.results()).make_folder()
        assert set(before.find(["0" * 64])) == {"0" * 64}, "what was recorded can be read"
        with pytest.raises(ServerError, match=r"cannot start a server from its folder .*denied"):
            slmlab.start("embedded", quiet=True)
    finally:
        for folder in (paths.home(), paths.results()):
            folder.chmod(0o700)


def test_files_for_the_reader_are_not_written_through_links(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "table.json.part").symlink_to(tmp_path / "victim")
    (tmp_path / "table.json").symlink_to(tmp_path / "victim")
    store.write(tmp_path / "table.json", json.dumps([1]))
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "table.json").read_text() == "[1]"
    assert not (tmp_path / "table.json").is_symlink()
    (paths.home() / "results").mkdir(parents=True)
    (paths.home() / "results" / "records").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        store.append(paths.home() / "results" / "records", b"x")

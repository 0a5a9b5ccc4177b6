"""The record store: what was measured is found again, whatever else is in its folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slmlab.errors import ResultsError
from slmlab.run.options import full_options
from slmlab.run.store import RecordStore, append, key
from slmlab.run.target import Target
from tests.support.paths import ROOT
from tests.support.records import record


class TestStore:
    KEYS = tuple(letter * 64 for letter in "abc")

    def test_what_is_added_is_found(self, tmp_path):
        store = RecordStore(tmp_path / "new" / "folder")
        one, two = record(text="ö\u2028\x00"), record(prompt=[{"role": "user", "content": "x"}])
        store.add(self.KEYS[0], one)
        store.add(self.KEYS[1], two)
        found = RecordStore(tmp_path / "new" / "folder").find(self.KEYS)
        assert found == {self.KEYS[0]: one, self.KEYS[1]: two}

    def test_a_torn_last_line_is_passed_over(self, tmp_path):
        store = RecordStore(tmp_path)
        for name in self.KEYS:
            store.add(name, record(text="x" * 100))
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
        # Near each end of a line every length; elsewhere some.
        near = {end + by for end in ends for by in range(-20, 21)}
        for length in sorted({*range(0, len(whole), 37), *near} & {*range(len(whole))}):
            file.write_bytes(whole[:length])
            # A line without its newline may be whole or torn; either way no other is lost.
            found = len(RecordStore(tmp_path).find(self.KEYS))
            assert sum(end < length for end in ends) <= found
            assert found <= sum(end <= length for end in ends)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"\x00" * 100,
            b'{"key":"' + b"a" * 64 + b'","on":null,"record":[]}',
            b'{"key":"' + b"a" * 64 + b'","on":null,"record":{"model":1}}',
            b'{"key":"' + b"a" * 64 + b'","record":' + b"[" * 100_000,
            b"\xff" * 80,
        ],
        ids=["empty", "NULs", "a list", "too little", "deep", "not UTF-8"],
    )
    def test_foreign_lines_are_passed_over(self, tmp_path, line):
        (tmp_path / "x.jsonl").write_bytes(line + b"\n")
        RecordStore(tmp_path).add(self.KEYS[1], record())
        assert set(RecordStore(tmp_path).find(self.KEYS)) == {self.KEYS[1]}

    def test_times_count_only_where_they_were_measured(self, tmp_path, monkeypatch):
        store = RecordStore(tmp_path)
        store.add(self.KEYS[0], record())
        store.add(self.KEYS[1], record(in_flight=4))
        assert set(store.find(self.KEYS)) == set(self.KEYS[:2])
        assert set(store.find(self.KEYS, in_flight={1})) == {self.KEYS[0]}
        assert set(store.find(self.KEYS, in_flight={1, 4})) == set(self.KEYS[:2])
        assert store.find(self.KEYS, in_flight={2}) == {}
        monkeypatch.setattr("slmlab.run.store.machine_id", lambda: "another machine")
        assert store.find(self.KEYS, in_flight={1, 4}) == {}

    def test_everything_that_can_change_an_answer_changes_the_key(self):
        target = Target("h", "m", "ollama", "1", "d", False, None)
        options = full_options({})
        base = key(target, "x", options, False)
        assert base == key(replace(target, host="other", cold=True), "x", options, False)
        others = [
            key(replace(target, digest="e"), "x", options, False),
            key(replace(target, model="n"), "x", options, False),
            key(replace(target, engine="embedded"), "x", options, False),
            key(replace(target, engine_version="2"), "x", options, False),
            key(target, "y", options, False),
            key(target, "x", options, True),
            *[
                key(target, "x", options | {name: value + 1}, False)
                for name, value in options.items()
            ],
        ]
        assert len({base, *others}) == len(others) + 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
    def test_a_full_disk_is_a_sentence(self, tmp_path):
        store = RecordStore(tmp_path, Path("/dev/full"))
        with pytest.raises(ResultsError, match="No space left on device"):
            store.add(self.KEYS[0], record())

    def test_of_a_line_that_does_not_fit_nothing_stays(self, tmp_path):
        """Where the system takes a part of it, the next line would be joined to that."""
        resource = pytest.importorskip("resource")
        file = tmp_path / "x.jsonl"
        append(file, b"first\n")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        try:
            with pytest.raises(OSError, match="No space left"):
                append(file, b"second\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert file.read_bytes() == b"first\n"

    def test_two_writers_at_once(self, tmp_path):
        code = (
            "import pathlib, sys; sys.path.insert(0, sys.argv[2]);"
            "from tests.support.records import record; from slmlab.run.store import RecordStore;"
            "s = RecordStore(pathlib.Path(sys.argv[1]))\n"
            "for i in range(100): s.add(f'{sys.argv[3]}{i:063d}', record(text='y' * i * 60))"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path), ROOT, w]) for w in "ab"
        ]
        assert [writer.wait() for writer in writers] == [0, 0]
        names = [f"{w}{i:063d}" for w in "ab" for i in range(100)]
        assert len(RecordStore(tmp_path).find(names)) == 200

"""Disks that are full or read-only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import slmlab
from slmlab.errors import ResultsError, ServerError
from slmlab.evaluation import votes
from slmlab.run import results
from tests.support.disks import small_disk
from tests.support.engines import SHALLOW


class TestDisk:
    """Disks that really are full or read-only: file systems of a few kilobytes."""

    def test_records_and_exports(self, lab_with_models, tmp_path):
        slmlab.start("embedded", quiet=True)
        grid = {"num_predict": 4, "temperature": 0, "quiet": True, "timing": False}
        frame = slmlab.compare(SHALLOW, ["Say A.", "Say B."], **grid)
        with small_disk(tmp_path / "disk", "16k") as disk:
            results.to_csv(frame, disk / "old.csv")
            before = (disk / "old.csv").read_bytes()
            (disk / "ballast").write_bytes(b"x" * 4096)
            with pytest.raises(ResultsError, match="No space left on device"):
                slmlab.compare(SHALLOW, [f"Say {n}." for n in range(40)], store=disk / "s", **grid)
            big = frame.loc[[0] * 200]
            for write in (
                lambda: results.to_csv(big, disk / "old.csv"),
                lambda: results.to_json(big, disk / "new.json"),
                lambda: slmlab.report(frame, disk / "report.html"),
            ):
                with pytest.raises(ResultsError, match=r"bytes, and [\d,]+ are free"):
                    write()
            assert (disk / "old.csv").read_bytes() == before
            assert {path.name for path in disk.iterdir()} == {"old.csv", "ballast", "s"}
            cast, vote = [], {"voter": "Bo", "prompt": "p" * 99, "winner": "a"}
            vote |= {"model_a": "one", "model_b": "two"}
            with pytest.raises(ResultsError, match="No space left"):
                while len(cast) < 200:
                    cast.append(votes.add_vote(disk / "v.jsonl", **vote))
            assert len(votes.read_votes(disk / "v.jsonl")) == len(cast)

    def test_a_home_that_cannot_be_written(self, lab, tmp_path):
        with small_disk(tmp_path / "disk", "1m", "ro") as disk:
            os.environ["SLMLAB_HOME"] = str(disk / "home")
            with pytest.raises(ServerError, match="SLMLAB_HOME"):
                slmlab.start("embedded", quiet=True)
            done = subprocess.run(
                [sys.executable, "-m", "slmlab", "setup", "--engine", "embedded"],
                capture_output=True,
                text=True,
            )
            assert done.returncode != 0
            assert "Read-only file system" in done.stderr + done.stdout
            assert "Traceback" not in done.stderr + done.stdout
            os.environ["SLMLAB_HOME"] = str(lab)

    def test_a_home_that_is_full(self, lab, tmp_path):
        with small_disk(tmp_path / "disk", "16k") as disk:
            (disk / "ballast").write_bytes(b"x" * 16384)
            os.environ["SLMLAB_HOME"] = str(disk)
            with pytest.raises(ServerError, match="No space left"):
                slmlab.start("embedded", quiet=True)
            os.environ["SLMLAB_HOME"] = str(lab)

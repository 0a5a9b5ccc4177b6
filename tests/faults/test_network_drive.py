"""A home on a network drive."""

from __future__ import annotations

import os
import platform

import pytest

import slmlab
from slmlab import paths
from slmlab.engines import supervisor
from slmlab.errors import ResultsError
from slmlab.processes import end_tree
from tests.support import network_drive
from tests.support.engines import SHALLOW, engine_process, give_models
from tests.support.faults import FULL
from tests.support.records import stored


class TestNetworkDrive:
    """A home on a drive that is slow, knows no locks, and goes away."""

    @pytest.fixture
    def drive(self, lab_with_models, tmp_path, monkeypatch):
        behind, folder = tmp_path / "behind", tmp_path / "drive"
        give_models(lab_with_models, behind)
        try:
            with network_drive.mounted(folder, behind, 0.01) as process:
                monkeypatch.setenv("SLMLAB_HOME", str(folder))
                try:
                    yield process
                finally:
                    slmlab.stop()
        except OSError as why:
            if os.environ.get("CI"):
                pytest.fail(str(why))
            pytest.skip(str(why))

    def test_everything_works_there(self, drive):
        first = slmlab.start("embedded", quiet=True)
        assert slmlab.start("embedded", quiet=True) == first, "the same server, not a second one"
        grid = {"num_predict": 4, "quiet": True}
        frame = slmlab.compare(SHALLOW, ["Say A.", "Say B."], **grid)
        assert frame["error"].isna().all()
        seen = []
        slmlab.compare(SHALLOW, ["Say A.", "Say B."], on_cell=seen.append, **grid)
        assert not seen, "found again"
        assert paths.servers().name == platform.node(), "other machines have a folder of their own"

    @pytest.mark.parametrize("on_it", ["home", "store"])
    def test_a_drive_that_goes_away_in_the_middle(self, on_it, drive, tmp_path, monkeypatch):
        """Finished cells are in the table, and stored records stay stored."""
        if on_it == "store":
            monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "behind"))
        host = slmlab.start("embedded", quiet=True).host
        prompts = [f"Say {n}." for n in range(6)]

        def cut(cell) -> None:
            if cell.prompt == "Say 3.":
                drive.kill()
                drive.wait()

        grid = {"num_predict": 4, "quiet": True, "store": tmp_path / "drive/records"}
        if on_it == "home":  # the server's models are there too
            frame = slmlab.compare(SHALLOW, prompts, on_cell=cut, **grid)
            assert frame["error"].isna().tolist() == [True] * 3 + [False] * 3
            assert "the disk with the models failed" in frame["error"][5]
            assert slmlab.stop() == [], "nobody knows any more what was started"
            watcher = engine_process(host).parent()
            if FULL:  # it ends by itself, after its time of grace
                watcher.wait(supervisor.GRACE + 60)
            end_tree(watcher)
        else:
            with pytest.raises(ResultsError, match="cannot be written") as caught:
                slmlab.compare(SHALLOW, prompts, on_cell=cut, **grid)
            assert caught.value.frame["prompt"].tolist() == prompts[:4]
            with pytest.raises(ResultsError, match="cannot be read"):
                slmlab.compare(SHALLOW, prompts, **grid)
        assert stored(tmp_path / "behind/records") == 3

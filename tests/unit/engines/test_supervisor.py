"""The process that watches a server."""

from __future__ import annotations

from pathlib import Path

import psutil

from slmlab.engines import supervisor
from tests.support.processes import free_port


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

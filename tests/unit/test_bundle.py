"""What a bundle is made with."""

from __future__ import annotations

from slmlab import bundle


def test_pip_is_not_taken_from_the_current_folder(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    (tmp_path / "pip.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    bundle._run("pip --version", "pip cannot be run")
    assert not mark.exists()

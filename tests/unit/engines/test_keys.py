"""The file of an engine's key."""

from __future__ import annotations

import os
import stat

import pytest

from slmlab.engines import keys


def test_it_is_for_this_user_only(tmp_path):
    key = keys.new()
    assert len(key) >= 43 and key != keys.new()
    keys.write(tmp_path, key)
    assert keys.read(tmp_path) == key
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / keys.NAME).stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [keys.NAME]


@pytest.mark.skipif(os.name != "posix", reason="no links and owners")
def test_a_link_and_the_file_of_another_user_are_no_key(tmp_path):
    (tmp_path / "elsewhere").write_text("planted")
    (tmp_path / keys.NAME).symlink_to(tmp_path / "elsewhere")
    assert keys.read(tmp_path) is None
    keys.write(tmp_path, "own")  # takes the link's place
    assert (tmp_path / "elsewhere").read_text() == "planted"
    assert keys.read(tmp_path) == "own"
    if os.geteuid() == 0:
        os.chown(tmp_path / keys.NAME, 65534, -1)
        assert keys.read(tmp_path) is None


def test_none_and_one_that_is_no_text(tmp_path):
    assert keys.read(tmp_path / "nowhere") is None
    (tmp_path / keys.NAME).write_bytes(b"\xff\xfe")
    assert keys.read(tmp_path) is None

"""Dependencies with known holes."""

from __future__ import annotations

import re
import subprocess
import sys

import httpx
import pytest

from scripts import make_requirements


def test_no_dependency_has_a_known_hole():
    """``pip-audit`` over what is installed here; it asks PyPI, for which a mirror cannot answer."""
    try:
        httpx.get("https://pypi.org/pypi/httpx/0.28.1/json", timeout=5).raise_for_status()
    except httpx.HTTPError:
        pytest.skip("PyPI's list of vulnerabilities is out of reach")
    audit = "pip_audit --progress-spinner off --desc --local --skip-editable"
    done = subprocess.run([sys.executable, "-m", *audit.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_has_all_that_is_required_with_hashes():
    assert make_requirements.not_locked() == []
    entries = re.split(r"\n(?=\S)", make_requirements.LOCK.read_text("utf-8").rstrip())
    without = [one.split()[0] for one in entries if not re.search(r"--hash=sha256:\w{64}", one)]
    assert len(entries) > 200 and without == []


def test_what_is_not_locked_is_named(monkeypatch):
    monkeypatch.setattr(make_requirements, "locked", lambda: {"starlette": ["1.0.0"]})
    missing = make_requirements.not_locked()
    assert [one for one in missing if one.startswith("starlette>=")]
    assert [one for one in missing if one.startswith("uvloop>=")]

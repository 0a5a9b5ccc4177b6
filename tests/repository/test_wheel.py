"""What pip installs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import slmlab


def test_a_wheel_has_all_of_the_package(tmp_path):
    """What pip installs is what the repository has. Built aside: a build leaves files behind."""
    root = Path(slmlab.__file__).parent.parent
    source = tmp_path / "source"
    shutil.copytree(root / "slmlab", source / "slmlab")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(root / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("slmlab/")}
    assert packed == {
        str(path.relative_to(root))
        for path in (root / "slmlab").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

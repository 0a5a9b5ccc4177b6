"""Rules of this repository that a program can check."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import yaml

from tests.support.paths import ROOT


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_each_requirement_has_a_reason_and_a_floor():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r"[\w-]+>=[\d.]+(; [^#]+)? +# .+", line), line


def test_the_public_address_stands_in_one_place():
    """Whatever it is: pyproject.toml has it, and what scripts make from there (badges, cells)."""
    found = re.search(
        r'^Repository = "(https://[^"]+)"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    made = (".ipynb", "README.md")
    places = [path for path in git("grep", "-lF", found[1]).split() if not path.endswith(made)]
    assert places == ["pyproject.toml"]


def test_the_setup_helps():
    done = subprocess.run(
        ["bash", str(ROOT / "colab_setup.sh"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for word in ("--engine", "--models", "--no-demo", "--lab", "test", "--locked"):
        assert word in done.stdout


def test_the_setup_refuses_what_is_no_bundle_in_one_sentence(tmp_path):
    """Before, it went on to say that Python cannot make a virtual environment, or said nothing."""
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / "colab_setup.sh", clone)
    for folder, sentence in {
        "": "--from needs the folder of a bundle.",
        "nowhere": "--from needs the folder of a bundle; there is no folder nowhere.",
        ".": f"{tmp_path} is no bundle: `python -m slmlab bundle FOLDER` makes one, "
        "where there is a network.",
    }.items():
        done = subprocess.run(
            ["bash", "clone/colab_setup.sh", "--from", *filter(None, [folder])],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"colab_setup.sh: {sentence}\n"


def test_the_setup_refuses_a_bundle_for_another_python_in_one_sentence(tmp_path):
    """Before the environment is made, and where there is one already."""
    shutil.copy(ROOT / "colab_setup.sh", tmp_path)
    (tmp_path / "requirements-2.7-Plan9-mips.txt").touch()
    for sentence in (
        "has packages for none of this machine's Pythons, only requirements-2.7-Plan9-mips.txt.",
        "has no packages for the Python of .venv, only requirements-2.7-Plan9-mips.txt. If this "
        "machine has a Python for one of these, remove the folder .venv and run this again.",
    ):
        done = subprocess.run(
            ["bash", "colab_setup.sh", "--from", "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert done.stderr == f"colab_setup.sh: {tmp_path} {sentence}\n"
        (tmp_path / ".venv/bin").mkdir(parents=True, exist_ok=True)
        for name in ("python", "uv"):  # uv, so that it is not looked for
            (tmp_path / f".venv/bin/{name}").unlink(missing_ok=True)
            (tmp_path / f".venv/bin/{name}").symlink_to(sys.executable)


def test_the_setup_says_that_python_is_too_old(tmp_path):
    (tmp_path / "colab_setup.sh").write_bytes((ROOT / "colab_setup.sh").read_bytes())
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [tmp_path / "bash", "colab_setup.sh"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "colab_setup.sh: Python 3.10 or newer is needed; "
        "install it from https://www.python.org/downloads/.\n"
    )


def test_readme_and_ci_name_the_same_test_command():
    assert "\nbash colab_setup.sh test\n" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("bash colab_setup.sh test")


def test_each_promise_on_security_names_a_test_that_is_there():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named, file = 0, ""
    for path, name in re.findall(r"`([\w/]+\.py)?::(\w+)`", text):
        file = path or file
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {name}\(", source, re.MULTILINE), f"{file}::{name}"
        named += 1
    assert named > 30
    rows = [line for line in text.splitlines() if line.startswith("| ") and "::" not in line]
    assert len(rows) == 2, "but for the head of each table"


def test_ci_installs_what_is_locked_but_on_mondays():
    """All that installs packages checks hashes, or runs weekly to see what new releases break."""
    unlocked = []
    for path in (ROOT / ".github/workflows").iterdir():
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                lines = str(step.get("run", "")).splitlines()
                ways = [one for one in lines if "pip install" in one or "colab_setup" in one]
                safe = ("--require-hashes", "--no-deps", "--locked")
                if step.get("if") != "github.event_name == 'schedule'":
                    unlocked += [one for one in ways if not any(word in one for word in safe)]
    assert unlocked == []

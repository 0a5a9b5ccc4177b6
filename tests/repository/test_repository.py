"""Rules of the house that a program can check."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_style():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(ROOT)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_lower_rooms_never_import_upper_ones():
    """The contracts stand in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_shell_scripts_parse_and_help():
    for script in ("colab_setup.sh", ".ci/run"):
        subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    done = subprocess.run(
        ["bash", str(ROOT / "colab_setup.sh"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for word in ("--engine", "--models", "--no-demo", "--lab", "test"):
        assert word in done.stdout


def test_readme_and_ci_name_the_same_test_command():
    assert "\nbash colab_setup.sh test\n" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("bash colab_setup.sh test")


@pytest.mark.parametrize(
    "document",
    ["README.md", "SECURITY.md", "notebooks/README.md", *(f"docs/{one.name}" for one in DOCS)],
)
def test_links_lead_somewhere(document):
    path = ROOT / document
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link

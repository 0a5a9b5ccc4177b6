"""Rules of the house that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import GEMMA, SMOL

import slmlab
from slmlab.widgets.side_by_side import SideBySide

ROOT = Path(__file__).parent.parent
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
    places = [
        path
        for path in git("grep", "-l", "set_in_pyproject").split()
        if not path.endswith((".ipynb", "README.md")) and path != "tests/test_repository.py"
    ]
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


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/comparing.md", "docs/widgets.md"])
def test_its_code_runs(document, lab_with_models, monkeypatch):
    monkeypatch.chdir(lab_with_models)
    monkeypatch.setenv("SLMLAB_TOKENS", "8")
    monkeypatch.setenv("SLMLAB_ITEMS", "3")
    slmlab.start("embedded", quiet=True)
    known = {"slmlab": slmlab, "names": [SMOL, GEMMA]}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    # Clusters are for those who have one; Dask's is tested in test_compare.py.
    for block in [one for one in blocks if "executor=" not in one]:
        for line in ast.parse(block).body:
            exec(compile(ast.Module([line], []), document, "exec"), known)
            if isinstance(known.get("lab"), SideBySide) and not known["lab"].runs:
                known["lab"].run()


@pytest.mark.slow
def test_no_dependency_has_a_known_hole():
    """``pip-audit`` over what slmlab needs; it asks PyPI, for which a mirror cannot answer."""
    try:
        httpx.get("https://pypi.org/pypi/httpx/0.28.1/json", timeout=5).raise_for_status()
    except httpx.HTTPError:
        pytest.skip("PyPI's list of vulnerabilities is out of reach")
    audit = (sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--desc", "-r")
    done = subprocess.run([*audit, ROOT / "requirements.txt"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

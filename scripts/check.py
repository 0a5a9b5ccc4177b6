"""Run every check that needs no server and no model; exit 1 where one fails.

python scripts/check.py                  # all of them, about half a minute
python scripts/check.py types spelling   # only these
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


class Failed(Exception):
    """A check failed; the message says why."""


class Skipped(Exception):
    """A check could not run here; the message says why."""


def run(*command: str | Path) -> str:
    """Run a command in the repository's root; raises `Failed` with its output where it fails."""
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if done.returncode:
        raise Failed(done.stdout)
    return done.stdout


def program(name: str, optional: bool = False) -> str:
    """A program from this Python's environment, else from ``PATH``.

    Without it a check is skipped; in CI (where ``CI`` is set) it fails, unless it is optional.
    """
    beside = shutil.which(name, path=str(Path(PYTHON).parent))
    found = beside or shutil.which(name)
    if not found:
        problem = Skipped if optional or not os.environ.get("CI") else Failed
        raise problem(f"{name} is not installed")
    return found


def tracked(*patterns: str) -> list[Path]:
    """The files tracked by git, as paths from the repository's root."""
    return [Path(name) for name in run("git", "ls-files", "-z", *patterns).split("\0") if name]


def links() -> None:
    """Every relative link and picture of a document leads to a file."""
    wrong = [
        f"{document}: {link}"
        for document in tracked("*.md")
        for link in re.findall(
            r"\]\((?!https?:|mailto:)([^)#\s]+)", (ROOT / document).read_text("utf-8")
        )
        if not (ROOT / document.parent / link).exists()
    ]
    if wrong:
        raise Failed("\n".join(wrong))


def architecture() -> None:
    """The page on the architecture names every module, and none that is gone."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+)`", text)}
    modules = {path.stem for path in tracked("slmlab/*.py") if not path.stem.startswith("__")}
    if missing := modules - named:
        raise Failed(f"docs/architecture.md does not say what is in: {', '.join(sorted(missing))}.")
    for package, name in re.findall(r"`(\w+)/(?:[\w/]+/)?(\w+)`", text):
        if (ROOT / "slmlab" / package).is_dir() and name not in modules:
            raise Failed(f"docs/architecture.md names {package}/…/{name}, which is gone.")


def package() -> None:
    """The wheel and the source archive are built and accepted, and the wheel has all files."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "dist")
        for path in tracked():
            (source / path.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
        run(PYTHON, "-m", "build", "--no-isolation", "--outdir", built, source)
        run(PYTHON, "-m", "twine", "check", "--strict", *built.iterdir())
        (wheel,) = built.glob("*.whl")
        packed = zipfile.ZipFile(wheel).namelist()
        code = {name for name in packed if ".dist-info/" not in name}
        wanted = {path.as_posix() for path in tracked("slmlab")}
        if code != wanted:
            raise Failed(f"The wheel and slmlab/ differ in {sorted(code ^ wanted)}.")
        if not any(name.endswith(".dist-info/licenses/LICENSE") for name in packed):
            raise Failed("The wheel has no license.")


CHECKS: dict[str, Callable[[], object]] = {
    "style": lambda: run(PYTHON, "-m", "ruff", "check", "."),
    "format": lambda: run(PYTHON, "-m", "ruff", "format", "--check", "."),
    "layers": lambda: run(program("lint-imports")),
    "types": lambda: run(PYTHON, "-m", "mypy"),
    "spelling": lambda: run(program("typos")),
    "links": links,
    "architecture": architecture,
    "notebooks": lambda: run(PYTHON, "scripts/make_notebooks.py", "--check"),
    "requirements": lambda: run(PYTHON, "scripts/make_requirements.py", "--check"),
    "shell": lambda: [run("bash", "-n", path) for path in tracked("*.sh", ".ci/run")],
    "hooks": lambda: run(program("pre-commit"), "validate-config"),
    # The package index does not have it for every machine.
    "workflows": lambda: run(program("actionlint", optional=True), *tracked(".github/workflows/*")),
    "package": package,
}


def outcome(name: str) -> tuple[str, str, float]:
    """The result of a check (``ok``, ``FAILED`` or ``skipped``), its message, and its seconds."""
    start = time.perf_counter()
    try:
        CHECKS[name]()
        went, text = "ok", ""
    except Failed as error:
        went, text = "FAILED", str(error).strip()
    except Skipped as error:
        went, text = "skipped", str(error)
    return went, text, time.perf_counter() - start


def main() -> int:
    """Run the checks side by side and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    names = parser.parse_args().names or list(CHECKS)
    if unknown := set(names) - set(CHECKS):
        parser.error(f"no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    failures = {}
    with ThreadPoolExecutor() as pool:
        for name, (went, text, seconds) in zip(names, pool.map(outcome, names), strict=True):
            note = f"  {text}" if went == "skipped" else ""
            print(f"{name:<13}{went:<8}{seconds:5.1f} s{note}", flush=True)
            if went == "FAILED":
                failures[name] = text
    for name, text in failures.items():
        print(f"\n── {name} " + "─" * (70 - len(name)) + f"\n{text}")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())

"""Make requirements.txt and requirements.lock from pyproject.toml.

requirements.txt has the library and all that its notebooks need. requirements.lock has one version
and the hashes of all that [dev] needs, for every Python and system; CI installs it, and a bundle
takes its versions.

python scripts/make_requirements.py            # write requirements.txt
python scripts/make_requirements.py --lock     # write both, with today's newest versions
python scripts/make_requirements.py --check    # exit 1 if one of them is out of date
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
LISTS = ("dependencies", "embedded", "notebooks")
HEAD = """\
# Made from pyproject.toml by scripts/make_requirements.py.
# Floors are versions that were tested; nothing here moves a package that Colab pins.
"""


def requirements(name: str) -> dict[str, str]:
    """The requirements in one of pyproject.toml's lists, each with its reason."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^{name} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"""^ +["'](.+)["'], +# (.+)$""", block, re.MULTILINE))


def made() -> str:
    """The content that requirements.txt should have."""
    lines = {line: why for name in LISTS for line, why in requirements(name).items()}
    return HEAD + "".join(f"{line:<31} # {why}\n" for line, why in lines.items())


def locked() -> dict[str, list[str]]:
    """The versions in the lock file, by the name of the package: more than one with markers."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def not_locked() -> list[str]:
    """The requirements of pyproject.toml that no version in the lock file meets."""
    have = locked()
    wanted = [
        Requirement(line) for name in (*LISTS, "training", "dev") for line in requirements(name)
    ]
    return [
        str(one)
        for one in wanted
        if one.name != "slmlab"
        and not any(
            Version(version) in one.specifier
            for version in have.get(canonicalize_name(one.name), [])
        )
    ]


def lock() -> None:
    """Write the lock file."""
    command = (
        "uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --upgrade "
        "--generate-hashes --no-annotate --no-header --quiet --output-file requirements.lock"
    )
    subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, check=True)


def main() -> int:
    """Write the files, or check that they are up to date."""
    check = "--check" in sys.argv
    path = ROOT / "requirements.txt"
    if path.read_text(encoding="utf-8") != made():
        if check:
            print("requirements.txt is out of date; run python scripts/make_requirements.py")
            return 1
        path.write_text(made(), encoding="utf-8")
        print("requirements.txt: written")
    if "--lock" in sys.argv:
        lock()
        print("requirements.lock: written")
    if missing := not_locked():
        print(
            f"requirements.lock has no {', '.join(missing)}; run "
            "python scripts/make_requirements.py --lock"
        )
        return 1
    print("requirements.txt and requirements.lock are up to date")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

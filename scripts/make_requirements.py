"""Make requirements.txt from pyproject.toml: the library and all that its notebooks need.

python scripts/make_requirements.py            # write
python scripts/make_requirements.py --check    # exit 1 if the file is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = ("dependencies", "embedded", "notebooks")
HEAD = """\
# Made from pyproject.toml by scripts/make_requirements.py.
# Floors are versions that were tested; nothing here moves a package that Colab pins.
"""


def requirements(name: str) -> dict[str, str]:
    """What one of pyproject.toml's lists requires, each with its reason."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^{name} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"""^ +["'](.+)["'], +# (.+)$""", block, re.MULTILINE))


def made() -> str:
    """The file as it should be."""
    lines = {line: why for name in LISTS for line, why in requirements(name).items()}
    return HEAD + "".join(f"{line:<31} # {why}\n" for line, why in lines.items())


def main() -> int:
    """Write the file, or check that it is up to date."""
    path = ROOT / "requirements.txt"
    if path.read_text(encoding="utf-8") == made():
        print("requirements.txt is up to date")
        return 0
    if "--check" in sys.argv:
        print("requirements.txt is out of date; run python scripts/make_requirements.py")
        return 1
    path.write_text(made(), encoding="utf-8")
    print("requirements.txt: written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

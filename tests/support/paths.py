"""Where things are."""

from __future__ import annotations

from pathlib import Path

import platformdirs

ROOT = Path(__file__).parents[2]
CACHE = platformdirs.user_cache_path("slmlab-tests")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEACHERS = sorted((ROOT / "notebooks/teacher").glob("*.ipynb"))

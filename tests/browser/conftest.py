"""Front ends, opened once for all tests of a folder."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import browser
from tests.support.widgets import start


@pytest.fixture(scope="session")
def chromium():
    try:
        with browser.chromium() as one:
            yield one
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def lab(chromium, embedded, tmp_path_factory):
    with start("lab", sys.executable, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="module")
def classic(chromium, embedded, colab_python, tmp_path_factory):
    with start("classic", colab_python, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(params=["lab", "classic"])
def front(request):
    return request.getfixturevalue(request.param)

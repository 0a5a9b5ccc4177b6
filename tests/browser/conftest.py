"""Front ends, opened once for all tests of this folder."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import browser
from tests.support.widgets import start


@pytest.fixture(scope="package")
def chromium():
    """A browser for the tests of this folder.

    Its driver keeps an event loop running in this thread, so it is closed before the next folder,
    whose tests may need one of their own.
    """
    try:
        with browser.chromium() as one:
            yield one
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def lab(chromium, embedded, tmp_path_factory):
    with start("lab", sys.executable, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(scope="package")
def classic(chromium, embedded, colab_python, tmp_path_factory):
    with start("classic", colab_python, chromium, embedded, tmp_path_factory) as front:
        yield front


@pytest.fixture(params=["lab", "classic"])
def front(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def page(chromium):
    """A page of its own for each file of tests."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()

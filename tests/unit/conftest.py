"""What the tests without engines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.recording_server import RecordingServer


@pytest.fixture
def wire() -> Iterator[RecordingServer]:
    """A server with the models ``a:1b`` and ``b:1b`` that writes down what it is sent."""
    with RecordingServer("a:1b", "b:1b") as server:
        yield server

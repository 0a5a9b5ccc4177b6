"""What the tests without engines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.recording_server import RecordingServer

# A busy machine is no failure, and these tests run often: 25 examples of each property, in place
# of 100, unless a test asks for more.
settings.register_profile("unit", deadline=None, max_examples=25)
settings.load_profile("unit")


@pytest.fixture
def wire() -> Iterator[RecordingServer]:
    """A server with the models ``a:1b`` and ``b:1b`` that writes down what it is sent."""
    with RecordingServer("a:1b", "b:1b") as server:
        yield server

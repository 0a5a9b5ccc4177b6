"""Predictions of speed: from the memory's bandwidth, corrected by one measurement."""

from __future__ import annotations

import pytest

from slmlab.models import inventory, speed
from tests.support.recording_server import RecordingServer

MB = 10**6


@pytest.fixture(autouse=True)
def bandwidth(monkeypatch):
    """A machine that reads 10 GB a second; ``measured`` has each time that this was looked at."""
    measured = []
    monkeypatch.setattr(
        speed.hardware, "memory_bandwidth", lambda **_: measured.append(1) or 10_000 * MB
    )
    return measured


def test_bandwidth_over_size_and_looked_at_once(bandwidth):
    assert speed.predicted(500 * MB) == 20
    assert speed.predicted(1000 * MB) == 10
    assert bandwidth == [1]


def test_a_measurement_corrects_it_once():
    with RecordingServer("a:latest") as server:
        (model,) = inventory.installed(host=server.url)
        before = speed.predicted(model.size)
        speed.measure(model, server.url)
        asked = len(server.requests)
        speed.measure(model, server.url)
        assert len(server.requests) == asked
    known = speed._known()
    assert speed.predicted(model.size) == pytest.approx(before * known["share"])
    assert known["share"] != 1
    assert speed.predicted(model.size) == pytest.approx(2), "it wrote 2 tokens in a second"


def test_minutes_at_the_speed_of_the_last_download():
    assert speed.minutes(600 * MB) is None
    speed.downloaded(1 * MB, 0.001)  # too little to say anything
    assert speed.minutes(600 * MB) is None
    speed.downloaded(100 * MB, 10)
    assert speed.minutes(600 * MB) == 1


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"x": 1}'])
def test_a_damaged_note_is_written_anew(content):
    file = speed.paths.home() / "speed.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert speed.predicted(500 * MB) == 20
    assert speed._known()["bandwidth"] == 10_000 * MB

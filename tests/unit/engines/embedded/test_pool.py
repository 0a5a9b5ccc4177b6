"""How long models stay loaded."""

from __future__ import annotations

import pytest

from slmlab.engines.embedded.pool import parse_keep_alive


class TestStore:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [(None, 300), (10, 10), ("5m", 300), ("1h30m", 5400), ("90", 90), ("1.5s", 1.5), (0, 0)],
    )
    def test_keep_alive(self, value, seconds):
        assert parse_keep_alive(value) == seconds

    def test_keep_alive_for_ever_and_never(self):
        assert parse_keep_alive(-1) == parse_keep_alive("-1m") == float("inf")
        for nonsense in ("", "m", "5 m", "5x", "1m2", True):
            with pytest.raises(ValueError, match=r"invalid"):
                parse_keep_alive(nonsense)

"""Settings of hypothesis; ``TEST_EXAMPLES`` says how many examples are tried."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "25"))
MANY = settings(
    max_examples=EXAMPLES * 2,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

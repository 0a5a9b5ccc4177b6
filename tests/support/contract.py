"""What the contract tests share."""

from __future__ import annotations

import json

import httpx


def lines(response: httpx.Response) -> list[dict]:
    return [json.loads(line) for line in response.text.splitlines()]


SHORT = {"num_predict": 12, "temperature": 0, "seed": 1}

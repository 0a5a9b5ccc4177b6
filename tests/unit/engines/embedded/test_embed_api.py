from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from slmlab.engines.embedded import embed_api


async def answered(response) -> tuple[bytes, int]:
    """The body of a response, and how many turns another request got while it was written."""
    blocks, turns, done = [], 0, False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> dict:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict) -> None:
        blocks.append(message.get("body", b""))

    beside = asyncio.create_task(other())
    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    done = True
    await beside
    return b"".join(blocks), turns


@pytest.mark.parametrize("count", [0, 1, 64, 65, 128, 1000])
def test_vectors_are_the_same_in_one_piece_and_in_many(count):
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    fields = {"model": 'a "b" []', "total_duration": 5}
    body, _ = asyncio.run(answered(embed_api.json_of(fields, "embeddings", vectors)))
    read = json.loads(body)
    assert read.pop("embeddings") == [[pytest.approx(n) for n in row] for row in vectors.tolist()]
    assert read == fields


def test_objects_with_vectors_too():
    rows = [{"index": n, "embedding": np.ones(4, "<f4")} for n in range(100)]
    body, _ = asyncio.run(answered(embed_api.json_of({"object": "list"}, "data", rows)))
    expected = [{"index": n, "embedding": [1.0] * 4} for n in range(100)]
    assert json.loads(body) == {"object": "list", "data": expected}


def test_other_requests_get_their_turns_while_ten_thousand_vectors_are_written():
    vectors = np.ones((10_000, 384), np.float32)
    _, turns = asyncio.run(answered(embed_api.json_of({"model": "m"}, "embeddings", vectors)))
    assert turns > 10_000 // embed_api.TEXTS_AT_ONCE

"""What the engine says of models, without a process behind it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(("has_gpu", "said"), [(False, 0), (True, None)])
def test_memory_on_a_gpu_is_none_without_one_and_unknown_with_one(engine_run, llama, has_gpu, said):
    async def work(client, _):
        llama.has_gpu = has_gpu
        await client.post("/api/generate", json={"model": "chat", "prompt": "Hi", "stream": False})
        return (await client.get("/api/ps")).json()["models"]

    (loaded,) = engine_run(work)
    assert loaded.get("size_vram") == said
    assert loaded["size"] > 0

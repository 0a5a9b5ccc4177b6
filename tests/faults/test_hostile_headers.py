"""Model files whose structure is valid and whose values are not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmlab import memory
from slmlab.engines.embedded import routes
from slmlab.engines.embedded.engine import Engine
from slmlab.engines.embedded.gguf_header import GGUFError
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.kv_cache import CacheShape
from tests.support.faults import times

# The types of the format, by name: their number and how ``struct`` writes them.
SCALARS = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
BITS = {"u8": 8, "i8": 8, "u32": 32, "i32": 32, "u64": 64, "i64": 64}
# What a file of a small model says, and what slmlab reads of it.
FACTS: dict[str, tuple[str, Any]] = {
    "general.architecture": ("text", "llama"),
    "general.type": ("text", "model"),
    "general.license": ("text", "mit"),
    "general.file_type": ("u32", 15),
    "split.count": ("u32", 1),
    "llama.context_length": ("u32", 512),
    "llama.embedding_length": ("u32", 32),
    "llama.block_count": ("u32", 1),
    "llama.feed_forward_length": ("u32", 64),
    "llama.attention.head_count": ("u32", 2),
    "llama.attention.sliding_window": ("u32", 64),
    "llama.pooling_type": ("u32", 1),
    "tokenizer.ggml.model": ("text", "gpt2"),
    "tokenizer.ggml.tokens": ("texts", ["a", "b"]),
    "tokenizer.ggml.eos_token_id": ("u32", 1),
    "tokenizer.chat_template": ("text", "{{ messages }}"),
}


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(content)) + content


def value_of(kind: str, value: Any) -> bytes:
    """A value with its type before it."""
    if kind == "text":
        return struct.pack("<I", 8) + text(value)
    if kind == "texts":
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    if kind == "list":
        items = [value_of(*one) for one in value]
        inner = items[0][:4] if items else struct.pack("<I", 4)
        return (
            struct.pack("<I", 9)
            + inner
            + struct.pack("<Q", len(items))
            + b"".join(one[4:] for one in items)
        )
    number, code = SCALARS[kind]
    return struct.pack("<I" + code, number, value)


def gguf_file(path: Path, facts: dict[str, tuple[str, Any]]) -> Path:
    """A whole file with one tensor of 32 zeros."""
    pairs = b"".join(text(key) + value_of(*value) for key, value in facts.items())
    tensor = text("token_embd.weight") + struct.pack("<IQIQ", 1, 32, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(facts)) + pairs + tensor
    path.write_bytes(head + b"\0" * (-len(head) % 32 + 128))
    return path


def scalars() -> st.SearchStrategy[tuple[str, Any]]:
    kinds = [
        st.tuples(
            st.just(kind),
            st.integers(0, 2**bits - 1)
            if kind[0] == "u"
            else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1),
        )
        for kind, bits in BITS.items()
    ]
    kinds.append(st.tuples(st.just("f32"), st.floats(width=32)))
    kinds.append(st.tuples(st.just("f64"), st.floats()))
    kinds.append(st.tuples(st.just("bool"), st.booleans()))
    kinds.append(st.tuples(st.just("text"), st.text(max_size=20)))
    return st.one_of(kinds)


def values() -> st.SearchStrategy[tuple[str, Any]]:
    def of_one_kind(one: tuple[str, Any]) -> st.SearchStrategy[tuple[str, Any]]:
        return st.integers(0, 3).map(lambda count: ("list", [one] * count))

    lists = scalars().flatmap(of_one_kind)
    nested = st.lists(lists, max_size=2).map(lambda items: ("list", items))
    return scalars() | lists | nested


def check(path: Path, folder: Path) -> None:
    """The file is refused with a sentence, or its model can be stored, listed and described."""
    store = ModelStore(folder)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    store.add_blob(path, digest)
    try:
        model = store.create("fuzzed", digest)
    except GGUFError as error:
        assert len(str(error)) > 15
        return
    assert json.loads(json.dumps(store.get("fuzzed").metadata, allow_nan=False)) == model.metadata
    assert memory.pooling(model.metadata) >= 0
    CacheShape.from_metadata(model.metadata)
    assert memory.embedding_buffer(model.metadata, 512) >= 0
    assert memory.effective_context(4096, model.context_length) >= 1

    async def described() -> list[httpx.Response]:
        transport = httpx.ASGITransport(routes.app(Engine(store), key=None))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            shown = await client.post("/api/show", json={"model": "fuzzed"})
            return [shown, await client.get("/api/tags")]

    for answer in asyncio.run(described()):
        assert answer.status_code == 200, answer.text
        assert answer.json()
    store.delete("fuzzed")


def test_a_file_with_right_values_is_taken(tmp_path):
    """The unchanged file is accepted; else the tests below would prove nothing."""
    path = gguf_file(tmp_path / "x.gguf", FACTS)
    assert ModelStore(tmp_path / "s").create("x", _added(tmp_path, path)).quantization == "Q4_K_M"
    check(gguf_file(tmp_path / "y.gguf", FACTS), tmp_path / "other")


def _added(tmp_path: Path, path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ModelStore(tmp_path / "s").add_blob(path, digest)
    return digest


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("general.file_type", ("list", [("u32", 1)]), "whole number"),
        ("general.file_type", ("f32", float("nan")), "whole number"),
        ("general.file_type", ("text", "Q4"), "whole number"),
        ("llama.context_length", ("text", "many"), "whole number"),
        ("llama.pooling_type", ("text", "mean"), "whole number"),
        ("tokenizer.ggml.eos_token_id", ("list", []), "whole number"),
        ("general.architecture", ("list", [("text", "llama")]), "text"),
        ("tokenizer.chat_template", ("u32", 1), "text"),
        ("llama.rope.freq_base", ("f32", float("inf")), "finite"),
        ("llama.some_scale", ("list", [("f64", float("nan"))]), "finite"),
    ],
)
def test_the_engine_refuses_wrong_types_with_a_sentence(client, tmp_path, key, value, what):
    content = gguf_file(tmp_path / "x.gguf", FACTS | {key: value}).read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert client.post(f"/api/blobs/{digest}", content=content).status_code == 201
    body = {"model": "wrong", "files": {"x.gguf": digest}, "stream": False}
    answer = client.post("/api/create", json=body)
    assert answer.status_code == 400, answer.text
    assert what in answer.json()["error"]
    assert key in answer.json()["error"]


@settings(
    max_examples=times(60, 5000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changed=st.dictionaries(st.sampled_from(sorted(FACTS)), values(), max_size=3),
    more=st.dictionaries(st.text(max_size=12), values(), max_size=2),
)
def test_any_values_are_refused_or_work(tmp_path_factory, changed, more):
    folder = tmp_path_factory.mktemp("header")
    check(gguf_file(folder / "x.gguf", FACTS | changed | more), folder / "store")

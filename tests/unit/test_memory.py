"""The one formula for memory: many shapes, and all who ask get the same number of bytes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from slmlab import hardware, memory
from slmlab.devices import GPU
from slmlab.hardware import GIB
from slmlab.kv_cache import CacheShape
from slmlab.memory import OVERHEAD, memory_needed
from slmlab.models import catalog
from slmlab.models.fit import Fit, free_memory, will_it_fit
from tests.support.gguf_metadata import GEMMA, LLAMA, info, shape
from tests.support.recording_server import RecordingServer


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("OLLAMA_KV_CACHE_TYPE", "OLLAMA_NUM_PARALLEL"):
        monkeypatch.delenv(name, raising=False)


def test_all_that_is_needed():
    needed = memory_needed(10**9, shape(LLAMA), 4096, 4)
    assert needed == 10**9 + 4 * 4096 * 112 * 1024 + OVERHEAD
    assert memory_needed(10**9, None, 4096, 4) == 1_200_000_000


# Q4_0 files of random weights in the shape of models of 1, 3 and 7 billion parameters, and
# SmolLM2 135M in Q4_1, on Ollama 0.34.4 and an H100 (2026-11-26): layers, width, query and
# key-value heads, weights, tokens; then what /api/ps gave as size_vram, and by how much the
# GPU's free memory had fallen after an answer. All in MiB.
@pytest.mark.parametrize(
    ("layers", "width", "heads", "kv_heads", "weights", "tokens", "in_ps", "taken"),
    [
        (30, 576, 9, 3, 94, 512, 116, 725),
        (30, 576, 9, 3, 94, 8192, 313, 920),
        (16, 2048, 32, 8, 578, 4096, 768, 1376),
        (16, 2048, 32, 8, 578, 32768, 1784, 2390),
        (28, 3072, 24, 8, 1595, 4096, 2112, 2719),
        (28, 3072, 24, 8, 1595, 32768, 5374, 5959),
        (32, 4096, 32, 8, 3855, 4096, 4477, 5067),
        (32, 4096, 32, 8, 3855, 32768, 8229, 8841),
    ],
)
def test_what_a_gpu_was_seen_to_give(layers, width, heads, kv_heads, weights, tokens, in_ps, taken):
    of = CacheShape.from_layers(layers, kv_heads, width // heads)
    needed = memory_needed(weights * 2**20, of, tokens)
    assert needed == pytest.approx(in_ps * 2**20, abs=OVERHEAD)
    assert pytest.approx((taken - in_ps) * 2**20, abs=30 * 2**20) == memory.GPU_CONTEXT
    left = needed + memory.beside_a_model("H100's memory") - taken * 2**20
    assert left == pytest.approx(memory.GPU_LEFT_FREE, abs=OVERHEAD)
    assert memory.beside_a_model("memory") == 0


class TestParallel:
    def test_by_engine_and_by_the_environment(self, monkeypatch):
        assert memory.parallel_requests("embedded") == 4
        assert memory.parallel_requests("ollama") == 1
        monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "7")
        assert memory.parallel_requests("embedded") == memory.parallel_requests("ollama") == 7


class TestWhoAsks:
    """``will_it_fit`` and the engine's guard, each by its own road, over the same files."""

    FILES = (LLAMA, GEMMA, info("nothing"), LLAMA | {"llama.attention.head_count_kv": [0, 8] * 14})

    @pytest.mark.parametrize("known", FILES)
    @pytest.mark.parametrize("engine", ["embedded", "ollama"])
    def test_will_it_fit(self, known, engine, monkeypatch):
        from slmlab.models import fit

        monkeypatch.setattr(fit.inventory, "loaded", lambda **_: [])
        monkeypatch.setattr(fit.inventory, "resolve", lambda *_, **__: SimpleNamespace(size=10**9))
        monkeypatch.setattr(fit.inventory, "show", lambda *_, **__: {"modelinfo": known})
        monkeypatch.setattr(fit, "engine_of", lambda _: engine)
        found = fit.will_it_fit("m", 8192, host="http://127.0.0.1:1")
        parallel = {"embedded": 4, "ollama": 1}[engine]
        assert found.needed == memory_needed(10**9, CacheShape.from_metadata(known), 8192, parallel)
        assert found.weights + (found.kv_cache or 0) + found.overhead == found.needed
        for text in (str(found), repr(found), found._repr_html_()):
            assert "fits" in text or "does not fit" in text

    @pytest.mark.parametrize("known", FILES)
    @pytest.mark.parametrize("trained", [None, 2048])
    def test_the_engine_and_will_it_fit_ask_for_the_same(self, known, trained, monkeypatch):
        """The engine's own number is the one at which it begins to refuse."""
        from slmlab.engines.embedded import engine, pool
        from slmlab.models import fit

        model = SimpleNamespace(
            **{"name": "m", "blob": "b", "size": 10**9, "metadata": known, "digest": "d"},
            **{"context_length": trained, "projector": None},
        )
        with_length = known | {f"{known['general.architecture']}.context_length": trained}
        monkeypatch.setattr(fit.inventory, "loaded", lambda **_: [])
        monkeypatch.setattr(fit.inventory, "resolve", lambda *_, **__: SimpleNamespace(size=10**9))
        monkeypatch.setattr(fit.inventory, "show", lambda *_, **__: {"modelinfo": with_length})
        monkeypatch.setattr(fit, "engine_of", lambda _: "embedded")
        found = fit.will_it_fit("m", 8192, host="http://127.0.0.1:1")
        assert found.num_ctx == (trained or 8192)
        assert ("the most that it has" in str(found)) == bool(trained and found.kv_cache)

        store = SimpleNamespace(blob=lambda _: Path(__file__))

        async def load() -> None:
            async with engine.Engine(store).loaded(model, {"num_ctx": 8192}, 60):
                pass

        async def started(*_: object, **__: object) -> None:
            raise RuntimeError("started")

        monkeypatch.setattr(pool.asyncio, "create_subprocess_exec", started)
        for free, what in ((found.needed - 1, "more system memory"), (found.needed, "started")):
            monkeypatch.setattr(memory.hardware, "memory", lambda free=free: (2 * free, free))
            assert fit.will_it_fit("m", 8192, host="http://127.0.0.1:1").fits == (what == "started")
            with pytest.raises(Exception, match=what):
                asyncio.run(load())


class TestContext:
    @pytest.mark.parametrize(
        ("num_ctx", "trained", "length"),
        [
            (4096, 8192, 4096),
            (32768, 8192, 8192),
            (1, 8192, 4),
            (4096, None, 4096),
            (4096, "8192", 4096),
            (4096, True, 4096),
            (4096, -1, 4096),
            (4096, 0, 4096),
        ],
    )
    def test_no_more_than_the_model_was_trained_with(self, num_ctx, trained, length):
        assert memory.effective_context(num_ctx, trained) == length

    def test_the_catalogue_stops_there_too(self):
        row = catalog.table().set_index("name").loc["SmolLM2 135M"].to_dict()
        assert catalog.memory(row, 10**6) == catalog.memory(row, row["context"])


class TestFree:
    """The embedded engine runs on the processor, whatever GPU there is."""

    @pytest.fixture
    def with_gpus(self, monkeypatch):
        """This machine with 10 GiB of main memory free, and these GPUs."""

        def machine(*gpus):
            here = replace(hardware.machine(), gpus=gpus)
            monkeypatch.setattr(memory.hardware, "machine", lambda: here)
            monkeypatch.setattr(memory, "gpu_names", lambda: tuple(one.name for one in gpus))

        monkeypatch.setattr(memory.hardware, "memory", lambda: (12 * GIB, 10 * GIB))
        return machine

    def test_by_engine(self, with_gpus):
        with_gpus(GPU("T4", "NVIDIA", 15 * GIB, 14 * GIB))
        assert memory.free_for("embedded") == (10 * GIB, "memory")
        assert memory.room_for("embedded") == 10 * GIB
        assert memory.free_for("ollama") == (14 * GIB, "T4's memory")
        left = memory.GPU_CONTEXT + memory.GPU_LEFT_FREE
        assert memory.room_for("ollama") == 14 * GIB - left

    def test_by_gpu(self, with_gpus):
        for gpu, free in (
            (None, (10 * GIB, "memory")),
            (GPU("M3", "Apple", note="shares the machine's memory"), (10 * GIB, "memory")),
            (GPU("T4", "NVIDIA", 15 * GIB, 14 * GIB, usable=False), (10 * GIB, "memory")),
            (GPU("T4", "NVIDIA", 15 * GIB), (15 * GIB, "T4's memory")),
        ):
            with_gpus(*[gpu] if gpu else [])
            assert memory.free_for("ollama") == free
        with_gpus(GPU("T4", "NVIDIA", 15 * GIB, GIB))
        assert memory.room_for("ollama") == 0

    @pytest.mark.parametrize(("system", "gpus"), [("linux", ()), ("darwin", ("M3",))])
    def test_the_gpus_that_an_engine_uses(self, with_gpus, monkeypatch, system, gpus):
        monkeypatch.setattr(memory.sys, "platform", system)
        with_gpus(GPU("M3", "Apple"))
        assert memory.gpus_of("ollama") == ("M3",)
        assert memory.gpus_of("embedded") == gpus

    @pytest.mark.parametrize(("engine", "room"), [("embedded", 10.0), ("ollama", 14 - 1.5859375)])
    def test_the_server_that_answers_decides(self, with_gpus, engine, room):
        with_gpus(GPU("T4", "NVIDIA", 15 * GIB, 14 * GIB))
        with RecordingServer("a:latest", engine=engine) as server:
            assert free_memory(host=server.url) == room * GIB
            table = catalog.on_this_machine(host=server.url)
            table = table[table["memory"].notna()]
            assert ((table["memory"] <= room * GIB) == table["fits"]).all()
            assert table["tokens_per_s"].notna().any() == (engine == "embedded")
            assert will_it_fit("a", host=server.url).place == (
                "memory" if engine == "embedded" else "T4's memory"
            )

    def test_without_a_server_it_is_ollamas(self, with_gpus):
        with_gpus(GPU("T4", "NVIDIA", 15 * GIB, 14 * GIB))
        assert free_memory(host="http://127.0.0.1:9") == memory.room_for("ollama")


def test_a_fit_is_short_to_read_and_harmless_as_html():
    found = Fit("<m>", 8192, 4, 2**30, 2**29, 2**31, 2**30, "<b>GPU</b>'s memory")
    assert repr(found) == "<Fit: <m> does not fit, 2.0 GiB of 1.0 GiB>"
    page = found._repr_html_()
    assert "&lt;m&gt; does not fit" in page
    assert "512 MiB, 8,192 tokens × 4 at once" in page
    assert "<b>" not in page and "<m>" not in page


def test_the_catalogues_facts_of_a_model_are_those_of_its_file():
    row = catalog.table().set_index("name").loc["Gemma 3 270M"].to_dict()
    assert catalog.cache_shape(row) == shape(GEMMA)
    known = json.loads(catalog.FILE.read_text(encoding="utf-8"))["models"]
    windowed = {one["name"] for one in known if "sliding_window" in one["facts"]}
    assert windowed == {
        *("Gemma 2 2B", "Gemma 3 270M", "Gemma 3 1B", "Gemma 3 4B", "Gemma 4 E2B", "Gemma 4 E4B"),
        "Olmo 3 7B Instruct",
    }


def test_a_model_of_the_catalogue_is_here_under_its_own_name_only():
    here = ["llama3.2-vision:latest", "llama3.2:latest", "smollm2:135m-instruct-q4_1"]
    assert catalog._installed_as("llama3.2", here) == "llama3.2:latest"
    assert catalog._installed_as("llama3.2", here[:1]) is None
    assert catalog._installed_as("smollm2:135m", here) == "smollm2:135m-instruct-q4_1"
    assert catalog._installed_as("smollm2:1", here) is None
    assert catalog._installed_as(None, here) is None


class TestEmbedding:
    """What llama.cpp says in its log that it allocates to embed: compute buffers, in MiB."""

    MINILM = info(
        "bert",
        block_count=6,
        embedding_length=384,
        feed_forward_length=1536,
        pooling_type=1,
    )

    @pytest.mark.parametrize(("num_ctx", "logged"), [(256, 3.51), (512, 7.27)])
    def test_an_encoders_buffer_holds_a_text(self, num_ctx, logged):
        assert memory.batch_size(self.MINILM, num_ctx) == num_ctx
        needed = memory.embedding_buffer(self.MINILM, num_ctx) / 2**20
        assert logged <= needed < 1.5 * logged
        silent = {name: value for name, value in self.MINILM.items() if "pooling" not in name}
        assert memory.batch_size(silent, num_ctx) == num_ctx, "its tokens' mean is the default"

    @pytest.mark.parametrize(("pooling", "batch"), [(1, 2048), (3, memory.BATCH)])
    def test_one_that_could_write_has_a_row_over_its_vocabulary(self, pooling, batch):
        """1230.08 MiB with the mean of 2,048 tokens; of the last one, 512 are enough."""
        qwen = info("qwen2", block_count=24, embedding_length=896, feed_forward_length=4864)
        qwen |= {"qwen2.vocab_size": 151936, "qwen2.pooling_type": pooling}
        assert memory.batch_size(qwen, 2048) == batch
        expected = 1230.08 if pooling == 1 else 307.52
        assert memory.embedding_buffer(qwen, 2048) / 2**20 == pytest.approx(expected, rel=0.001)

    def test_others_need_none(self):
        assert memory.embedding_buffer(LLAMA, 4096) == 0
        assert memory.batch_size(LLAMA, 4096) == memory.BATCH
        assert memory.embedding_buffer({}, 4096) == 0
        assert memory.embedding_buffer(self.MINILM | {"bert.embedding_length": "x"}, 64) == 0

"""The one formula for memory: many shapes, and all who ask get the same number of bytes."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from slmlab import memory
from slmlab.memory import OVERHEAD, CacheShape, kv_cache_bytes, memory_needed
from slmlab.models import catalog
from slmlab.models.fit import Fit
from tests.support.gguf_metadata import GEMMA, LLAMA, info, shape


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("OLLAMA_KV_CACHE_TYPE", "OLLAMA_NUM_PARALLEL"):
        monkeypatch.delenv(name, raising=False)


class TestShapes:
    def test_all_layers_alike(self):
        assert shape(LLAMA) == CacheShape(28 * 8 * 2 * 128)
        # 112 KiB for each token.
        assert kv_cache_bytes(shape(LLAMA), 1024) == 1024 * 112 * 1024

    def test_the_head_size_comes_from_the_width_where_it_is_not_given(self):
        short = {name: v for name, v in LLAMA.items() if "_length" not in name or "embed" in name}
        assert shape(short) == shape(LLAMA)

    def test_without_kv_heads_all_heads_are_cached(self):
        del (rest := dict(LLAMA))["llama.attention.head_count_kv"]
        assert shape(rest).full == 28 * 24 * 2 * 128

    def test_keys_and_values_of_different_size(self):
        other = LLAMA | {"llama.attention.value_length": 64}
        assert shape(other).full == 28 * 8 * (128 + 64)

    def test_windows(self):
        assert shape(GEMMA) == CacheShape(3 * 512, 15 * 512, 512)
        plain = {name: value for name, value in GEMMA.items() if "window" not in name}
        assert kv_cache_bytes(shape(GEMMA), 32768) < kv_cache_bytes(shape(plain), 32768) / 4
        # A window of 512 and a batch of 512: up to 1024 tokens the window saves nothing.
        assert kv_cache_bytes(shape(GEMMA), 1024) == kv_cache_bytes(shape(plain), 1024)

    @pytest.mark.parametrize(
        ("pattern", "windowed"),
        [(3, 12), (0, 18), (1, 0), ([True, False] * 9, 9), ([1, 1, 0] * 6, 12)],
    )
    def test_a_pattern_of_windows_in_the_file_is_the_one_that_counts(self, pattern, windowed):
        known = GEMMA | {"gemma3.attention.sliding_window_pattern": pattern}
        assert shape(known).windowed == windowed * 512

    def test_windows_with_heads_of_their_own_size_and_layers_that_share(self):
        """Gemma 4: the last layers read what others have cached."""
        known = info(
            "gemma4",
            block_count=6,
            attention__head_count=4,
            attention__head_count_kv=[2, 2, 2, 1, 2, 1],
            attention__key_length=512,
            attention__value_length=512,
            attention__key_length_swa=256,
            attention__value_length_swa=256,
            attention__sliding_window=512,
            attention__sliding_window_pattern=[True, True, True, False, True, False],
            attention__shared_kv_layers=2,
        )
        assert shape(known) == CacheShape(1024, 3 * 2 * 512, 512)

    def test_layers_without_attention_keep_a_state(self):
        """Granite 4 H: four layers in forty have attention, the others are Mamba-2."""
        known = info(
            "granitehybrid",
            block_count=40,
            attention__head_count=32,
            attention__head_count_kv=[8 if layer in (5, 15, 25, 35) else 0 for layer in range(40)],
            attention__key_length=64,
            attention__value_length=64,
            ssm__conv_kernel=4,
            ssm__inner_size=4096,
            ssm__state_size=128,
            ssm__group_count=1,
        )
        state = 4 * (3 * (4096 + 2 * 128) + 4096 * 128)
        assert shape(known) == CacheShape(4 * 8 * 2 * 64, state=36 * state)
        assert kv_cache_bytes(shape(known), 256, 3) == 3 * (256 * 2 * 4096 + 36 * state)

    def test_short_convolutions(self):
        """LFM2."""
        known = info(
            "lfm2",
            block_count=3,
            embedding_length=1024,
            attention__head_count=16,
            attention__head_count_kv=[0, 8, 0],
            shortconv__l_cache=3,
        )
        assert shape(known) == CacheShape(8 * 2 * 64, state=2 * 4 * 1024 * 2)

    @pytest.mark.parametrize("interval", [{}, {"full_attention_interval": 4}])
    def test_attention_in_every_fourth_layer(self, interval):
        """Qwen 3.5."""
        known = info(
            "qwen35",
            block_count=24,
            attention__head_count=8,
            attention__head_count_kv=2,
            attention__key_length=256,
            attention__value_length=256,
            ssm__conv_kernel=4,
            ssm__inner_size=2048,
            ssm__state_size=128,
            ssm__group_count=16,
            **interval,
        )
        assert shape(known).full == 6 * 2 * 512
        assert shape(known).state == 18 * 4 * (3 * (2048 + 2 * 16 * 128) + 2048 * 128)

    def test_layers_that_guess_ahead_cache_nothing(self):
        known = LLAMA | {"llama.block_count": 29, "llama.nextn_predict_layers": 1}
        assert shape(known) == shape(LLAMA)

    def test_latent_attention_caches_no_values(self):
        """DeepSeek V2 Lite: a latent of 512 and 64 for the position."""
        known = info(
            "deepseek2",
            block_count=27,
            attention__head_count=16,
            attention__head_count_kv=1,
            attention__kv_lora_rank=512,
            attention__key_length=576,
            attention__value_length=512,
            attention__key_length_mla=192,
            attention__value_length_mla=128,
        )
        assert shape(known) == CacheShape(27 * 576)

    def test_recurrent_models_have_no_cache_and_a_state(self):
        known = info(
            "mamba", block_count=24, ssm__conv_kernel=4, ssm__inner_size=1536, ssm__state_size=16
        )
        assert shape(known) == CacheShape(0, state=24 * 4 * (3 * 1536 + 16 * 1536))
        assert kv_cache_bytes(shape(known), 256) == kv_cache_bytes(shape(known), 10**6)

    def test_encoders_keep_nothing(self):
        known = info("bert", block_count=6, attention__head_count=12, attention__causal=False)
        assert kv_cache_bytes(shape(known), 512, 4) == 0

    def test_a_decoder_that_is_not_causal_has_a_cache(self):
        assert shape(LLAMA | {"llama.attention.causal": False}) == shape(LLAMA)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"general.architecture": 3},
            {"llama.block_count": 0},
            {"llama.block_count": 10**9},
            {"llama.block_count": "28"},
            {"llama.block_count": 28.0},
            {"llama.attention.head_count": 0},
            {"llama.attention.head_count_kv": 0},
            {"llama.attention.head_count_kv": -8},
            {"llama.attention.head_count_kv": [8] * 27},
            {"llama.attention.head_count_kv": [8] * 27 + ["8"]},
            # Ollama leaves long lists out unless one asks for them.
            {"llama.attention.head_count_kv": None},
            {"llama.attention.head_count_kv": []},
            {"llama.attention.key_length": 0},
            {"llama.attention.key_length": True},
            {"llama.nextn_predict_layers": 28},
        ],
    )
    def test_nonsense_is_not_known(self, wrong, caplog):
        with caplog.at_level(logging.DEBUG, "slmlab"):
            assert CacheShape.from_metadata(LLAMA | wrong) is None
        assert "not known" in caplog.text

    def test_nothing_is_not_known(self):
        assert CacheShape.from_metadata({}) is None


class TestBytes:
    def test_tokens_are_rounded_up(self):
        assert kv_cache_bytes(CacheShape(1), 1) == 2 * 256
        assert kv_cache_bytes(CacheShape(1), 257, 3) == 3 * 2 * 512

    @pytest.mark.parametrize(
        ("kind", "bits"), [("f16", 16), ("q8_0", 8.5), ("Q4_0", 4.5), ("nonsense", 16), ("", 16)]
    )
    def test_the_cache_may_be_quantized(self, monkeypatch, kind, bits):
        monkeypatch.setenv("OLLAMA_KV_CACHE_TYPE", kind)
        assert kv_cache_bytes(CacheShape(64), 1024) == 1024 * 64 * bits / 8

    def test_all_that_is_needed(self):
        needed = memory_needed(10**9, shape(LLAMA), 4096, 4)
        assert needed == 10**9 + 4 * 4096 * 112 * 1024 + OVERHEAD
        assert memory_needed(10**9, None, 4096, 4) == 1_200_000_000

    def test_a_text_to_embed_is_one_batch(self):
        wide = kv_cache_bytes(shape(GEMMA), 8192, batch=8192)
        assert wide == 8192 * 18 * 512 * 2


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

    def test_by_engine(self, monkeypatch):
        gpu = SimpleNamespace(name="T4", total_memory=15)
        machine = SimpleNamespace(model_memory=14, gpu=gpu)
        monkeypatch.setattr(memory.hardware, "machine", lambda: machine)
        monkeypatch.setattr(memory.hardware, "memory", lambda: (12, 10))
        assert memory.free_for("embedded") == (10, "memory")
        assert memory.free_for("ollama") == (14, "T4's memory")
        machine.gpu = None
        assert memory.free_for("ollama") == (14, "memory")


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

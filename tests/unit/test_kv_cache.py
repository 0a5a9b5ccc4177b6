"""The KV cache by a model's metadata: which layers keep what, and in how many bytes."""

from __future__ import annotations

import logging

import pytest

from slmlab.kv_cache import CacheShape, kv_cache_bytes
from tests.support.gguf_metadata import GEMMA, LLAMA, info, shape


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.delenv("OLLAMA_KV_CACHE_TYPE", raising=False)


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

    def test_the_last_two_tokens_are_kept_beside_the_state(self):
        """RWKV 7; its files do not say that they are two."""
        known = info("rwkv7", block_count=12, embedding_length=768, wkv__head_size=64)
        assert shape(known) == CacheShape(0, state=12 * 4 * 768 * (2 + 64))

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

    def test_a_text_to_embed_is_one_batch(self):
        wide = kv_cache_bytes(shape(GEMMA), 8192, batch=8192)
        assert wide == 8192 * 18 * 512 * 2

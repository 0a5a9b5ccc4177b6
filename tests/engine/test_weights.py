"""A model's weights and forward pass in numpy, compared with the real engine."""

from __future__ import annotations

import sys

import httpx
import numpy as np
import pytest

import slmlab
from slmlab import models
from slmlab.course import distillation, weights
from slmlab.errors import ModelError

TEXT = "The library is open from ten to six. The cat sat on the mat and looked at the sea."


@pytest.fixture(scope="module")
def model(quick_gguf):
    return weights.read(quick_gguf)


@pytest.fixture(scope="module")
def ids(model):
    return weights.tokenizer(model).encode(TEXT).ids


class TestWeights:
    def test_our_forward_pass_is_that_of_llama_cpp(self, model, embedded):
        """The likeliest token after each of several texts, greedily, on the real engine."""
        split = weights.tokenizer(model)
        for text in ("The capital of France is", "One, two, three,", "Water boils at 100 degrees"):
            ours = weights.forward(model, split.encode(text).ids)[-1]
            body = {
                "model": embedded.model,
                "prompt": text,
                "raw": True,
                "stream": False,
                "options": {"temperature": 0, "num_predict": 1},
            }
            answer = httpx.post(
                f"{embedded.url}/api/generate", json=body, timeout=60, verify=False
            ).json()
            assert split.decode([int(ours.argmax())]) == answer["response"]
            assert answer["prompt_eval_count"] == len(split.encode(text).ids)

    @pytest.mark.parametrize("kind", weights.TENSOR_TYPES)
    def test_a_format_loses_no_more_than_its_bits_allow(self, kind):
        x = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
        y, size = weights.quantized(x, kind)
        error = np.sqrt(((x - y) ** 2).mean())
        limit = {"F": 1e-3, "B": 5e-3, "Q8": 0.01, "Q5": 0.06, "Q4": 0.12}
        assert error < next(v for k, v in limit.items() if kind.startswith(k))
        bits = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q5_1": 6, "Q5_0": 5.5, "Q4_1": 5}
        assert size * 8 / x.size == bits.get(kind, 4.5)

    @pytest.mark.parametrize("kind", weights.K_QUANTS)
    def test_k_quants_are_those_of_llama_cpp(self, kind):
        """Less is lost at each bit more, and what is packed has the size of the format."""
        x = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32)
        y, size = weights.quantized(x, kind)
        bits = {"Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625}
        most = {"Q2_K": 0.33, "Q3_K": 0.17, "Q4_K": 0.08, "Q5_K": 0.04, "Q6_K": 0.02}
        assert size * 8 / x.size == bits[kind]
        assert most[kind] / 3 < np.sqrt(((x - y) ** 2).mean()) < most[kind]
        with pytest.raises(ModelError, match=f"{kind} packs 256 numbers of a row"):
            weights.quantized(x[:, :288], kind)

    def test_without_llama_cpp_k_quants_are_told(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "xllamacpp.xllamacpp", None)
        with pytest.raises(ModelError, match="Q4_K is computed by llama"):
            weights.quantized(np.ones((1, 256), np.float32), "Q4_K")

    def test_what_was_written_is_read_again(self, model, ids, tmp_path):
        again = weights.read(weights.write(model, tmp_path / "x.gguf", "F16"))
        assert again.metadata == model.metadata | {"general.file_type": 1}
        ours, theirs = (weights.forward(one, ids[:8]) for one in (model, again))
        assert np.abs(ours - theirs).max() < 0.2

    def test_cut_models_load_on_the_engine(self, model, embedded, tmp_path):
        slim = weights.keep_neurons(weights.drop_layers(model, [10, 20]), 0.9)
        assert slim.layers == 28
        assert len(slim.tensors["blk.5.ffn_up.weight"]) == 1376
        path = weights.write(slim, tmp_path / "slim.gguf", "Q8_0")
        slmlab.add("slmlab/slim:test", str(path), host=embedded.url)
        try:
            record = slmlab.generate("slmlab/slim:test", "Hi.", host=embedded.url, num_predict=4)
            assert record.tokens
        finally:
            models.remove("slmlab/slim:test", host=embedded.url)

    def test_install_makes_what_is_missing_and_ready_leaves_it_out(
        self, model, embedded, monkeypatch, quick_gguf
    ):
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setattr(weights, "default_model_file", lambda: quick_gguf)
        (name,) = weights.install(["Q4_0"])
        try:
            assert name == "slmlab/smollm2:q4_0"
            assert weights.install(["Q4_0"]) == [name]
            assert models.resolve(name).quantization == "Q4_0"
            assert name not in slmlab.ready(quiet=True)
        finally:
            models.remove(name)

    def test_perplexity_tells_sense_from_nonsense(self, model):
        sense = weights.perplexity(model, [TEXT])
        words = TEXT.split()
        assert weights.perplexity(model, [" ".join(reversed(words))]) > 3 * sense > 3

    def test_wrong_use_is_a_sentence(self, model, tmp_path, gemma_gguf):
        with pytest.raises(ModelError, match=r"'Q4_X' can't be written.*Did you mean 'Q4_"):
            weights.quantized(np.ones((2, 32), np.float32), "Q4_X")
        with pytest.raises(ModelError, match="Q4_K packs 256 numbers of a row"):
            weights.quantized(np.ones((2, 32), np.float32), "Q4_K")
        with pytest.raises(ModelError, match="architecture 'gemma3'"):
            weights.read(gemma_gguf)
        with pytest.raises(ModelError, match="layers 0 to 29"):
            weights.drop_layers(model, [30])
        with pytest.raises(ModelError, match="between 0 and 1"):
            weights.keep_neurons(model, 1.5)
        with pytest.raises(ModelError, match="the same number of neurons"):
            weights.write(weights.keep_neurons(model, 0.5, [3]), tmp_path / "x.gguf")
        with pytest.raises(ModelError, match="no tensor 'x'"):
            model.with_tensors({"x": np.ones(1, np.float32)})
        with pytest.raises(ModelError, match="shape"):
            model.with_tensors({"output_norm.weight": np.ones(1, np.float32)})
        (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 50)
        with pytest.raises(ModelError, match="can't be read"):
            weights.read(tmp_path / "bad.gguf")


class TestDistillation:
    def test_examples_keep_what_occurs(self, model):
        made = distillation.examples(model, [TEXT, "The cat sat."])
        assert made.teacher_logits.shape == (len(made), len(made.vocabulary))
        spoken = "".join(made.vocabulary[token] for token in made.targets)
        assert spoken.startswith(" library is open from ten to six.")

    def test_what_no_student_learned_from_is_left_out(self, model):
        learned = distillation.examples(model, ["The cat sat on the mat.", "The cat sat."])
        same = distillation.examples(model, ["The cat sat."], like=learned)
        assert same.vocabulary == learned.vocabulary
        assert (same.teacher_logits == learned.teacher_logits[-len(same) :]).all()
        new = distillation.examples(model, ["The cat sat on the zebra. The cat"], like=learned)
        spoken = [new.vocabulary[token] for token in new.targets]
        assert spoken == [" cat", " sat", " on", " the"], "then comes a zebra, and is in sight"
        assert len(distillation.examples(model, ["Zebras!"], like=learned)) == 0

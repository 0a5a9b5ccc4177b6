"""A model opened up: its weights, its forward pass, its student; and the checks of exercises."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

import slmlab
from slmlab import hardware, models
from slmlab.course import distillation, exercises, weights
from slmlab.errors import ModelError, PromptError
from slmlab.show import plots

TEXT = "The library is open from ten to six. The cat sat on the mat and looked at the sea."


@pytest.fixture(scope="module")
def model(smol_gguf):
    return weights.read(smol_gguf)


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
            said = httpx.post(f"{embedded.url}/api/generate", json=body, timeout=60).json()
            assert split.decode([int(ours.argmax())]) == said["response"]
            assert said["prompt_eval_count"] == len(split.encode(text).ids)

    @pytest.mark.parametrize("kind", weights.TENSOR_TYPES)
    def test_a_format_loses_no_more_than_its_bits_allow(self, kind):
        x = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
        y, size = weights.quantized(x, kind)
        error = np.sqrt(((x - y) ** 2).mean())
        limit = {"F": 1e-3, "B": 5e-3, "Q8": 0.01, "Q5": 0.06, "Q4": 0.12}
        assert error < next(v for k, v in limit.items() if kind.startswith(k))
        bits = {"F32": 32, "F16": 16, "BF16": 16, "Q8_0": 8.5, "Q5_1": 6, "Q5_0": 5.5, "Q4_1": 5}
        assert size * 8 / x.size == bits.get(kind, 4.5)

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
        slmlab.add("slmlab/slim:test", str(path), embedded.url)
        try:
            record = slmlab.generate("slmlab/slim:test", "Hi.", host=embedded.url, num_predict=4)
            assert record.tokens
        finally:
            models.remove("slmlab/slim:test", embedded.url)

    def test_install_makes_what_is_missing_and_ready_leaves_it_out(
        self, model, embedded, monkeypatch, smol_gguf
    ):
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setattr(weights, "default_model_file", lambda: smol_gguf)
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
        with pytest.raises(ModelError, match=r"'Q4_K' can't be written.*Q4_0"):
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
    def examples(self) -> distillation.Examples:
        """A world of twelve tokens in which the next one depends on the last."""
        rng = np.random.default_rng(0)
        table = rng.normal(size=(12, 12)).astype(np.float32) * 2
        contexts = rng.integers(12, size=(600, 4))
        probabilities = weights.softmax(table[contexts[:, -1]]).astype(float)
        targets = np.array([rng.choice(12, p=row / row.sum()) for row in probabilities])
        return distillation.Examples(
            contexts, targets, table[contexts[:, -1]], tuple("abcdefghijkl")
        )

    def test_the_gradients_are_those_of_the_loss(self):
        examples = self.examples()
        student = distillation.Student(12, embedding_size=4, hidden=6)
        chosen, soft, t = np.arange(40), 0.3, 2.0

        def loss() -> float:
            logits = student.logits(examples.contexts[chosen]).astype(np.float64)
            hard = np.log(weights.softmax(logits))[chosen, examples.targets[chosen]].mean()
            taught, said = (
                weights.softmax(z, t) for z in (examples.teacher_logits[chosen], logits)
            )
            return (
                -(1 - soft) * hard + soft * t * t * (taught * np.log(taught / said)).sum(1).mean()
            )

        for array in student.parameters.values():
            array += np.float32(0.01)
        student.parameters = {k: v.astype(np.float64) for k, v in student.parameters.items()}
        gradients = student.gradients(examples[chosen], soft, t)
        for name, array in student.parameters.items():
            spot = np.unravel_index(np.abs(gradients[name]).argmax(), array.shape)
            array[spot] += 1e-5
            up = loss()
            array[spot] -= 2e-5
            gradient = (up - loss()) / 2e-5
            array[spot] += 1e-5
            assert gradient == pytest.approx(gradients[name][spot], rel=1e-3), name

    def test_a_student_with_a_teacher_does_better_on_what_is_new(self):
        train, test = self.examples().split(0.5)
        results = {}
        for soft in (0.0, 1.0):
            student = distillation.Student(12)
            student.train(train, soft=soft, temperature=1.0, epochs=30)
            results[soft] = distillation.kl(test.teacher_logits, student.logits(test.contexts))
        assert results[1.0] < results[0.0] / 2
        assert distillation.kl(test.teacher_logits, test.teacher_logits) == pytest.approx(
            0, abs=1e-6
        )

    def test_examples_keep_what_occurs(self, model):
        made = distillation.examples(model, [TEXT, "The cat sat."])
        assert made.teacher_logits.shape == (len(made), len(made.vocabulary))
        spoken = "".join(made.vocabulary[token] for token in made.targets)
        assert spoken.startswith(" library is open from ten to six.")


class TestExercises:
    def test_every_check_hints_at_nonsense_and_never_raises(self, capsys):
        for number, (_, look) in exercises.CHECKS.items():
            count = look.__code__.co_argcount
            for answer in (None, 0, -1.5, "x", [], {}, np.zeros(3), object()):
                slmlab.check(number, *[answer] * count)
                said = capsys.readouterr().out
                assert said.startswith(f"✗ {number}: not yet. "), (number, answer, said)
            slmlab.check(number, *[...] * count)
            assert f"{number}: open" in capsys.readouterr().out

    def test_an_unknown_number_is_an_error(self):
        with pytest.raises(PromptError, match=r"Did you mean '01\.2'"):
            slmlab.check("01.2.")


def test_bandwidth_is_a_plausible_number():
    assert 1e9 < hardware.memory_bandwidth(megabytes=128, repeats=2) < 2e12


def test_figures_are_described_in_words():
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2, 3], "y": [2.0, 3.0, 5.0], "name": ["a", "b", "<c>"]})
    labels = {"xlabel": "Here", "ylabel": "There"}
    for figure, words in (
        (plots.lines(frame, "x", "y", **labels), "from 2 at 1 to 5 at 3"),
        (plots.points(frame, "x", "y", "name", by="name", **labels), "b at 2, 3"),
        (plots.bars({"one": 1, "two": 2345.6}, xlabel="Size"), "one 1; two 2,346."),
        (plots.lines(frame, "x", "y", log_x=True, log_y=True, dark=True, **labels), "Here"),
    ):
        data, metadata = figure._repr_mimebundle_()
        assert words in metadata["image/png"]["alt"]
        assert data["text/plain"] == metadata["image/png"]["alt"]

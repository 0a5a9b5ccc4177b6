"""Teaching a small network."""

from __future__ import annotations

import numpy as np
import pytest

from slmlab.course import distillation, weights


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
            taught, learned = (
                weights.softmax(z, t) for z in (examples.teacher_logits[chosen], logits)
            )
            return (
                -(1 - soft) * hard
                + soft * t * t * (taught * np.log(taught / learned)).sum(1).mean()
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
        examples = self.examples()
        train, test = examples[:300], examples[300:]
        results = {}
        for soft in (0.0, 1.0):
            student = distillation.Student(12)
            student.train(train, soft=soft, temperature=1.0, epochs=12)
            results[soft] = distillation.kl(test.teacher_logits, student.logits(test.contexts))
        assert results[1.0] < results[0.0] / 2
        assert distillation.kl(test.teacher_logits, test.teacher_logits) == pytest.approx(
            0, abs=1e-6
        )

    def test_the_teacher_reads_each_text_after_a_prompt(self, tiny):
        texts = ["abc", "cab"]
        found = distillation.examples(tiny, texts, prompt="xyz")
        whole = weights.forward(tiny, weights.tokenizer(tiny).encode("xyzcab").ids)
        np.testing.assert_allclose(
            found.teacher_logits[2:], whole[3:5, list(found.teacher_tokens)], rtol=1e-4, atol=1e-4
        )
        assert found.vocabulary == ("a", "b", "c"), "nothing of the prompt is learned"

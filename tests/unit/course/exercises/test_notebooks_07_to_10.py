"""The checks of notebooks 7 to 10: right answers and wrong ones, in several forms."""

from __future__ import annotations

import numpy as np
import pytest

import slmlab
from slmlab.course import distillation, weights
from slmlab.course.text_losses import perplexity
from slmlab.evaluation import scorers
from tests.support.records import comparison

TEXTS = ["The library is open.", "A cat sat on the mat.", "It rains."]


class TestNotebooks07To10:
    def test_bits(self, verdict):
        assert verdict("07.1", 3.25)
        assert not verdict("07.1", 3)

    def test_a_quantizer_with_a_minimum(self, verdict):
        def q4_1(x, levels=15, rounding=np.round):
            blocks = x.reshape(-1, 32)
            low = blocks.min(axis=1, keepdims=True)
            step = np.ptp(blocks, axis=1, keepdims=True) / levels
            return (rounding((blocks - low) / step) * step + low).reshape(x.shape)

        assert verdict("07.2", q4_1)
        assert verdict("07.2", lambda x: q4_1(x).astype(np.float32))
        assert not verdict("07.2", lambda x: q4_1(x, levels=7))
        assert not verdict("07.2", lambda x: q4_1(x, levels=31))
        assert not verdict("07.2", lambda x: q4_1(x, rounding=np.floor))
        assert not verdict("07.2", lambda x: q4_1(x).ravel())
        assert not verdict("07.2", lambda x: x)

    def test_which_part_suffers(self, verdict, tiny):
        def one_scale(x):
            scale = np.abs(x).max() / 7
            return np.round(x / scale).clip(-8, 7) * scale

        def hurt(texts):
            return {
                part: perplexity(
                    tiny.with_tensors(
                        {name: one_scale(tiny.tensors[name]) for name in tiny.matrices(part)}
                    ),
                    texts,
                )
                for part in ("attn", "ffn")
            }

        assert verdict("07.3", hurt(TEXTS[:1]), tiny, TEXTS)
        assert verdict("07.3", hurt(TEXTS), tiny, TEXTS)
        assert not verdict("07.3", {"attn": 12.0, "ffn": 30.0}, tiny, TEXTS)
        swapped = dict(zip(("ffn", "attn"), hurt(TEXTS).values(), strict=True))
        assert not verdict("07.3", swapped, tiny, TEXTS)
        assert not verdict("07.3", {"attn": hurt(TEXTS)["attn"]}, tiny, TEXTS)

    def test_pruning(self, verdict, tiny):
        def zeroed(x, share):
            limit = np.partition(np.abs(x).ravel(), int(share * x.size))[int(share * x.size)]
            return np.where(np.abs(x) < limit, 0, x).astype(np.float32)

        share = (zeroed(tiny.tensors["blk.10.ffn_up.weight"], 0.25) == 0).mean()
        assert verdict("08.1", share, tiny)
        for wrong in (0.2, 0.3, 0.75):
            assert not verdict("08.1", wrong, tiny)

        rng = np.random.default_rng(3)
        matrices = {name: tiny.tensors[name] for name in tiny.matrices()}
        at_random, by_size = (
            perplexity(tiny.with_tensors(changed), TEXTS[:1])
            for changed in (
                {name: np.where(rng.random(x.shape) < 0.2, 0, x) for name, x in matrices.items()},
                {name: zeroed(x, 0.2) for name, x in matrices.items()},
            )
        )
        # A model of random weights knows nothing to lose, so the order is not given.
        larger = max(at_random, by_size * 1.01)
        assert verdict("08.2", larger, by_size, tiny, TEXTS[:1])
        assert not verdict("08.2", by_size, larger, tiny, TEXTS[:1])
        assert not verdict("08.2", larger, by_size * 0.9, tiny, TEXTS[:1])
        assert not verdict("08.2", larger * 1e5, by_size, tiny, TEXTS[:1])
        assert not verdict("08.2", 2000, 100, tiny, TEXTS[:1])

    def test_layers_left_out(self, verdict, tiny):
        in_a_row, spread = (
            perplexity(weights.drop_layers(tiny, layers), TEXTS[:1])
            for layers in (range(10, 15), range(6, 23, 4))
        )
        assert verdict("08.3", in_a_row, spread, tiny, TEXTS[:1])
        assert not verdict("08.3", spread, in_a_row, tiny, TEXTS[:1])
        assert not verdict("08.3", 1659.7, 222.5, tiny, TEXTS[:1])

    def test_sharp_and_flat(self, verdict):
        logits = np.random.default_rng(0).normal(size=50) * 3
        sharp, flat = weights.softmax(logits), weights.softmax(logits, 4)
        assert verdict("09.1", sharp, flat, logits)
        assert verdict("09.1", list(sharp), list(flat), logits)
        assert not verdict("09.1", flat, sharp, logits)
        assert not verdict("09.1", [0.9, 0.1], [0.5, 0.5], logits)
        assert not verdict("09.1", sharp, weights.softmax(logits, 2), logits)
        assert not verdict("09.1", sharp, flat * 2, logits)

    def test_students_are_trained_again(self, verdict):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(200, 8)).astype(np.float32)
        examples = distillation.Examples(
            rng.integers(8, size=(200, 4)), rng.integers(8, size=200), logits, tuple("abcdefgh")
        )

        def training_curve(soft, temperature=1.0, rounds=10, hidden=16):
            student = distillation.Student(8, hidden=hidden)
            for seed in range(rounds):
                student.train(examples, soft=soft, temperature=temperature, epochs=1, seed=seed)
                measured = distillation.measure(student, examples)
                yield {"new": measured["perplexity"], "kl": measured["kl"]}

        found = {soft: list(training_curve(soft))[-1]["kl"] for soft in (0, 0.5, 1)}
        assert verdict("09.2", found, training_curve)
        sooner = {soft: list(training_curve(soft, rounds=4))[-1]["kl"] for soft in (0, 0.5, 1)}
        assert verdict("09.2", sooner, training_curve)
        assert not verdict("09.2", {0: 0.5, 0.5: 0.4, 1: 0.1}, training_curve)
        assert not verdict("09.2", {0: -1, 0.5: -2, 1: -3}, training_curve), "KL is never below 0"
        assert not verdict("09.2", {k: v for k, v in found.items() if k != 0.5}, training_curve)

        sizes = {n: list(training_curve(1.0, hidden=n))[-1]["new"] for n in (2, 8, 32)}
        assert verdict("09.3", sizes, training_curve)
        assert not verdict("09.3", {8: 5.0, 32: 4.0, 128: 3.0}, training_curve)
        assert not verdict("09.3", sizes | {32: sizes[32] * 1.1}, training_curve)

    def test_three_turns(self, verdict):
        from langchain_core.messages import AIMessage, HumanMessage

        turn = [HumanMessage("Hello!"), AIMessage("Hello.")]
        assert verdict("10.1", turn * 3)
        assert not verdict("10.1", [None] * 6)
        assert not verdict("10.1", turn * 2)
        assert not verdict("10.1", turn[:1] * 6)
        assert not verdict("10.1", ["Hello!"] * 6)

    @pytest.mark.parametrize(
        ("answer", "right"),
        [
            ({"polite": True, "reply": "Good morning!"}, True),
            ({"polite": False, "reply": ""}, True),
            ({"polite": "true", "reply": "Good morning!"}, False),
            ({"polite": True, "reply": "x" * 41}, False),
            ({"polite": True, "reply": ["x"]}, False),
            ({"polite": True}, False),
            ({"polite": True, "reply": "x", "more": 1}, False),
        ],
    )
    def test_a_polite_reply(self, verdict, answer, right):
        assert verdict("10.2", answer) is right

    def test_more_facts(self, verdict):
        rows = [
            {"k": k, "prompt": "A fact. " * k + "Why?", "text": text, "expected": "12"}
            for k, text in ((1, "it is 12"), (2, "no"), (4, "12"))
        ]
        table = comparison(rows)
        assert verdict("10.3", slmlab.score(table, scorers.contains))
        assert not verdict("10.3", table.assign(score=1.0))
        assert not verdict("10.3", slmlab.score(table.assign(prompt="Why?"), "contains"))
        assert not verdict("10.3", slmlab.score(table.assign(k=[1, 2, 3]), "contains"))

"""The checks of notebook 11: right answers and wrong ones, in several forms."""

from __future__ import annotations

import numpy as np
import pandas as pd

from slmlab.course import finetuning


class TestNotebook11:
    def test_parameters_of_a_rank(self, verdict, tiny):
        count = 24 * 4 * ((16 + 16) + (8 + 16))
        assert verdict("11.1", count, tiny)
        assert verdict("11.1", np.int64(count), tiny)
        assert not verdict("11.1", count * 2, tiny)
        assert not verdict("11.1", 24 * 4 * (16 + 16), tiny)
        assert not verdict("11.1", "many", tiny)

    def test_a_history(self, verdict):
        recorded = pd.DataFrame(
            {"epoch": [0, 1, 2, 3, 4], "validation": [4.0, 1.0, 0.6, 0.8, 1.1]}
        ).assign(training=[4.0, 1.0, 0.4, 0.2, 0.1])
        assert verdict("11.2", 2, 0.5, recorded)
        assert verdict("11.2", np.int64(2), np.float64(1.1) - 0.6, recorded)
        assert not verdict("11.2", 4, 0.5, recorded)
        assert not verdict("11.2", 2.4, 0.5, recorded)
        assert not verdict("11.2", 2, 0.2, recorded)
        assert not verdict("11.2", 2, -0.5, recorded)
        assert not verdict("11.2", None, 0.5, recorded)

    def test_another_rank(self, verdict, tiny):
        """An adapter of zeros leaves the model as it is, so its loss is the model's."""
        held_out = finetuning.from_texts(tiny, ["the cat", "it rains"])

        def trained(rank: int, loss: float) -> finetuning.Training:
            shapes = {n: tiny.tensors[n].shape for n in tiny.matrices("attn_q")}
            adapter = {
                n: (np.ones((rank, i), np.float32), np.zeros((o, rank), np.float32))
                for n, (o, i) in shapes.items()
            }
            return finetuning.Training(adapter, pd.DataFrame({"validation": [9e9, loss]}), 1)

        batch = held_out.tokens
        from slmlab.course.transformer import forward, log_softmax

        right = float(
            -np.concatenate(
                [
                    log_softmax(forward(tiny, row[:count]))[:-1][np.arange(count - 1), row[1:count]]
                    for row, count in zip(batch, (7, 8), strict=True)
                ]
            ).mean()
        )
        assert verdict("11.3", {1: trained(1, right), 4: trained(4, right)}, tiny, held_out)
        assert not verdict("11.3", {1: trained(1, right)}, tiny, held_out)
        assert not verdict("11.3", {1: trained(1, right), 4: trained(2, right)}, tiny, held_out)
        wrong = {1: trained(1, right), 4: trained(4, right / 2)}
        assert not verdict("11.3", wrong, tiny, held_out)
        assert not verdict("11.3", {1: 0.5, 4: 0.4}, tiny, held_out)

"""The checks of notebooks 4 to 6: right answers and wrong ones, in several forms."""

from __future__ import annotations

import pandas as pd

from slmlab.evaluation import statistics
from tests.support.records import comparison


class TestNotebooks04To06:
    def test_a_hidden_sentence(self, verdict):
        def table(places: tuple[int, ...], scores: list[int]) -> pd.DataFrame:
            filler = ["word"] * 300
            rows = [
                {
                    "prompt": " ".join(
                        [*filler[:at], "The code word is MARMALADE.", *filler[at:], "Which?"]
                    ),
                    "text": text,
                }
                for at, text in zip(places, ("MARMALADE!", "jam", "marmalade"), strict=True)
            ]
            return comparison(rows).assign(score=scores)

        assert verdict("04.3", table((0, 150, 300), [1, 0, 1]))
        assert not verdict("04.3", table((0, 150, 300), [1, 1, 1]))
        assert not verdict("04.3", table((0, 1, 2), [1, 0, 1]))

    def test_an_interval_and_what_it_means(self, verdict):
        found = statistics.interval([1] * 16 + [0] * 4)
        assert verdict("05.3", found, True)
        assert not verdict("05.3", found, False)
        assert not verdict("05.3", statistics.interval([1] * 80 + [0] * 20), True)
        made_up = statistics.Interval(0.8, 0.7, 0.9, 20, "exact")
        assert not verdict("05.3", made_up, True)

    def test_shares_and_seconds(self, verdict):
        assert verdict("04.1", 16)
        assert not verdict("04.1", 12.5)
        assert verdict("06.3", 0.655)
        assert not verdict("06.3", 0.19)

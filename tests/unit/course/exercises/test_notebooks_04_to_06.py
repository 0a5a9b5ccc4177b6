"""The checks of notebooks 4 to 6: right answers and wrong ones, in several forms."""

from __future__ import annotations

import pandas as pd
import pytest

import slmlab
from slmlab.evaluation import scorers, statistics, tasks
from tests.support.records import comparison

# As notebook 06 has them.
ASK = "Is the sentiment of this review positive or negative?"
WAYS = {
    "plain": ASK + "\n\nReview: {review}",
    "one word": ASK + " Reply with one word.\n\nReview: {review}",
    "few-shot": "Review: It broke.\nSentiment: negative\n\nReview: {review}\nSentiment:",
    "step by step": ASK + "\n\nReview: {review}\n\nLet's think step by step.",
    "expert": "You are a world-famous critic. " + ASK + "\n\nReview: {review}",
}
SIXTH = "{review}\n\nPraise or blame? Reply with positive or negative."


def last_line(text, row):
    lines = [one for one in text.splitlines() if "tive" in one.lower()]
    return scorers.label(lines[-1] if lines else "", row)


def reviews() -> pd.DataFrame:
    table = tasks.load("sentiment")
    return table.assign(review=table["prompt"].str.split("Review: ").str[1])


def answers(way: str = SIXTH, **more: object) -> pd.DataFrame:
    """What compare() gives for all reviews, asked in this way."""
    rows = [
        {
            "prompt_id": number,
            "prompt": way.format(review=row["review"]),
            "text": ("It is positive.", "negative", "")[number % 3],
            "expected": row["expected"],
            "labels": row["labels"],
            **more,
        }
        for number, row in enumerate(reviews().to_dict("records"))
    ]
    return comparison(rows)


class TestNotebooks04To06:
    def test_a_sixth_way_to_ask(self, verdict):
        lesson = (reviews(), WAYS, last_line)

        def mine(*args, **more) -> pd.DataFrame:
            return slmlab.score(answers(*args, **more), last_line)

        assert verdict("06.1", mine(), *lesson)
        assert verdict("06.1", mine(template=SIXTH), *lesson)
        assert verdict("06.1", mine(WAYS["plain"], system="You read reviews."), *lesson)
        assert verdict("06.1", mine(), reviews(), {**WAYS, "mine": SIXTH}, last_line)
        together = pd.concat([mine(WAYS["plain"]), mine()], ignore_index=True)
        assert verdict("06.1", together, *lesson)
        talks = answers()
        talks["prompt"] = [[{"role": "user", "content": one}] for one in talks["prompt"]]
        assert verdict("06.1", slmlab.score(talks, last_line), *lesson)
        one_failed = answers()
        one_failed.loc[3, ["text", "error"]] = ["", "the server went away"]
        assert verdict("06.1", slmlab.score(one_failed, last_line), *lesson)

        assert not verdict("06.1", answers(), *lesson), "without scores"
        assert not verdict("06.1", mine().assign(score=1.0), *lesson)
        assert not verdict("06.1", slmlab.score(answers(), scorers.exact), *lesson)
        assert not verdict("06.1", mine().head(19), *lesson)
        assert not verdict("06.1", mine("Is that praise? Yes or no."), *lesson)
        assert not verdict("06.1", mine(error="no", text=""), *lesson)

    @pytest.mark.parametrize("way", WAYS)
    def test_one_of_the_five_ways_is_no_sixth(self, way, capsys):
        scored = slmlab.score(answers(WAYS[way]), last_line)
        slmlab.check("06.1", scored, reviews(), WAYS, last_line)
        assert "Ask in words of your own" in capsys.readouterr().out

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

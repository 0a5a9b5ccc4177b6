"""Checks of the notebooks on speed, tasks and scores, and prompting."""

from __future__ import annotations

from typing import Any

from slmlab.course.exercises.checking import exercise, near, prompt_contents


@exercise("04.1")
def check_04_1(seconds: Any) -> str | None:
    """A number of seconds."""
    if near(seconds, 16):
        return None
    return "Bandwidth / size is tokens per second at most; 200 tokens at that speed take how long?"


@exercise("04.2")
def check_04_2(runs: Any) -> str | None:
    """A list of three records."""
    if len(runs) != 3:
        return "Give a list of three records."
    if not runs[0].cold or any(run.cold for run in runs[1:]):
        return "The first one must be cold (unload right before), the others warm."
    return None


@exercise("04.3")
def check_04_3(found: Any) -> str | None:
    """A table of three rows with a column score."""
    if len(found) != 3 or not all("MARMALADE" in prompt for prompt in found["prompt"]):
        return "Three prompts with the sentence in them, at three places."
    starts = sorted(prompt.index("The code word is") for prompt in found["prompt"])
    if not (starts[0] < 100 and starts[1] > 300 and starts[2] > 700):
        return "The sentence belongs at the start, in the middle and at the end of about 220 words."
    return _scored_by_contains(found, "MARMALADE")


@exercise("05.1")
def check_05_1(cut: Any, scored: Any) -> str | None:
    """A number of rows, and the scored table."""
    right = int(scored["cut"].sum())
    return None if cut == right else "The column `cut` is True where an answer was cut; sum it."


@exercise("05.2")
def check_05_2(frame: Any) -> str | None:
    """A scored table."""
    if frame["prompt_id"].nunique() < 4:
        return "At least four items."
    if "expected" not in frame or not frame["score"].dropna().between(0, 1).any():
        return "Each item needs `expected`, and the table a score from 0 to 1."
    return None if set(frame["temperature"]) == {0} else "Use temperature=0."


@exercise("05.3")
def check_05_3(found: Any, could: Any) -> str | None:
    """An interval of slmlab.statistics, and True or False."""
    from slmlab.evaluation import statistics

    right = statistics.interval([1] * 16 + [0] * 4)
    if found != right:
        return "Sixteen ones and four zeros go into statistics.interval."
    if bool(could) != (right.low <= 0.9 <= right.high):
        return "Does the interval contain 0.9?"
    return None


@exercise("06.1")
def check_06_1(frame: Any, reviews: Any, ways: Any, verdict: Any) -> str | None:
    """A scored table, a row for each review, and what the lesson has: reviews, ways, verdict."""
    from slmlab.run import prompts

    # A sixth way that was added to `ways` is none of the five.
    five = list(ways.values())[:5]
    known = {prompts.fill(way, review=one) for way in five for one in reviews["review"]}
    rows = [
        row
        for row in frame.to_dict("records")
        if isinstance(row.get("system"), str) or prompt_contents(row["prompt"]) not in known
    ]
    if not rows:
        return "Ask in words of your own: all of these prompts are from the five ways above."
    sent = "\n".join(prompt_contents(row["prompt"]) for row in rows)
    missing = [one for one in reviews["review"] if one not in sent]
    if missing:
        return (
            f"{len(missing)} of {len(reviews)} reviews are not in your prompts: give compare() all "
            "of `reviews`, and a template with {review} in it."
        )
    if "score" not in frame:
        return "Score the table: slmlab.score(mine, verdict)."
    answered = [row for row in rows if not isinstance(row["error"], str)]
    if not answered:
        return f"No answer came: {rows[0]['error']}"
    if any(row["score"] != verdict(row["text"], row) for row in answered):
        return "The scores are not those of `verdict`: slmlab.score(mine, verdict)."
    return None


@exercise("06.2")
def check_06_2(frame: Any) -> str | None:
    """A scored table with a column shots."""
    if set(frame["shots"]) != {0, 2, 4}:
        return "The column shots should contain 0, 2 and 4."
    sizes = frame.groupby("shots")["prompt_tokens"].mean()
    if not sizes[0] < sizes[2] < sizes[4]:
        return "More examples make longer prompts: are the templates in the right places?"
    return None if frame["score"].between(0, 1).all() else "Score the table."


@exercise("06.3")
def check_06_3(share: Any) -> str | None:
    """A share between 0 and 1."""
    # P(one prompt gets 8 or more of 12) = 0.194, so of five 1 - (1 - 0.194)^5 = 0.66.
    if near(share, 0.66, 0.06):
        return None
    if near(share, 0.194, 0.1):
        return "That is one prompt; take the *best* of five each time."
    return "Draw five counts of 12 tosses, take the largest, and see how often it is over 0.6 × 12."


def _scored_by_contains(frame: Any, expected: str) -> str | None:
    from slmlab.evaluation import scorers

    for row in frame.to_dict("records"):
        failed = isinstance(row["error"], str)
        if not failed and row["score"] != scorers.contains(row["text"], {"expected": expected}):
            return "Score the answers with the rule `contains`."
    return None

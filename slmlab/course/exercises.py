"""Checks for the course's exercises: they say whether an answer is right, and hint where it is not.

A check looks at what the reader's code gave, not at how it was written. It never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slmlab.errors import PromptError, did_you_mean

# Number → what the check looks at, and a function that returns a hint, or None where all is right.
CHECKS: dict[str, tuple[str, Callable[..., str | None]]] = {}


def check(exercise: str, *answers: Any) -> None:
    """Print whether an exercise's answer is right, with a hint where it is not.

    Args:
        exercise: its number, such as ``"01.2"``: notebook 01, exercise 2.
        answers: what the exercise asks for.

    Raises:
        PromptError: there is no such exercise.
    """
    if exercise not in CHECKS:
        hint = did_you_mean(str(exercise), CHECKS)
        raise PromptError(f"There is no exercise {exercise!r}.{hint}")
    expected, look = CHECKS[exercise]
    if any(one is ... for one in answers):
        print(f"○ {exercise}: open. Put your code in place of the `...`.")
        return
    try:
        hint = look(*answers)
    except Exception as error:  # whatever a reader's answer does to a check, it gets a sentence
        hint = f"This looks at {expected}, and could not read yours ({type(error).__name__})."
    print(f"✓ {exercise}: right." if hint is None else f"✗ {exercise}: not yet. {hint}")


def _check(exercise: str, expected: str) -> Callable:
    def keep(look: Callable[..., str | None]) -> Callable[..., str | None]:
        CHECKS[exercise] = (expected, look)
        return look

    return keep


def _near(value: float, right: float, tolerance: float = 0.02) -> bool:
    return abs(float(value) - right) <= tolerance * abs(right)


@_check("00.1", "the record that slmlab.ask gives back")
def _(record: Any) -> str | None:
    return None if record.text and not record.error else "The record has no answer in it."


@_check("00.2", "two records of slmlab.ask, the cold one first")
def _(cold: Any, warm: Any) -> str | None:
    if not cold.cold:
        return "The first run was warm: call models.unload(…) right before it, in the same cell."
    if warm.cold:
        return "The second run was cold too: do not unload between the two."
    return None


@_check("00.3", "a number of parameters, such as 7e9")
def _(parameters: Any) -> str | None:
    from slmlab import hardware, memory

    right = hardware.machine().model_memory / memory.MEMORY_OVER_FILE / (4.5 / 8)
    if _near(parameters, right, 0.25):  # free memory changes from minute to minute
        return None
    if _near(parameters * 1e9, right, 0.25):
        return "Right, but in billions: give the number itself."
    return (
        "Memory, divided by the factor of the rule of thumb, divided by *bytes* a weight (4.5 / 8)."
    )


@_check("01.1", "the record that slmlab.ask gives back")
def _(record: Any) -> str | None:
    if "Answer in one sentence." in record.prompt:
        return None
    return 'The prompt is not that of the template: slmlab.ask(model, "…", template="short").'


@_check("01.2", "the record that slmlab.ask gives back")
def _(record: Any) -> str | None:
    if "{" in record.prompt:
        return "There is a brace left in the prompt: each {name} needs a value in variables={…}."
    return None if record.text else "The record has no answer in it."


@_check("01.3", "a dict: temperature → number of different texts")
def _(counts: Any) -> str | None:
    if set(counts) != {0, 0.4, 0.8, 1.2}:
        return "The keys are the temperatures 0, 0.4, 0.8 and 1.2."
    if counts[0] != 1:
        return "At temperature 0 the seed does not matter, so there is one text only."
    if not all(1 <= n <= 8 for n in counts.values()):
        return "Eight seeds give at most eight different texts: count a set of them."
    return None


@_check("02.1", "a list of models' names")
def _(found: Any) -> str | None:
    from slmlab.models import catalog

    table = catalog.table()
    free = table["licence"].isin(["Apache 2.0", "MIT"])
    right = set(table.loc[free & (table["context"].fillna(0).astype(int) >= 100_000), "name"])
    if missing := right - set(found):
        return f"{sorted(missing)[0]} belongs into the list too."
    if extra := set(found) - right:
        return f"{sorted(extra)[0]} does not belong into the list: look at its licence and context."
    return None


@_check("02.2", "a number of bytes")
def _(found: Any) -> str | None:
    right = 2 * 28 * 2 * 128 * 2
    if found == right:
        return None
    if found == right / 2:
        return "Half of it: keys *and* values, or two bytes a value?"
    return "2 × layers × KV heads × head size × 2 bytes; Qwen2 1.5B has 2 KV heads."


@_check("02.3", "a number of tokens")
def _(found: Any) -> str | None:
    right = (4 * 2**30 - 2.0e9) / (2 * 28 * 8 * 128 * 2)
    if _near(found, right):
        return None
    if _near(found, (4e9 - 2.0e9) / (2 * 28 * 8 * 128 * 2)):
        return "A GiB is 2**30 bytes, a GB is 10**9."
    return "What is left after the weights, divided by the bytes of KV cache for each token."


@_check("03.1", "the table that slmlab.compare gives back")
def _(frame: Any) -> str | None:
    if len(set(frame["model"])) < 2:
        return "Only one model is in it: give compare() all of `names`."
    if set(frame["num_predict"]) != {60}:
        return "Limit the answers with num_predict=60."
    return None


@_check("03.2", "the table that slmlab.compare gives back")
def _(frame: Any) -> str | None:
    if set(frame.get("template", ())) != {"plain", "step_by_step"}:
        return 'Give compare() template=["plain", "step_by_step"].'
    if len(frame) < 4:
        return "Two repeats of two templates make four rows: repeats=2."
    return None


@_check("03.3", "your scorer, and the scored table")
def _(scorer: Any, frame: Any) -> str | None:
    tests = {"positive": 1, "It is positive.": 0, " negative\n": 1}
    for text, right in tests.items():
        if float(scorer(text, {})) != right:
            return f"For {text!r} your scorer should give {right}."
    return None if "score" in frame else "Score the table: slmlab.score(answers, one_word)."


@_check("04.1", "a number of seconds")
def _(seconds: Any) -> str | None:
    if _near(seconds, 16):
        return None
    return "Bandwidth / size is tokens per second at most; 200 tokens at that speed take how long?"


@_check("04.2", "a list of three records")
def _(runs: Any) -> str | None:
    if len(runs) != 3:
        return "Three records are asked for."
    if not runs[0].cold or any(run.cold for run in runs[1:]):
        return "The first one must be cold (unload right before), the others warm."
    return None


@_check("04.3", "a table of three rows with a column score")
def _(found: Any) -> str | None:
    if len(found) != 3 or not all("MARMALADE" in prompt for prompt in found["prompt"]):
        return "Three prompts with the sentence in them, at three places."
    starts = sorted(prompt.index("The code word is") for prompt in found["prompt"])
    if not (starts[0] < 100 and starts[1] > 300 and starts[2] > 700):
        return "The sentence belongs at the start, in the middle and at the end of about 300 words."
    return None if found["score"].notna().all() else "Score the answers with the rule `contains`."


@_check("05.1", "a number of rows, and the scored table")
def _(cut: Any, scored: Any) -> str | None:
    right = int(scored["cut"].sum())
    return None if cut == right else "The column `cut` is True where an answer was cut; sum it."


@_check("05.2", "a scored table")
def _(frame: Any) -> str | None:
    if frame["prompt_id"].nunique() < 4:
        return "At least four items."
    if "expected" not in frame or frame["score"].isna().all():
        return "Each item needs `expected`, and the table a score."
    return None if set(frame["temperature"]) == {0} else "Use temperature=0."


@_check("05.3", "an interval of slmlab.statistics, and True or False")
def _(found: Any, could: Any) -> str | None:
    if found.n != 20 or not _near(found.value, 0.8):
        return "Sixteen ones and four zeros go into statistics.interval."
    if bool(could) != (found.low <= 0.9 <= found.high):
        return "Does the interval hold 0.9?"
    return None


@_check("06.1", "a scored table, a row for each review")
def _(frame: Any) -> str | None:
    if frame["prompt_id"].nunique() < 2 or frame["score"].isna().any():
        return "All of `reviews`, each answer with a score."
    return None if "template" in frame else "Ask through template=…, with {prompt} in it."


@_check("06.2", "a scored table with a column shots")
def _(frame: Any) -> str | None:
    if set(frame["shots"]) != {0, 2, 4}:
        return "The column shots holds 0, 2 and 4."
    sizes = frame.groupby("shots")["prompt_tokens"].mean()
    if not sizes[0] < sizes[2] < sizes[4]:
        return "More examples make longer prompts: are the templates in the right places?"
    return None if frame["score"].notna().all() else "Score the table."


@_check("06.3", "a share between 0 and 1")
def _(share: Any) -> str | None:
    # P(one prompt gets 8 or more of 12) = 0.194, so of five 1 - (1 - 0.194)^5 = 0.66.
    if _near(share, 0.66, 0.06):
        return None
    if _near(share, 0.194, 0.1):
        return "That is one prompt; take the *best* of five each time."
    return "Draw five counts of 12 tosses, take the largest, and see how often it is over 0.6 × 12."


@_check("07.1", "a number of bits")
def _(bits: Any) -> str | None:
    if _near(bits, 3.25, 0.001):
        return None
    return "64 weights of 3 bits and one scale of 16 bits, shared by all 64."


@_check("07.2", "your function q4_1")
def _(function: Any) -> str | None:
    import numpy as np

    x = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32) + 3
    y = function(x)
    if y.shape != x.shape:
        return "The result has the shape of what went in: reshape(x.shape)."
    blocks, back = x.reshape(-1, 32), y.reshape(-1, 32)
    steps = np.ptp(blocks, axis=1) / 15
    if np.abs(blocks - back).max() > 0.52 * steps.max() + 1e-4:
        return (
            "Some numbers are more than half a step off: step = (largest - smallest) / 15, round."
        )
    if max(len(np.unique(np.round(one, 5))) for one in back) > 16:
        return "A block of 4-bit numbers holds at most 16 different values."
    return None


@_check("07.3", 'a dict with "attn" and "ffn"')
def _(hurt: Any) -> str | None:
    if set(hurt) != {"attn", "ffn"}:
        return 'The keys are "attn" and "ffn".'
    return None if all(float(v) > 1 for v in hurt.values()) else "Perplexity is never below 1."


@_check("08.1", "a share between 0 and 1")
def _(share: Any) -> str | None:
    if 0.2 <= share <= 0.3:
        return None
    return "Count what equals 0 in the result of zeroed(…, 0.25), divided by its size."


@_check("08.2", "two perplexities")
def _(at_random: Any, by_size: Any) -> str | None:
    if at_random > by_size > 1:
        return None
    return "Random zeros hurt much more than those of the smallest weights. Are the two in order?"


@_check("08.3", "two perplexities")
def _(in_a_row: Any, spread: Any) -> str | None:
    if min(in_a_row, spread) < 1:
        return "Perplexity is never below 1."
    return None if in_a_row != spread else "Both are the same: did both lists of layers go in?"


@_check("09.1", "probabilities at temperature 1, and at temperature 4")
def _(sharp: Any, flat: Any) -> str | None:
    if not (_near(sum(sharp), 1) and _near(sum(flat), 1)):
        return "Probabilities add up to 1: softmax(logits, temperature)."
    return None if max(flat) < max(sharp) else "A higher temperature makes them more even."


@_check("09.2", "a dict: soft → KL divergence")
def _(found: Any) -> str | None:
    if len(found) < 3 or not {0, 1} <= set(found):
        return "At least three shares, 0 and 1 among them."
    if not found[1] < found[0]:
        return "The student that learns from the teacher alone should be nearer to it."
    return None


@_check("09.3", "a dict: neurons → perplexity")
def _(found: Any) -> str | None:
    if len(found) < 3:
        return "At least three sizes."
    return None if all(v > 1 for v in found.values()) else "Perplexity is never below 1."


@_check("10.1", "the list of messages")
def _(messages: Any) -> str | None:
    if len(messages) == 6:
        return None
    return (
        f"Three turns leave six messages, a question and an answer each; yours has {len(messages)}."
    )


@_check("10.2", "a dict with polite and reply")
def _(answer: Any) -> str | None:
    if not isinstance(answer["polite"], bool):
        return 'polite is true or false: {"type": "boolean"}.'
    if len(answer["reply"]) > 40:
        return 'The reply is too long: {"type": "string", "maxLength": 40}.'
    return None


@_check("10.3", "a scored table with a column k")
def _(frame: Any) -> str | None:
    if set(frame["k"]) != {1, 2, 4}:
        return "The column k holds 1, 2 and 4."
    return None if frame["score"].notna().all() else "Score the table."

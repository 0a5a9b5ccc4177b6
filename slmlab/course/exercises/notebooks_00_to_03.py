"""Checks of the notebooks on starting, prompting, kinds of models and comparing."""

from __future__ import annotations

from typing import Any

from slmlab.course.exercises.checking import exercise, near, prompt_contents

HELLO = "Say hello to a class of students in one sentence."


@exercise("00.1")
def check_00_1(record: Any, names: Any) -> str | None:
    """The record that slmlab.ask returns, and the names of the models."""
    from slmlab.models.inventory import is_among

    if record.error:
        return f"The model did not answer: {record.error}"
    if not record.text:
        return "The answer is empty, as a base model's may be: ask once more with seed=1."
    if HELLO.rstrip(".").lower() not in " ".join(prompt_contents(record.prompt).lower().split()):
        return f"Ask the question from above: {HELLO}"
    if len(names) > 1 and is_among(record.model, names[:1]):
        return f"{names[0]} has answered above: ask another one of `names`, such as names[1]."
    if not is_among(record.model, names):
        return f"{record.model} is not one of `names`: {', '.join(names)}."
    return None


@exercise("00.2")
def check_00_2(cold: Any, warm: Any) -> str | None:
    """Two records of slmlab.ask, the cold one first."""
    if not cold.cold:
        return "The first run was warm: call models.unload(…) right before it, in the same cell."
    if warm.cold:
        return "The second run was cold too: do not unload between the two."
    return None


@exercise("00.3")
def check_00_3(parameters: Any, room: Any) -> str | None:
    """A number of parameters, such as 7e9, and the bytes of memory that a model may take."""
    from slmlab import memory

    # What was free when the reader looked: it changes from minute to minute.
    right = room / memory.MEMORY_OVER_FILE / (4.5 / 8)
    if room <= 0:
        return "No memory is free for a model now: free some, and run the cell with `room` again."
    if near(parameters, right):
        return None
    if near(parameters * 1e9, right):
        return "Right, but in billions: give the number itself."
    return (
        "Memory, divided by the factor of the rule of thumb, divided by *bytes* a weight (4.5 / 8)."
    )


@exercise("01.1")
def check_01_1(record: Any) -> str | None:
    """The record that slmlab.ask returns."""
    if "Answer in one sentence." in record.prompt:
        return None
    return 'The prompt is not that of the template: slmlab.ask(model, "…", template="short").'


@exercise("01.2")
def check_01_2(template: Any, variables: Any, record: Any) -> str | None:
    """A template, a dict of its variables, and the record that slmlab.ask returns."""
    from slmlab.run import prompts

    wanted = prompts.variables(template)
    if len(wanted) < 2:
        return f"The template has {len(wanted)} of two variables: write each as {{name}}."
    if set(wanted) != set(variables):
        return f"The dict needs a text for each of {', '.join(wanted)}, and for nothing else."
    if record.prompt != prompts.fill(template, **variables):
        return "The record's prompt is not the filled-in template: give ask() both of them."
    return None if record.text else "The record has no answer."


@exercise("01.3")
def check_01_3(counts: Any) -> str | None:
    """A dict: temperature → number of different texts."""
    if set(counts) != {0, 0.4, 0.8, 1.2}:
        return "The keys are the temperatures 0, 0.4, 0.8 and 1.2."
    if not all(n in range(1, 9) for n in counts.values()):
        return "Eight seeds give one to eight different texts: count a set of them."
    # Not 1: on a GPU the order of additions may tip a draw between two tokens.
    if counts[0] > min(2, *counts.values()):
        return "At temperature 0 the seed does not matter: the likeliest token is taken each time."
    return None


@exercise("02.1")
def check_02_1(found: Any) -> str | None:
    """A list of models' names."""
    from slmlab.models import catalog

    table = catalog.table()
    free = table["license"].isin(["Apache 2.0", "MIT"])
    right = set(table.loc[free & (table["context"].fillna(0).astype(int) >= 100_000), "name"])
    if missing := right - set(found):
        return f"{sorted(missing)[0]} belongs in the list too."
    if extra := set(found) - right:
        return f"{sorted(extra)[0]} does not belong in the list: look at its license and context."
    return None


@exercise("02.2")
def check_02_2(found: Any) -> str | None:
    """A number of bytes."""
    right = 2 * 28 * 2 * 128 * 2
    if found == right:
        return None
    if found == right / 2:
        return "Half of it: keys *and* values, or two bytes a value?"
    return "2 × layers × KV heads × head size × 2 bytes; Qwen2 1.5B has 2 KV heads."


@exercise("02.3")
def check_02_3(found: Any) -> str | None:
    """A number of tokens."""
    right = (4 * 2**30 - 2.0e9) / (2 * 28 * 8 * 128 * 2)
    if near(found, right):
        return None
    if near(found, (4e9 - 2.0e9) / (2 * 28 * 8 * 128 * 2)):
        return "A GiB is 2**30 bytes, a GB is 10**9."
    return "What is left after the weights, divided by the bytes of KV cache for each token."


@exercise("03.1")
def check_03_1(frame: Any, names: Any) -> str | None:
    """The table that slmlab.compare returns, and the names of the models."""
    if missing := set(names) - set(frame["model"]):
        return f"{sorted(missing)[0]} is missing: give compare() all of `names`."
    if frame["num_predict"].max() > 60:
        return "Limit the answers with num_predict=60."
    return None


@exercise("03.2")
def check_03_2(frame: Any) -> str | None:
    """The table that slmlab.compare returns."""
    from slmlab.run import prompts

    if set(frame.get("template", ())) != {"plain", "step_by_step"}:
        return 'Give compare() template=["plain", "step_by_step"].'
    if not all(prompts.HYPOTENUSE in prompt for prompt in frame["prompt"]):
        return "Ask the question prompts.HYPOTENUSE."
    if frame.groupby(["model", "template"])["repeat"].nunique().min() < 2:
        return "Two repeats of each template: repeats=2."
    return None


@exercise("03.3")
def check_03_3(scorer: Any, frame: Any) -> str | None:
    """Your scorer, and the scored table."""
    tests = {"positive": 1, "It is positive.": 0, " negative\n": 1}
    for text, right in tests.items():
        if float(scorer(text, {})) != right:
            return f"For {text!r} your scorer should give {right}."
    if "score" not in frame:
        return "Score the table: slmlab.score(answers, one_word)."
    for row in frame.to_dict("records"):
        if not isinstance(row["error"], str) and row["score"] != scorer(row["text"], row):
            return "The scores are not those of your scorer: slmlab.score(answers, one_word)."
    return None

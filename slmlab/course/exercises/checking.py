"""Register and run the checks of exercises, and recognize exercises that are still open."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from slmlab.errors import TaskError, did_you_mean

# A check takes the answers and returns a hint, or None if all are right. Its docstring says what it
# expects; students see this if an answer could not be read at all.
Check = Callable[..., str | None]
CHECKS: dict[str, Check] = {}


def check(exercise: str, *answers: Any) -> None:
    """Print whether the answer to an exercise is right, or a hint.

    Args:
        exercise: its number, such as ``"01.2"``: notebook 01, exercise 2.
        answers: what the exercise asks for, and what the check needs to recompute it.

    Raises:
        TaskError: there is no such exercise.

    Examples:
        >>> slmlab.check("01.2", ...)
        ○ 01.2: open. Put your code in place of the `...`.
    """
    if exercise not in CHECKS:
        raise TaskError(f"There is no exercise {exercise!r}.{did_you_mean(str(exercise), CHECKS)}")
    if any(is_open(answer) for answer in answers):
        print(f"○ {exercise}: open. Put your code in place of the `...`.")
        return
    judge = CHECKS[exercise]
    try:
        hint = judge(*answers)
    except Exception as error:  # an answer of any kind gets a sentence
        logging.getLogger(__name__).debug("the check %s failed", exercise, exc_info=True)
        expected = str(judge.__doc__).rstrip(".")
        expected = expected[0].lower() + expected[1:]
        hint = f"The check expects {expected} and could not read yours ({type(error).__name__})."
    print(f"✓ {exercise}: right." if hint is None else f"✗ {exercise}: not yet. {hint}")


def exercise(number: str) -> Callable[[Check], Check]:
    """Register a function as the check of an exercise."""

    def register(judge: Check) -> Check:
        CHECKS[number] = judge
        return judge

    return register


def is_open(answer: object, depth: int = 3) -> bool:
    """Whether an answer still is or contains the ``...`` of the exercise, or is an empty function.

    Looks into lists, tuples, sets and dicts, down to ``depth`` levels.
    """
    if answer is ...:
        return True
    if isinstance(answer, FunctionType):
        # `def f(x): ...` compiles to the same code whatever its parameters are.
        return answer.__code__.co_code == _blank.__code__.co_code
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if depth and isinstance(answer, (list, tuple, set, frozenset)):
        return any(is_open(one, depth - 1) for one in answer)
    return False


def near(value: float, right: float, tolerance: float = 0.02) -> bool:
    """Whether a number is right, within a relative tolerance."""
    return abs(float(value) - right) <= tolerance * abs(right)


def prompt_contents(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """The words of a prompt: of a conversation the messages, without who says them."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def _blank() -> None: ...

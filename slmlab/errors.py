"""The errors that users may see: each is a sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from slmlab.terminal import printable


class SlmlabError(RuntimeError):
    """An error with a message for the user: what went wrong, and what to do about it."""

    def _render_traceback_(self) -> list[str]:
        # IPython calls this to show an exception: students see the sentence without a traceback.
        return [f"{type(self).__name__}: {printable(str(self))}"]


class InstallError(SlmlabError):
    """Ollama could not be installed; nothing half-installed was left behind."""


class ServerError(SlmlabError):
    """No server could be started, found or reached."""


class ServerLost(ServerError):
    """The server, or the process that runs the model, went away in mid-request; try again."""


class PartialResultError(SlmlabError):
    """An error in the middle of a comparison; ``frame`` has the finished rows, or is None."""

    def __init__(self, message: str, frame: Any = None) -> None:
        super().__init__(message)
        self.frame = frame

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.frame)


class GenerationError(SlmlabError):
    """A generation failed; ``record`` holds the text so far, and the error.

    ``lost`` says that the server, or the process that runs the model, went away, so that another
    attempt may succeed.
    """

    def __init__(self, message: str, record: Any, lost: bool = False) -> None:
        super().__init__(message)
        self.record, self.lost = record, lost

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.record, self.lost)


class Interrupted(KeyboardInterrupt):
    """The reader stopped a comparison; what was finished is kept, and in ``frame``.

    Like every KeyboardInterrupt it is no ``Exception``, so no ``except Exception`` swallows it.
    """

    def __init__(self, message: str, frame: Any = None) -> None:
        super().__init__(message)
        self.frame = frame

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str, Any]]:
        return type(self), (str(self), self.frame)

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {printable(str(self))}"]


class ServerGone(PartialResultError, ServerError):
    """In the middle of a comparison every server went away for good; what was finished is kept."""


class ResultsError(PartialResultError):
    """Records, votes or task files could not be read or written."""


class ModelError(SlmlabError):
    """A model is unknown, could not be pulled, or does not fit."""


class PromptError(SlmlabError, ValueError):
    """A prompt, a template or a sampling option is not usable as given; nothing was sent."""


class TaskError(SlmlabError, ValueError):
    """A task set, a scorer or an exercise is unknown, or a table lacks what a scorer needs."""


class FileError(TaskError):
    """A file that describes an evaluation has a mistake; the message names its line."""


class Unscorable(TaskError):
    """This answer cannot be scored, because of the answer or its row; the message says why.

    ``score`` then leaves the score empty, notes the reason and goes on. Your own scorers may raise
    it too.

    Examples:
        >>> def as_long(text, row):
        ...     if not row["length"]:
        ...         raise slmlab.scorers.Unscorable("`length` is 0.")
        ...     return min(1.0, len(text) / row["length"])
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean …?`` with the nearest of the known names, or nothing."""
    known = list(known)
    # Two names are not alike for ending in the tag that stands for none.
    whole = {one.removesuffix(":latest"): one for one in reversed(known)}
    near = difflib.get_close_matches(name.removesuffix(":latest"), whole, n=1, cutoff=0.6)
    near = [whole[one] for one in near]
    # Model names have long tags; people remember the part before the colon.
    family = name.partition(":")[0].lower()
    near = near or [one for one in known if family and one.lower().startswith(family)]
    families = {one.partition(":")[0]: one for one in reversed(known)}
    near = near or [families[one] for one in difflib.get_close_matches(family, families, n=1)]
    return f" Did you mean {near[0]!r}?" if near else ""

"""The errors that a reader of a notebook may see: each is a sentence that says what to do."""

from __future__ import annotations

from typing import Any


class SlmlabError(RuntimeError):
    """Something went wrong that we could foresee; the message says what, and what to do."""

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception to render itself: a student gets the sentence, not the stack.
        return [f"{type(self).__name__}: {self}"]


class InstallError(SlmlabError):
    """Ollama could not be installed; nothing half-installed was left behind."""


class ServerError(SlmlabError):
    """No server could be started, found or reached."""


class ServerLost(ServerError):
    """The server, or the process with the model, went away in the middle; another try may do."""


class WithFrame(SlmlabError):
    """An error in the middle of a comparison; ``frame`` has the finished rows, or is None."""

    def __init__(self, message: str, frame: Any = None) -> None:
        super().__init__(message)
        self.frame = frame

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.frame)


class Interrupted(WithFrame, KeyboardInterrupt):
    """The reader stopped a comparison; what was finished is kept."""


class ServerGone(WithFrame, ServerError):
    """In the middle of a comparison every server went away for good; what was finished is kept."""


class ResultsError(WithFrame):
    """Records, votes or task files could not be read or written."""


class ModelError(SlmlabError):
    """A model is unknown, could not be pulled, or does not fit."""


class PromptError(SlmlabError, ValueError):
    """A prompt or template is not usable as given."""

"""The errors that a reader of a notebook may see: each is a sentence that says what to do."""

from __future__ import annotations


class SlmlabError(RuntimeError):
    """Something went wrong that we could foresee; the message says what, and what to do."""

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception to render itself: a student gets the sentence, not the stack.
        return [f"{type(self).__name__}: {self}"]


class InstallError(SlmlabError):
    """Ollama could not be installed; nothing half-installed was left behind."""


class ServerError(SlmlabError):
    """No server could be started, found or reached."""


class ModelError(SlmlabError):
    """A model is unknown, could not be pulled, or does not fit."""


class PromptError(SlmlabError, ValueError):
    """A prompt or template is not usable as given."""

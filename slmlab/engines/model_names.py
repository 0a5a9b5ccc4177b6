"""Names of models: each is read here, as Ollama reads it, whoever gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG = "registry.ollama.ai", "library", "latest"
# Ollama's types/model/name.go.
_PARTS = re.compile(
    r"((?P<scheme>https?)://)?"
    r"(((?P<host>\w[\w.-]{0,299}(:\d{1,5})?)/)?(?P<namespace>\w[\w-]{0,79})/)?"
    r"(?P<model>\w[\w.-]{0,79})(:(?P<tag>\w[\w.-]{0,79}))?",
    re.ASCII,
)
# The name becomes a file's name.
_LONGEST = 200


class NameNotValid(ValueError):
    """A model name that Ollama would not accept either."""


@dataclass(frozen=True)
class ModelName:
    """A model's name in its parts; those that were not given have Ollama's defaults.

    ``scheme`` is ``http``, ``https`` or nothing, as the name began; it is no part of the name under
    which a model is kept.
    """

    host: str
    namespace: str
    model: str
    tag: str
    scheme: str = ""

    @property
    def repository(self) -> str:
        """Where its registry has it: ``library/llama3.2``."""
        return f"{self.namespace}/{self.model}"

    @property
    def full(self) -> str:
        """The name under which servers list it: with its tag, without what is understood.

        Examples:
            >>> read_name("registry.ollama.ai/library/llama3.2").full
            'llama3.2:latest'
        """
        where = ""
        if self.host.lower() != DEFAULT_HOST:
            where = f"{self.host}/{self.namespace}/"
        elif self.namespace.lower() != DEFAULT_NAMESPACE:
            where = f"{self.namespace}/"
        return f"{where}{self.model}:{self.tag}"


def read_name(text: object) -> ModelName:
    """The parts of a model's name: ``[[host[:port]/]namespace/]model[:tag]``.

    Raises:
        NameNotValid: it is no model's name.
    """
    found = _PARTS.fullmatch(text) if isinstance(text, str) and len(text) <= _LONGEST else None
    if not found or (found["scheme"] and not found["host"]):
        raise NameNotValid("invalid model name")
    return ModelName(
        found["host"] or DEFAULT_HOST,
        found["namespace"] or DEFAULT_NAMESPACE,
        found["model"],
        found["tag"] or DEFAULT_TAG,
        found["scheme"] or "",
    )


def full_name(text: object) -> str:
    """The name under which servers list the model, ``:latest`` where it has no tag.

    Raises:
        NameNotValid: it is no model's name.
    """
    return read_name(text).full

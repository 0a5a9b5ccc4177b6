"""What a model can do: chat, complete, call tools, think, fill gaps, embed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from slmlab.engines import server
from slmlab.engines.address import speaks_openai
from slmlab.models import inventory

# The template of a model that has none, as the API tells it.
_NO_TEMPLATE = "{{ .Prompt }}"


def capabilities(model: str, *, host: str | None = None) -> tuple[str, ...]:
    """What a model can do.

    ``completion`` (continue a text), ``chat`` (its file has a chat template; a base model's has
    none), ``tools``, ``thinking``, ``insert`` (fill a gap), ``vision``, ``embedding``. All but
    ``chat`` are Ollama's words; it does not tell base models from others.

    Raises:
        ModelError: there is no such model.
        ServerError: no server answers.

    Examples:
        >>> slmlab.models.capabilities(names[0])
        ('completion', 'chat')
    """
    host = server.address_of(host)
    one = inventory.resolve(model, host=host)
    return _capabilities(host, one.name, one.digest)


def writers(*, host: str | None = None) -> list[str]:
    """Names of the installed models that write text; those that only embed are left out.

    Examples:
        >>> set(names) <= {*slmlab.models.writers()}
        True
    """
    host = server.address_of(host)
    if speaks_openai(host):  # which does not tell
        return [one.name for one in inventory.installed(host=host)]
    return [
        one.name
        for one in inventory.installed(host=host)
        if "completion" in _capabilities(host, one.name, one.digest)
    ]


@functools.lru_cache(maxsize=1000)
def _capabilities(host: str, model: str, digest: str) -> tuple[str, ...]:
    """Asked for once: they are the same as long as the digest is."""
    return read(inventory.show(model, host=host))


def read(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The capabilities in what ``slmlab.models.show`` gives.

    Examples:
        >>> "chat" in slmlab.models.abilities.read(slmlab.models.show(names[0]))
        True
    """
    info = facts.get("modelinfo") or {}
    found = facts.get("capabilities")
    if found is None:  # Ollama before 0.6.4
        pooled = f"{info.get('general.architecture')}.pooling_type" in info
        found = ["embedding" if pooled else "completion"]
    template = facts.get("template") or _NO_TEMPLATE
    chats = template != _NO_TEMPLATE or "tokenizer.chat_template" in info
    if "completion" in found and chats:
        found = ["completion", "chat", *(one for one in found if one != "completion")]
    return tuple(found)

"""A model on a server, as it is before a generation: which one, whether it is loaded, and how."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slmlab import models
from slmlab.devices import gpu_names
from slmlab.engines.address import is_local, speaks_openai
from slmlab.engines.find import server_from
from slmlab.engines.openai_server import options_of
from slmlab.engines.server_errors import version_at
from slmlab.errors import PromptError
from slmlab.memory import effective_context
from slmlab.run.options import DEFAULT_OPTIONS, LOAD_OPTIONS
from slmlab.run.truncation import DEFAULT_NUM_KEEP


@dataclass(frozen=True)
class Target:
    """A model on a server, with what the server reports about both before a generation."""

    host: str
    model: str
    engine: str
    engine_version: str
    digest: str
    cold: bool
    gpu_share: float | None
    # The context length in tokens, and how many tokens at its beginning a truncated prompt keeps.
    num_ctx: int | None = None
    num_keep: int = DEFAULT_NUM_KEEP


def resolve_target(model: str, num_ctx: int, host: str) -> Target:
    """Ask a server about a model: three short requests, and a fourth the first time.

    Raises:
        ModelError: there is no such model.
        ServerError: no server answers.
    """
    current = server_from(host, version_at(host))
    digest = models.resolve(model, host=host).digest
    if speaks_openai(host):  # which does not report more
        version = current.version
        return Target(host, model, current.engine, version, digest, cold=False, gpu_share=None)
    most, num_keep = _limits(model, digest, host)
    # Newer servers cap the requested context at the length that the model was trained with.
    effective = effective_context(num_ctx, most)
    resident = [one for one in models.loaded(host=host) if one.digest == digest]
    fitting = [one for one in resident if one.context_length in (None, num_ctx, effective)]
    # Without a GPU a share of 0 would mean nothing.
    to_share = fitting and (gpu_names() or not is_local(host))
    return Target(
        host=host,
        model=model,
        engine=current.engine,
        engine_version=current.version,
        digest=digest,
        cold=not fitting,
        gpu_share=fitting[0].gpu_share if to_share else None,
        num_ctx=effective,
        num_keep=num_keep,
    )


@functools.lru_cache(256)
def _limits(model: str, digest: str, host: str) -> tuple[int | None, int]:
    """A model's maximum context length (None: unknown), and the ``num_keep`` in its Modelfile.

    Asked for once: they are the same as long as the digest is.
    """
    facts = models.show(model, host=host)
    info = facts.get("modelinfo") or {}
    most = info.get(f"{info.get('general.architecture')}.context_length")
    keep = re.search(r"^num_keep\s+(-?\d+)", facts.get("parameters") or "", re.MULTILINE)
    return int(most) if most else None, int(keep[1]) if keep else DEFAULT_NUM_KEEP


def taken_options(target: Target, options: dict[str, Any]) -> dict[str, Any]:
    """Those of all options that a server takes; only one of OpenAI's API does not take all."""
    if not speaks_openai(target.host):
        return options
    takes = options_of(target.engine)
    return {name: value for name, value in options.items() if name in takes}


def need_options(target: Target, options: dict[str, Any]) -> None:
    """Check that a server takes all options that are not at their defaults.

    Raises:
        PromptError: it does not.
    """
    taken = taken_options(target, options)
    for name, value in options.items():
        if name not in taken and not (name in DEFAULT_OPTIONS and DEFAULT_OPTIONS[name] == value):
            raise PromptError(
                f"{name} cannot be set at {target.host}: slmlab speaks OpenAI's API with it, and "
                f"sends {', '.join(sorted(options_of(target.engine)))}. Leave {name} out, or set "
                "it where that server is started."
            )


def load_model(model: str, options: Mapping[str, Any], host: str) -> float:
    """Load a model for generations with these (full) options; returns the seconds it took."""
    return models.load(
        model, host=host, **{name: options[name] for name in LOAD_OPTIONS if name in options}
    )

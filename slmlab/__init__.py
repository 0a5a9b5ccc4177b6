"""slmlab: the notebook lab where people meet small language models.

>>> import slmlab
>>> slmlab.start()                                        # doctest: +SKIP
>>> models = slmlab.ready()                               # doctest: +SKIP
>>> slmlab.ask(models[0], "Why is the sky blue?")         # doctest: +SKIP
>>> slmlab.compare(models, ["Why is the sky blue?"])      # doctest: +SKIP
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# Name → the module that has it. Imported on first use, so that `import slmlab` stays quick. No
# module has a verb's name: importing it would put the module in the verb's place.
_HOMES = {
    "add": "models",
    "arena": "widgets.arena",
    "ask": "display",
    "catalog_explorer": "widgets.catalog_explorer",
    "chain": "prompts",
    "check": "exercises",
    "compare": "comparison",
    "doctor": "checkup",
    "generate": "generation",
    "machine": "hardware",
    "playground": "widgets.playground",
    "pull": "models",
    "ready": "models",
    "remove": "models",
    "report": "reporting",
    "score": "scoring",
    "side_by_side": "widgets.side_by_side",
    "start": "server",
    "status": "server",
    "stop": "server",
    "will_it_fit": "fit",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"slmlab.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'slmlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Run prompts: one at a time, several at once, or a whole comparison."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["prompts", "results"])

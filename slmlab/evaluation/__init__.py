"""Evaluate answers: task sets, scorers, votes, and statistics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["exports", "likelihood", "repeats", "scorers", "statistics", "tasks", "votes"],
)

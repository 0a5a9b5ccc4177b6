"""What only the notebooks use: exercises, and a model opened up."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["distillation", "weights"])

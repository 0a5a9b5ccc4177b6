"""What only the notebooks use: checks of exercises, and a model's internals in numpy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["distillation", "weights"])

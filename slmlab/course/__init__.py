"""What only the notebooks use: checks of exercises; a model's internals, in numpy and JAX."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["distillation", "finetuning", "weights"]
)

"""Find, install, start and stop the server behind the API: Ollama or the embedded engine."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["server"])

"""Find, install, start and stop the server behind the API: Ollama or the embedded engine."""

import sys

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["server"])

# Without this, httpx imports its own command line with rich and pygments, where they are installed,
# which takes four times as long as the rest of it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

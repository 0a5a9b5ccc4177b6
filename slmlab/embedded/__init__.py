"""The embedded engine: Ollama's REST API over llama.cpp, for machines that cannot have Ollama.

``app`` answers HTTP, ``store`` keeps models on disk, ``shelf`` knows models that come as PyPI
packages, ``runners`` keeps one process per loaded model, ``runner`` is that process, ``gguf``
reads the header of a model file.
"""

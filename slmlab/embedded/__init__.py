"""The embedded engine: Ollama's REST API over llama.cpp, for machines that cannot have Ollama.

``app`` has the routes, ``answers`` and ``requests`` the shapes of what goes out and comes in,
``llama`` speaks to llama.cpp, ``store`` keeps models on disk, ``shelf`` knows models that come as
PyPI packages, ``runners`` keeps one process per loaded model, ``runner`` is that process,
``gguf`` reads the header of a model file.
"""

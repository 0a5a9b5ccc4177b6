"""The embedded engine: Ollama's REST API over llama.cpp, for machines that cannot have Ollama.

``routes`` has the API, ``schemas`` and ``responses`` the shapes of what comes in and goes out,
``llama_cpp`` speaks to llama.cpp, ``model_store`` keeps models on disk, ``pypi_models`` knows the
models that come as PyPI packages, ``pool`` keeps one process for each loaded model, ``worker`` is
that process, ``gguf_header`` reads the header of a model file.
"""

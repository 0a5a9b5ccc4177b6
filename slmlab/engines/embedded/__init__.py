"""The embedded engine: Ollama's REST API over llama.cpp, for machines that cannot have Ollama.

``routes`` has the table of the API's routes, ``models_api`` and ``generate_api`` what handles them,
``openapi`` their description, ``schemas`` and ``responses`` the shapes of what comes in and goes
out. ``engine`` is what they share: ``model_store`` keeps models on disk, ``pool`` one process for
each loaded model, ``worker`` is that process, and ``llama_cpp`` speaks to it. ``pypi_models`` knows
the models that come as PyPI packages, ``gguf_header`` reads the header of a model file.
"""

# A header of each answer: whether its prompt had to be cut, which Ollama does not tell. A field
# would not do, since Ollama's own clients drop those that they do not know.
PROMPT_TRUNCATED = "x-prompt-truncated"

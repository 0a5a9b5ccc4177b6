"""The embedded engine: Ollama's REST API over llama.cpp, for machines that cannot have Ollama.

``routes`` has the table of the API's routes, ``models_api`` and ``generate_api`` their handlers,
``openapi`` their description, ``schemas`` the request bodies, ``responses`` the forms of answers.
``openai_api`` and ``openai_schemas`` translate OpenAI's API into Ollama's.
``answers`` puts a question to a model, whatever route it came by. The handlers share the
``engine``: ``model_store`` keeps models on disk, ``pool`` one process for each loaded model,
``worker`` is that process, ``llama_cpp`` talks to it, ``completions`` reads what it writes.
``pypi_models`` has the models that come as PyPI packages, ``registry_pull`` gets any other,
``gguf_header`` reads the header of a model file. ``serve`` starts all of it.
"""

# The header of each answer that says whether its prompt was truncated, which Ollama does not
# report. It is not a field of the body, since Ollama's clients drop fields that they do not know.
PROMPT_TRUNCATED = "x-prompt-truncated"
# The header of a request that says, with "false", that the whole prompt is to be read, also what
# the prompt cache has of it: the option ``cache_prompt``, for clients that drop unknown options.
CACHE_PROMPT = "x-cache-prompt"

"""A scorer that compares meanings."""

from __future__ import annotations

import functools

from slmlab import models
from slmlab.engines import server
from slmlab.engines.client import client
from slmlab.evaluation.scorers.reading import Row, Scorer, answer, as_text, cell


def similar(model: str, *, host: str | None = None) -> Scorer:
    """A scorer: how similar answer and ``expected`` are in meaning, by ``model``'s embeddings.

    The score is the cosine similarity of the two embeddings, at least 0. It tells topics apart
    better than right from wrong; embedding models (``all-minilm``, ``nomic-embed-text``) are better
    at it than chat models.

    Examples:
        >>> similar = slmlab.scorers.similar(slmlab.models.embedder())
        >>> round(similar("A cat.", {"expected": "A cat."}), 2)
        1.0
    """
    host = server.address_of(host)
    models.resolve(model, host=host)

    @functools.lru_cache(maxsize=4096)
    def embedding(text: str) -> tuple[float, ...]:
        with models.errors_as_sentences(host, model):
            return tuple(client(host).embed(model, text).embeddings[0])

    def similarity(text: str, row: Row) -> float:
        import numpy as np

        expected, found = as_text(cell(row, "expected")), answer(text)
        if not found.strip():
            return 0.0
        one, other = np.array(embedding(found)), np.array(embedding(expected))
        lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
        return min(1.0, max(0.0, float(one @ other) / lengths)) if lengths else 0.0

    return similarity

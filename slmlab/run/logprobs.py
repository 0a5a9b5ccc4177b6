"""How probable the tokens of an answer were, as the server reports it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from slmlab.engines.openai_server import UNKNOWN_PROGRAM
from slmlab.errors import PromptError, SlmlabError
from slmlab.run.cells import plain
from slmlab.run.truncation import number

if TYPE_CHECKING:
    import pandas as pd

    from slmlab.run.record import Generation

# Ollama and the embedded engine report no more alternatives than these; True means some of them.
MOST, SOME = 20, 5
OLLAMA_SINCE = (0, 12, 11)


def validate_logprobs(wanted: int) -> int:
    """How many alternatives of each token to record; 0: none, and no probabilities.

    Raises:
        PromptError: it is not such a number.
    """
    if wanted is True:
        return SOME
    if not hasattr(wanted, "__index__") or not 0 <= wanted <= MOST:
        raise PromptError(
            f"logprobs is how many of the likeliest tokens to record at each place, 1 to {MOST}, "
            f"or True for {SOME}; got {wanted!r}."
        )
    return int(wanted)


def need_logprobs(engine: str, version: str, host: str) -> None:
    """Check that a server reports probabilities.

    Raises:
        PromptError: it does not.
    """
    if engine == UNKNOWN_PROGRAM:
        raise PromptError(
            f"It is not known whether the server at {host} reports the probabilities of tokens. "
            "llama-server, vLLM, Ollama and the embedded engine do; leave logprobs out here."
        )
    if engine == "ollama" and number(version) < OLLAMA_SINCE:
        raise PromptError(
            f"The server at {host} is Ollama {version}, which does not report the probabilities of "
            "tokens: that takes Ollama 0.12.11 or later, or the embedded engine "
            "(slmlab.start('embedded')). Leave logprobs out here."
        )


def compact(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The server's rows, one for each token, without what can be computed from the rest."""
    return [
        _compact(row) | {"top_logprobs": [_compact(one) for one in row.get("top_logprobs") or ()]}
        for row in rows
    ]


def _compact(row: Mapping[str, Any]) -> dict[str, Any]:
    # JSON can contain lone surrogates, which can be neither stored nor shown.
    token = str(row["token"]).encode(errors="replace").decode()
    found: dict[str, Any] = {"token": token, "logprob": round(float(row["logprob"]), 5)}
    # The bytes of a token that has a part of a character only.
    octets = row.get("bytes")
    return found | ({"bytes": octets} if octets and bytes(octets) != token.encode() else {})


def token_text(row: Mapping[str, Any]) -> str:
    r"""The text of a token; bytes that are no whole character as ``\xf0``."""
    octets = row.get("bytes")
    return bytes(octets).decode(errors="backslashreplace") if octets else str(row["token"])


def rows_of(record: Generation | Mapping[str, Any] | pd.Series) -> list[dict[str, Any]]:
    """The rows of an answer's tokens.

    Raises:
        SlmlabError: it has none.
    """
    found = record.get("logprobs") if hasattr(record, "get") else getattr(record, "logprobs", None)
    rows = plain(found)
    if not isinstance(rows, list) or not rows:
        raise SlmlabError(
            "This answer has no probabilities of its tokens. Ask for them: "
            "slmlab.generate(…, logprobs=5), and ask and compare alike."
        )
    return rows


def tokens(record: Generation | Mapping[str, Any] | pd.Series) -> pd.DataFrame:
    r"""The tokens of an answer with their probabilities, one row each.

    The probabilities are the model's own, before temperature and the other sampling options. The
    perplexity of the answer is ``np.exp(-table["logprob"].mean())``.

    Args:
        record: an answer that was asked for with ``logprobs``: what ``slmlab.generate`` returned,
            or a row of what ``slmlab.compare`` returned.

    Returns:
        Columns: ``token`` (its text; bytes that are no whole character as ``\xf0``; empty at the
        end of the answer), ``logprob`` (natural logarithm), ``probability``, ``rank`` (1: the
        likeliest; missing if it is not among those recorded), ``entropy`` in bits, ``rest``, and
        ``alternatives``, the recorded ones as pairs of text and probability. ``rest`` is the
        probability of all tokens that were not recorded; how it is spread among them is not known,
        so the entropy counts them as one, and the true one may be higher. ``whole`` is False where
        a character took several tokens, of which the server reports only the last one's
        probability.

    Raises:
        SlmlabError: the answer has no probabilities.

    Examples:
        >>> record = slmlab.generate(names[0], "What is 2 + 2?", num_predict=5, logprobs=3)
        >>> table = slmlab.tokens(record)
        >>> bool((table["probability"] <= 1).all())
        True
    """
    import pandas as pd

    return pd.DataFrame([_token(row) for row in rows_of(record)]).astype({"rank": "Int64"})


def _token(row: Mapping[str, Any]) -> dict[str, Any]:
    top = [(token_text(one), math.exp(one["logprob"])) for one in row["top_logprobs"]]
    text, logprob = token_text(row), row["logprob"]
    same = [place for place, one in enumerate(row["top_logprobs"], 1) if one["logprob"] == logprob]
    named = [place for place, (name, _) in enumerate(top, 1) if name == text]
    whole = not same or bool(named)
    known = [share for _, share in top] + ([] if named or same else [math.exp(logprob)])
    rest = max(0.0, 1 - math.fsum(known))
    return {
        "token": text,
        "logprob": logprob,
        "probability": math.exp(logprob),
        "rank": next(iter(named or same), None),
        "entropy": math.fsum(-share * math.log2(share) for share in (*known, rest) if share > 0),
        "rest": rest,
        "alternatives": top,
        "whole": whole,
    }

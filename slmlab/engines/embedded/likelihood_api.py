"""The route that says how probable given texts are to a model, which Ollama has not.

llama.cpp's server gives the probabilities of the tokens that it writes, and none of those that it
reads. So it is made to write the given ones, each by a bias so large that no other can be chosen;
the probabilities that it reports are those before the bias. Its prompt cache keeps what was read,
so that each token is computed once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from slmlab.engines.embedded import llama_cpp
from slmlab.engines.embedded.engine import Engine, keep_alive_seconds
from slmlab.engines.embedded.loader import Worker
from slmlab.engines.embedded.model_store import StoredModel
from slmlab.engines.embedded.responses import ApiError, parsed, reply
from slmlab.engines.embedded.schemas import LikelihoodRequest

# Tokens in a line of the answer.
TOKENS_AT_ONCE = 16
MOST_ALTERNATIVES = 10_000
BIAS = 10_000.0
# llama.cpp computes probabilities in 32 bits: this is the logarithm of the smallest one.
LEAST = -103.27892990343185


async def likelihood(engine: Engine, request: Request) -> Response:
    """``POST /slmlab/likelihood``: the log-probability of each token of each continuation.

    Lines of JSON come, each with the number of the ``continuation`` and some of its ``tokens``
    (``id``, ``token``, ``bytes``, ``logprob``, and with ``top`` the likeliest as pairs of id and
    log-probability), in order.
    """
    args = await parsed(request, LikelihoodRequest)
    model = engine.model(args.model)
    if "completion" not in model.capabilities:
        raise ApiError(400, f'"{args.model}" does not support generate')
    if not args.continuations or not all(args.continuations):
        raise ApiError(400, "continuations must be a list of texts, none of them empty")
    if not 0 <= args.top <= MOST_ALTERNATIVES:
        raise ApiError(400, f"top must be between 0 and {MOST_ALTERNATIVES}")
    if args.chat and not model.chat_template:
        raise ApiError(400, "a base model has no chat template: leave chat out")
    options = model.options | llama_cpp.check_options(args.options or {})
    keep_alive = keep_alive_seconds(args.keep_alive)

    async def steps() -> AsyncGenerator[dict[str, Any], None]:
        async with engine.admit(), engine.loaded(model, options, keep_alive) as worker:
            prompt = await _conversation(worker, model, args.prompt) if args.chat else args.prompt
            texts, start, limit = await _tokens(worker, prompt, args.continuations)
            if prompt:
                # All of them go on from the same cache, so that equal ones get equal numbers. What
                # the question before had in common, such as examples, is in it already.
                shared = {"prompt": texts[0][:start], "n_predict": 0, "cache_prompt": True}
                await llama_cpp.post(worker, "/completion", shared)
            for number, tokens in enumerate(texts):
                rows: list[dict[str, Any]] = []
                for place, given in _places(tokens, start, limit):
                    rows.append(await _forced(worker, given, tokens[place], args.top))
                    if len(rows) == TOKENS_AT_ONCE or place == len(tokens) - 1:
                        yield {"continuation": number, "tokens": rows}
                        rows = []

    return await reply(request, steps(), stream=True)


async def _conversation(worker: Worker, model: StoredModel, prompt: str) -> str:
    """The prompt in the model's chat template, up to where the answer begins."""
    messages = [*model.messages, {"role": "user", "content": prompt}]
    if model.system:
        messages.insert(0, {"role": "system", "content": model.system})
    thinks = "thinking" in model.capabilities
    more = {"chat_template_kwargs": {"enable_thinking": False}} if thinks else {}
    return await llama_cpp.render(worker, model, messages, more)


async def _tokens(
    worker: Worker, prompt: str, continuations: Sequence[str]
) -> tuple[list[list[int]], int, int]:
    """The tokens of the prompt with each continuation; how many of them all share; the context.

    Where a continuation's beginning and the prompt's end are one token, that token counts, and in
    the other continuations what stands at its place: each is scored from the same place on.
    Without a prompt, only the tokens that begin every text are shared, or else the first token,
    before which there is nothing that could make it probable.
    """
    texts = [await llama_cpp.tokenize(worker, prompt + one) for one in continuations]
    before = await llama_cpp.tokenize(worker, prompt)
    start = min(_common(before, tokens) for tokens in texts)
    shortest, limit = min(map(len, texts)), worker.settings.num_ctx
    start = min(start, shortest - 1) if prompt else max(start, 1)
    if not 0 < start < shortest:
        raise ApiError(400, "a text of one token has nothing before it that makes it probable")
    if prompt and max(map(len, texts)) > limit:
        raise ApiError(400, llama_cpp.TOO_LONG)
    return texts, start, limit


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences share at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (x, y) in pairs if x != y), min(len(one), len(other)))


def _places(tokens: list[int], start: int, limit: int) -> Iterator[tuple[int, list[int]]]:
    """Each place from ``start`` on, and the tokens from which the one there is predicted.

    That is all before it. In a text that is longer than the context, it is at least half a
    context: whenever the context is full, its first half is left out.

    Examples:
        >>> [(place, given) for place, given in _places([7, 8, 9, 10, 11, 12], 1, 4)]
        [(1, [7]), (2, [7, 8]), (3, [7, 8, 9]), (4, [9, 10]), (5, [9, 10, 11])]
    """
    begin = 0
    for place in range(start, len(tokens)):
        if place - begin >= limit:
            begin = place - limit // 2
        yield place, tokens[begin:place]


async def _forced(worker: Worker, given: list[int], token: int, top: int) -> dict[str, Any]:
    """The token after the given ones, with its log-probability and the likeliest ones."""
    body = {
        "prompt": given,
        "n_predict": 1,
        "temperature": 0,
        "samplers": ["temperature"],
        "logit_bias": [[token, BIAS]],
        "n_probs": max(1, top),
        "cache_prompt": True,
    }
    rows = (await llama_cpp.post(worker, "/completion", body)).get("completion_probabilities")
    if not rows or rows[0]["id"] != token:
        raise ApiError(
            400, f"llama.cpp gives no probability of the token {token}, which ends an answer"
        )
    row = {key: rows[0][key] for key in ("id", "token", "bytes")}
    row["logprob"] = max(LEAST, rows[0]["logprob"])
    if top:
        row["top"] = [[one["id"], max(LEAST, one["logprob"])] for one in rows[0]["top_logprobs"]]
    return row

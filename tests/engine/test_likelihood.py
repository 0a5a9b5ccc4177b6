"""How probable given texts are, on real servers, against our own forward pass in numpy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import slmlab
from slmlab import likelihood
from slmlab.course import transformer, weights
from slmlab.errors import ModelError, PromptError
from slmlab.evaluation import statistics, tasks
from slmlab.run import given_tokens
from tests.support.engines import BASE, SHALLOW, SMOL

TEXT = "The library is open from ten to six. The cat sat on the mat and looked at the sea."


@pytest.fixture(scope="module")
def short(smol_gguf):
    """SmolLM2 without most of its layers: small enough to have in 32 bits."""
    model = weights.read(smol_gguf)
    return weights.drop_layers(model, range(3, model.layers - 3))


@pytest.fixture(scope="module")
def coarse(short):
    """The same, as 4 bits leave it."""
    rounded = {n: weights.quantized(short.tensors[n], "Q4_0")[0] for n in short.matrices()}
    return short.with_tensors(rounded)


@pytest.fixture(scope="module")
def names(short, coarse, embedded, tmp_path_factory):
    """Both on the engine in 32 bits; it keeps keys and values in 16 bits all the same."""
    folder = tmp_path_factory.mktemp("weights")
    for name, model in (("short:whole", short), ("short:coarse", coarse)):
        path = weights.write(model, folder / f"{name[6:]}.gguf", "F32")
        slmlab.add(name, path, host=embedded.url)
        path.unlink()
    yield ["short:whole", "short:coarse"]
    slmlab.remove("short:whole", "short:coarse", host=embedded.url)


def ours(model, ids):
    return transformer.log_softmax(transformer.forward(model, ids).astype(np.float64))


def test_log_probabilities_are_those_of_our_own_forward_pass(here, names, short):
    ids = weights.tokenizer(short).encode(TEXT).ids
    target = given_tokens.embedded(names[0], 256, None)
    (rows,) = given_tokens.token_rows(target, [TEXT], 256)
    assert [row["id"] for row in rows] == ids[1:]
    assert b"".join(bytes(row["bytes"]) for row in rows).decode() == TEXT[len("The") :]
    expected = ours(short, ids)[np.arange(len(ids) - 1), ids[1:]]
    assert [row["logprob"] for row in rows] == pytest.approx(expected, abs=0.05)
    found = likelihood.perplexity(names[0], TEXT, num_ctx=256)
    assert found.perplexity.value == pytest.approx(weights.perplexity(short, TEXT), rel=0.02)
    assert found.losses == pytest.approx(weights.losses(short, [TEXT]), abs=0.02)


def test_a_quantized_model_is_near_it(here, smol_gguf):
    model = weights.read(smol_gguf)
    found = likelihood.perplexity(SMOL, [TEXT, TEXT[:36]])
    expected = weights.losses(model, [TEXT, TEXT[:36]])
    # llama.cpp rounds what it multiplies with 4-bit weights to 8 bits.
    assert found.losses == pytest.approx(expected, abs=0.15)


def test_a_text_longer_than_the_context_is_predicted_from_half_of_it_at_least(here, names, short):
    ids, context = weights.tokenizer(short).encode(TEXT).ids, 8
    target = given_tokens.embedded(names[0], context, None)
    (rows,) = given_tokens.token_rows(target, [TEXT], context)
    begin, expected = 0, []
    for place in range(1, len(ids)):
        if place - begin == context:
            begin = place - context // 2
        expected.append(ours(short, ids[begin:place])[-1, ids[place]])
    assert [row["logprob"] for row in rows] == pytest.approx(expected, abs=0.05)


def test_choices_that_share_their_first_tokens(here, names, short):
    prompt, choices = "My house is", ["very old", "very small and old", "very", "new"]
    table = likelihood.choose(names[0], prompt, choices)
    encode = weights.tokenizer(short).encode
    start = len(encode(prompt).ids)
    for row in table.itertuples():
        ids = encode(f"{prompt} {row.choice}").ids
        logs = ours(short, ids)[np.arange(start - 1, len(ids) - 1), ids[start:]]
        assert row.logprob == pytest.approx(logs.sum(), abs=0.15)
        assert row.tokens == len(logs)
        assert row.per_character == pytest.approx(row.logprob / len(row.choice))
    assert table["probability"].sum() == pytest.approx(1)
    turned = likelihood.choose(names[0], prompt, choices[::-1])
    # Whatever their order.
    assert turned["logprob"].tolist()[::-1] == pytest.approx(table["logprob"].tolist(), abs=0.05)


def test_divergence_of_the_likeliest_tokens_and_the_rest(here, names, short, coarse):
    ids, most = weights.tokenizer(short).encode(TEXT).ids, 1000
    p, q = (ours(model, ids)[:-1] for model in (short, coarse))
    exact = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    expected = []
    for one, two, actual in zip(p, q, ids[1:], strict=True):
        both = {*np.argsort(-one)[:most]} & {*np.argsort(-two)[:most]} | {actual}
        x, y = (np.exp(each[[*both]]) for each in (one, two))
        x, y = (np.append(each, 1 - each.sum()) for each in (x, y))
        expected.append((x * np.log(x / y)).sum())
    found = likelihood.kl_divergence(*names, TEXT, likeliest=most, num_ctx=256)
    assert found.kl.value == pytest.approx(np.mean(expected), rel=0.05)
    assert found.kl.value < exact, "a lower bound"
    assert found.same_top.value == pytest.approx((p.argmax(1) == q.argmax(1)).mean())
    assert 0 < found.rest < 1
    same = likelihood.kl_divergence(names[0], names[0], TEXT, likeliest=10, num_ctx=256)
    assert (same.kl.value, same.same_top.value) == (pytest.approx(0, abs=1e-6), 1)
    assert "the same likeliest token at 100.0%" in str(same)


def test_the_same_questions_by_likelihood_and_by_generation(here):
    questions = tasks.load("sentiment", 6)
    chosen = likelihood.multiple_choice([SMOL], questions, chat=True, quiet=True)
    written = slmlab.score(
        slmlab.compare([SMOL], questions, num_predict=12, temperature=0, timing=False, quiet=True)
    )
    assert chosen["score"].isin([0, 1]).all()
    assert ((chosen["text"] == chosen["expected"]) == (chosen["score"] == 1)).all()
    for frame in (chosen, written):
        assert statistics.means(frame)["n"].tolist() == [6]
    joined = pd.concat([chosen.assign(way="chosen"), written.assign(way="written")])
    assert statistics.paired(joined, by="way")["n"].item() == 6


def test_what_cannot_be_scored_is_told(here, capsys):
    with pytest.raises(ModelError, match="nothing before it"):
        likelihood.perplexity(SMOL, "a")
    with pytest.raises(ModelError, match="longer than the context"):
        likelihood.choose(SMOL, "word " * 300, ["a", "b"], num_ctx=256)
    with pytest.raises(ModelError, match="leave chat out"):
        likelihood.choose(BASE, "Paris is in", ["France", "Italy"], chat=True)
    with pytest.raises(ModelError, match="no model 'nope'"):
        likelihood.perplexity("nope", TEXT)
    with pytest.raises(PromptError, match="into different tokens"):
        likelihood.kl_divergence(SMOL, SHALLOW, f"{TEXT} Constantinople.", likeliest=1)
    long = [
        {"prompt": "word " * 300, "labels": ["a", "b"], "expected": "a"},
        {"prompt": "Paris is in", "labels": ["France", "Italy"], "expected": "France"},
    ]
    long.append({"prompt": "2 + 2 is", "labels": ["4", "4"], "expected": "4"})
    table = likelihood.multiple_choice(SMOL, long, num_ctx=256, quiet=True)
    assert "longer than the context" in table["error"][0]
    assert math.isnan(table["score"][0])
    assert table["score"][1] == 1
    assert table["error"][2] == "Some choices are equal."
    assert math.isnan(table["score"][2])
    said = capsys.readouterr().err
    assert "1 of 3 questions are left out, since some of their choices are equal: 2" in said


@pytest.mark.ollama
def test_on_ollama_choices_of_one_likely_token(at, engine):
    if engine.kind == "embedded":
        return
    with pytest.raises(PromptError, match="Ollama does not give the log-probabilities of given"):
        likelihood.perplexity(engine.model, TEXT)
    if not engine.newest:
        with pytest.raises(PromptError, match="does not report the probabilities"):
            likelihood.choose(engine.model, "Paris is in", ["France", "Italy"])
        return
    table = likelihood.choose(engine.model, "Paris is the capital of", ["France", "the"])
    assert (table["logprob"] < 0).all()
    assert table["probability"].sum() == pytest.approx(1)
    with pytest.raises(PromptError, match="' Mozambique' is not one of them"):
        likelihood.choose(engine.model, "Paris is the capital of", ["France", "Mozambique"])

"""LoRA on a tiny transformer with random weights: its gradients, its merge, when it stops."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import slmlab
from slmlab.course import examples, finetuning, transformer
from slmlab.course.transformer import Transformer
from slmlab.errors import ModelError, SlmlabError

# This part of XLA takes half of a compilation, and makes only what is computed often quicker.
QUICK = " --xla_cpu_use_fusion_emitters=false"
TEMPLATE = "{% for message in messages %}<{{ message.content }}>{% endfor %}"


@pytest.fixture(scope="module", autouse=True)
def quick_compilations() -> Iterator[None]:
    """XLA reads its flags when JAX computes first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"] + QUICK)
        yield


@pytest.fixture(scope="module")
def model(tiny) -> Transformer:
    """Two of the tiny transformer's blocks, with a chat template."""
    chat = {
        "llama.block_count": 2,
        "tokenizer.chat_template": TEMPLATE,
        "tokenizer.ggml.eos_token_id": 7,
    }
    small = {name: one / 4 if one.ndim == 2 else one for name, one in tiny.tensors.items()}
    kept = {name: one for name, one in small.items() if "blk." not in name or name[4:6] in "0.1."}
    return replace(tiny, metadata=tiny.metadata | chat, tensors=kept)


@pytest.fixture(scope="module")
def answers(model):
    return finetuning.from_answers(model, ["is it red?", "is it"], ["yes", "n"])


def loss_of(model: Transformer, examples: finetuning.Examples) -> float:
    """The mean loss of a token, by the plain forward pass, in float64."""
    losses = []
    for row, tokens in enumerate(examples.tokens):
        log_p = transformer.log_softmax(transformer.forward(model, tokens).astype(np.float64))
        for at, target, counted in zip(
            examples.positions[row], examples.targets[row], examples.counted[row], strict=True
        ):
            losses += [-log_p[at, target]] if counted else []
    return float(np.mean(losses))


def test_only_answers_and_their_end_are_learned(model, answers):
    encode = slmlab.weights.tokenizer(model).encode
    before = encode("<is it>").ids
    assert answers.tokens[1, : len(before)].tolist() == before
    assert answers.targets[1, :2].tolist() == [*encode("n").ids, 7]
    assert answers.positions[1, :2].tolist() == [len(before) - 1, len(before)]
    assert answers.counted.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert len(answers[:1]) == 1


def test_each_token_of_a_text_is_learned_after_the_first(model):
    texts = finetuning.from_texts(model, ["abcdef", "ab"], length=4)
    assert texts.counted.sum(axis=1).tolist() == [3, 1]
    assert texts.targets[0].tolist() == slmlab.weights.tokenizer(model).encode("bcd").ids


def test_a_prompt_is_read_before_each_text_and_not_learned(model):
    texts = ["abcdef", "ab"]
    alone, after = (finetuning.from_texts(model, texts, prompt=prompt) for prompt in ("", "<xy>"))
    before = slmlab.weights.tokenizer(model).encode("<xy>").ids
    assert [row[:4].tolist() for row in after.tokens] == [before, before]
    assert (after.targets == alone.targets).all()
    assert after.positions[0].tolist() == [4, 5, 6, 7, 8]
    found = slmlab.weights.losses(model, texts, "<xy>")
    assert found[0] == pytest.approx(loss_of(model, after[:1]), rel=1e-5)
    assert found[0] != pytest.approx(slmlab.weights.losses(model, texts)[0], rel=1e-3)


def test_a_text_is_cut_where_all_texts_are(model, monkeypatch):
    monkeypatch.setenv("SLMLAB_TOKENS", "3")
    assert finetuning.from_texts(model, ["abcdef"], length=4).counted.sum() == 2
    assert finetuning.from_texts(model, ["abcdef"], length=2).counted.sum() == 1
    whole = slmlab.weights.tokenizer(model).encode("<is it>").ids
    cut = finetuning.from_answers(model, ["is it"], ["yes"])
    assert cut.tokens[0, :3].tolist() == whole[-3:]
    assert cut.positions[0].tolist() == [2, 3, 4, 5]
    cut = finetuning.from_texts(model, ["abcdef"], prompt="<is it>")
    assert cut.tokens[0, :3].tolist() == whole[-3:]
    monkeypatch.setenv("SLMLAB_ITEMS", "1")
    assert len(finetuning.from_texts(model, ["abcdef", "ab"])) == 1


@pytest.mark.parametrize("texts", [[], ["a"], ["ab", "a"]])
def test_what_has_nothing_to_learn_is_told(model, texts):
    with pytest.raises(SlmlabError, match="at least two tokens"):
        finetuning.from_texts(model, texts)


def test_prompts_without_answers_and_base_models_are_told(model, tiny):
    with pytest.raises(SlmlabError, match="got 2 prompts and 1 answers"):
        finetuning.from_answers(model, ["a", "b"], ["c"])
    with pytest.raises(ModelError, match="no chat template"):
        finetuning.from_answers(tiny, ["a"], ["c"])


def test_numpy_and_jax_give_the_same_logits(model):
    import jax  # a second that each process of the tests would take otherwise

    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    on_jax = replace(model, tensors={n: jax.numpy.asarray(t) for n, t in model.tensors.items()})
    ours = transformer.forward(model, tokens)
    theirs = transformer.forward(on_jax, tokens)
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, jax.Array)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_an_array_without_a_namespace_is_numpys():
    """Those of numpy before 2.1 have none."""
    assert transformer.array_module(object()) is np


def test_the_first_step_goes_where_finite_differences_point(model, answers):
    """AdamW's first step of each number is the learning rate, against its gradient's sign."""
    rate = 1e-4
    found = finetuning.train(
        model, answers, answers, rank=2, alpha=2.0, epochs=1, batch_size=2, learning_rate=rate
    ).adapter
    name = "blk.1.attn_v.weight"
    _, b = found[name]
    first = finetuning._first(model, ["attn_q", "attn_v"], 2, np.random.default_rng(0))
    a_first = first["attn_v"][0][1]
    checked = 0
    for row, column in np.ndindex(b.shape):
        gradient = 0.0
        for sign in (1, -1):
            shifted = np.zeros_like(b)
            shifted[row, column] = sign * 0.01
            moved = finetuning.merge(model, {name: (a_first, shifted)})
            gradient += sign * loss_of(moved, answers) / 0.02
        if abs(gradient) > 1e-3:
            checked += 1
            assert b[row, column] == pytest.approx(-np.sign(gradient) * rate, rel=0.05)
    assert checked > b.size / 2


def test_the_losses_are_those_of_the_merged_model(model):
    """The last batch is filled up with examples that do not count."""
    three = finetuning.from_answers(model, ["is it red?", "is it", "so"], ["yes", "n", "no"])
    seen = []
    trained = finetuning.train(
        model, three, three, rank=3, epochs=2, batch_size=2, on_epoch=seen.append
    )
    history = trained.history
    assert history["epoch"].tolist() == [row["epoch"] for row in seen] == [0, 1, 2]
    assert history["training"][0] == pytest.approx(loss_of(model, three), rel=1e-4)
    merged = finetuning.merge(model, trained.adapter)
    lowest = history["validation"][trained.best_epoch]
    assert lowest == history["validation"].min() < history["validation"][0]
    assert lowest == pytest.approx(loss_of(merged, three), rel=1e-3)
    assert set(trained.adapter) == {f"blk.{n}.attn_{p}.weight" for n in (0, 1) for p in "qv"}
    assert finetuning.size(trained.adapter) == 2 * (3 * (16 + 16) + 3 * (16 + 8))
    changed = [n for n in model.tensors if merged.tensors[n] is not model.tensors[n]]
    assert set(changed) == set(trained.adapter)


def test_what_examples_share_is_read_once(model):
    three = finetuning.from_answers(model, ["is it red?", "is it", "so"], ["yes", "n", "no"])
    ((first, last),) = examples.batches([(three, np.arange(3))], 2)
    paths = [row[: at.max() + 1] for row, at in zip(three.tokens, three.positions, strict=True)]
    read = len({tuple(path[: n + 1]) for path in paths[:2] for n in range(len(path))})
    assert read == len(first.tokens) == len(last.tokens) < len(paths[0]) + len(paths[1])
    for batch, rows in ((first, [0, 1]), (last, [2])):
        ends = iter(batch.positions)
        for row in rows:
            for position in three.positions[row]:
                place = next(ends)
                assert batch.depths[place] == position
                seen = batch.tokens[batch.seen[place]]
                assert seen.tolist() == three.tokens[row, : position + 1].tolist()
    filled = slice(len(paths[2]), None)
    assert not last.counted[three.positions.shape[1] :].any()
    assert (last.seen[filled] == np.eye(read, dtype=bool)[filled]).all()


def test_it_stops_when_validation_gets_worse_and_gives_the_best(model):
    """What is learned contradicts the validation: the first epoch already makes that worse."""
    learn = finetuning.from_answers(model, ["red?"] * 4, ["yes"] * 4)
    other = finetuning.from_answers(model, ["red?"], ["qqq"])
    told = {"epochs": 20, "learning_rate": 0.05}
    trained = finetuning.train(model, learn, other, patience=2, **told)
    history = trained.history
    assert len(history) - 1 == trained.best_epoch + 2 < 20
    assert history["validation"].idxmin() == trained.best_epoch
    assert history["training"].iloc[-1] < history["training"][0]
    merged = finetuning.merge(model, trained.adapter)
    assert loss_of(merged, other) == pytest.approx(history["validation"].min(), rel=1e-3)


def test_a_cut_model_gets_nearer_to_its_teacher(model):
    cut = slmlab.weights.drop_layers(model, [1])
    texts = finetuning.from_texts(model, ["the cat sat on the mat", "it rains on the sea"])
    trained = finetuning.train(
        cut, texts, texts, teacher=model, parts=["ffn_down"], epochs=8, learning_rate=0.02
    )

    def distance(student: Transformer) -> float:
        return float(
            np.mean(
                [
                    slmlab.distillation.kl(
                        transformer.forward(model, row), transformer.forward(student, row)
                    )
                    for row in texts.tokens[:, :19]
                ]
            )
        )

    healed = finetuning.merge(cut, trained.adapter)
    assert distance(healed) < distance(cut)


def test_jax_is_told_to_give_a_gpus_memory_back_unless_the_user_said_otherwise(monkeypatch):
    for chosen, found in ((None, "platform"), ("default", "default")):
        monkeypatch.delenv("XLA_PYTHON_CLIENT_ALLOCATOR", raising=False)
        if chosen:
            monkeypatch.setenv("XLA_PYTHON_CLIENT_ALLOCATOR", chosen)
        finetuning._libraries()
        assert os.environ["XLA_PYTHON_CLIENT_ALLOCATOR"] == found


def test_no_such_matrix_is_told(model, answers):
    with pytest.raises(SlmlabError, match=r"attention; look at model\.matrices"):
        finetuning.train(model, answers, answers, parts=["attention"])


def test_without_jax_a_sentence_says_what_to_install(model, answers, monkeypatch):
    assert finetuning.missing() is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SlmlabError, match=r'jax and optax.* MB: pip install "slmlab\[training\]"'):
        finetuning.train(model, answers, answers)


def test_the_tasks_parts_have_nothing_in_common():
    parts = [
        slmlab.tasks.load(finetuning.HELPDESK / f"{name}.jsonl")
        for name in ("train", "validation", "test")
    ]
    assert [len(part) for part in parts] == [120, 40, 40]
    for part in parts:
        assert set(part["expected"].value_counts()) == {len(part) // 4}
        assert set(part["scorer"]) == {"label"}
    words = [
        frozenset(prompt.split("Message: ")[1].lower().rstrip(".?!").split())
        for part in parts
        for prompt in part["prompt"]
    ]
    assert len(set(words)) == 200
    alike = [len(one & other) / len(one | other) for one in words[:160] for other in words[160:]]
    assert max(alike) < 0.6

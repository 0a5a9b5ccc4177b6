"""The checks of the exercises: right answers and wrong ones, in several forms."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

import slmlab
from slmlab.course import distillation, exercises, weights
from slmlab.course.transformer import Model, perplexity
from slmlab.errors import TaskError
from slmlab.evaluation import scorers, statistics
from slmlab.memory import MEMORY_OVER_FILE
from slmlab.run import prompts
from slmlab.run.results import to_frame
from tests.support.records import record

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


@pytest.fixture
def verdict(capsys):
    """Whether a check calls an answer right; an untouched one is no verdict."""

    def judged(number: str, *answers: object) -> bool:
        slmlab.check(number, *answers)
        printed = capsys.readouterr().out
        assert printed.startswith((f"✓ {number}: right.", f"✗ {number}: not yet. ")), printed
        return printed.startswith("✓")

    return judged


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of a comparison; fields of the record and further columns."""
    fields = set(record().to_dict())
    records = [record(**{k: v for k, v in row.items() if k in fields}) for row in rows]
    more = [{k: v for k, v in row.items() if k not in fields} for row in rows]
    return to_frame(records, more)


@pytest.fixture(scope="module")
def tiny() -> Model:
    """A transformer of 24 blocks with random weights, whose tokens are single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    rng, size, inner = np.random.default_rng(0), 16, 32
    tokens = sorted(ByteLevel.alphabet())
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(tokens), size),
        "output_norm.weight": (size,),
    }
    for layer in range(24):
        for part in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{part}.weight"] = (size,)
        for part, shape in {
            "attn_q": (size, size),
            "attn_k": (size // 2, size),
            "attn_v": (size // 2, size),
            "attn_output": (size, size),
            "ffn_gate": (inner, size),
            "ffn_up": (inner, size),
            "ffn_down": (size, inner),
        }.items():
            shapes[f"blk.{layer}.{part}.weight"] = shape
    tensors = {
        name: np.float32(1 + 0 * rng.random(shape))
        if len(shape) == 1
        else rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    metadata = {
        "llama.block_count": 24,
        "llama.embedding_length": size,
        "llama.feed_forward_length": inner,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10_000.0,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.token_type": [1] * len(tokens),
    }
    return Model(Path("tiny.gguf"), metadata, tensors, {}, None)


TEXTS = ["The library is open.", "A cat sat on the mat.", "It rains."]


class TestCheck:
    def test_every_check_hints_at_nonsense_and_never_raises(self, capsys):
        for number, judge in exercises.CHECKS.items():
            count = judge.__code__.co_argcount
            for answer in (None, 0, -1.5, "x", [], {}, np.zeros(3), object()):
                slmlab.check(number, *[answer] * count)
                printed = capsys.readouterr().out
                assert printed.startswith(f"✗ {number}: not yet. "), (number, answer, printed)
            slmlab.check(number, *[...] * count)
            assert f"{number}: open" in capsys.readouterr().out

    def test_an_unknown_number_is_an_error(self):
        with pytest.raises(TaskError, match=r"Did you mean '01\.2'"):
            slmlab.check("01.2.")

    def test_all_33_are_there(self):
        numbers = [f"{book:02}.{n}" for book in range(11) for n in (1, 2, 3)]
        assert sorted(exercises.CHECKS) == numbers

    def test_an_untouched_cell_is_open(self, capsys):
        """Each exercise of the students' notebooks, run as it is, with the lesson's names empty."""
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            for cell in nbformat.read(path, as_version=4).cells:
                if "exercise" in cell.metadata.get("tags", []):
                    lesson = dict.fromkeys(
                        ("machine", "names", "model", "text", "texts", "logits", "scored")
                    )
                    lesson |= {"slmlab": slmlab, "training_curve": len}
                    exec(cell.source, lesson)
                    assert ": open. " in capsys.readouterr().out, cell.source

    @pytest.mark.parametrize("answer", [..., [1, ...], {"attn": ...}, (1, {"x": [...]})])
    def test_a_gap_within_an_answer_is_open_too(self, answer, capsys):
        slmlab.check("07.1", answer)
        assert ": open. " in capsys.readouterr().out

    def test_a_function_that_does_something_is_not_open(self, verdict):
        def q4_1(x):
            return x

        assert not verdict("07.2", q4_1)
        assert not verdict("07.2", lambda x: print(end=""))


class TestNotebooks00To03:
    def test_the_largest_model_for_the_memory_that_was_free(self, verdict):
        machine = SimpleNamespace(model_memory=8 * 2**30)
        right = 8 * 2**30 / MEMORY_OVER_FILE / (4.5 / 8)
        assert verdict("00.3", right, machine)
        assert verdict("00.3", round(right, -8), machine)
        for wrong in (right / 1e9, right / 8, right * MEMORY_OVER_FILE):
            assert not verdict("00.3", wrong, machine)

    def test_a_template_filled_with_two_variables(self, verdict):
        template = "Explain {topic} to {audience}."
        words = {"topic": "sets, such as {1, 2}", "audience": "a class"}
        good = record(prompt=prompts.fill(template, **words), text="Well.")
        assert verdict("01.2", template, words, good)
        assert not verdict("01.2", template, words, record(prompt="Explain sets.", text="Well."))
        assert not verdict("01.2", "Explain sets.", {}, record(prompt="Explain sets.", text="W"))
        assert not verdict("01.2", template, {"topic": "sets"}, good)
        one = {"topic": "x"}
        assert not verdict("01.2", "Explain {topic}.", one, record(prompt="Explain x.", text="W"))

    @pytest.mark.parametrize(
        ("counts", "right"),
        [
            ({0: 1, 0.4: 2, 0.8: 4, 1.2: 7}, True),
            ({0: 2, 0.4: 2, 0.8: 4, 1.2: 7}, True),
            ({0.0: 1, 0.4: 1, 0.8: 1, 1.2: 1}, True),
            ({0: 5, 0.4: 5, 0.8: 5, 1.2: 5}, False),
            ({0: 2, 0.4: 1, 0.8: 5, 1.2: 5}, False),
            ({0: 1, 0.4: 2, 0.8: 9, 1.2: 7}, False),
            ({0: 1, 0.4: 2, 0.8: 2.5, 1.2: 7}, False),
            ({0: 1, 0.5: 2, 1: 3}, False),
        ],
    )
    def test_texts_by_temperature(self, verdict, counts, right):
        assert verdict("01.3", counts) is right

    @pytest.mark.parametrize("limit", [60, 40])
    @pytest.mark.parametrize("names", [["a"], ["a", "b"]])
    def test_all_models_with_at_most_60_tokens(self, verdict, names, limit):
        table = frame([{"model": name, "num_predict": limit} for name in names])
        assert verdict("03.1", table, names)
        assert not verdict("03.1", table, [*names, "c"])
        assert not verdict("03.1", table.assign(num_predict=61), names)

    def test_two_repeats_of_each_template(self, verdict):
        def table(repeats: int, models: str = "a") -> pd.DataFrame:
            return frame(
                [
                    {
                        "model": model,
                        "template": template,
                        "repeat": repeat,
                        "prompt": prompts.HYPOTENUSE,
                    }
                    for model in models
                    for template in ("plain", "step_by_step")
                    for repeat in range(repeats)
                ]
            )

        assert verdict("03.2", table(2))
        assert verdict("03.2", table(3))
        assert not verdict("03.2", table(1))
        assert not verdict("03.2", table(1, "ab")), "four rows, but of one repeat"
        assert not verdict("03.2", table(2).assign(prompt="Why?"))
        assert not verdict("03.2", table(2).query("template == 'plain'"))

    def test_the_scores_are_those_of_the_scorer(self, verdict):
        def one_word(text, row):
            return len(text.split()) == 1

        table = frame([{"text": "yes"}, {"text": "oh yes"}, {"error": "no", "text": ""}])
        assert verdict("03.3", one_word, slmlab.score(table, one_word))
        assert not verdict("03.3", one_word, table.assign(score=[1, 1, None]))
        assert not verdict("03.3", one_word, table)
        assert not verdict("03.3", lambda text, row: 1, table.assign(score=1))


class TestNotebooks04To06:
    def test_a_hidden_sentence(self, verdict):
        def table(places: tuple[int, ...], scores: list[int]) -> pd.DataFrame:
            filler = ["word"] * 300
            rows = [
                {
                    "prompt": " ".join(
                        [*filler[:at], "The code word is MARMALADE.", *filler[at:], "Which?"]
                    ),
                    "text": text,
                }
                for at, text in zip(places, ("MARMALADE!", "jam", "marmalade"), strict=True)
            ]
            return frame(rows).assign(score=scores)

        assert verdict("04.3", table((0, 150, 300), [1, 0, 1]))
        assert not verdict("04.3", table((0, 150, 300), [1, 1, 1]))
        assert not verdict("04.3", table((0, 1, 2), [1, 0, 1]))

    def test_an_interval_and_what_it_means(self, verdict):
        found = statistics.interval([1] * 16 + [0] * 4)
        assert verdict("05.3", found, True)
        assert not verdict("05.3", found, False)
        assert not verdict("05.3", statistics.interval([1] * 80 + [0] * 20), True)
        made_up = statistics.Interval(0.8, 0.7, 0.9, 20, "exact")
        assert not verdict("05.3", made_up, True)

    def test_shares_and_seconds(self, verdict):
        assert verdict("04.1", 16)
        assert not verdict("04.1", 12.5)
        assert verdict("06.3", 0.655)
        assert not verdict("06.3", 0.19)


class TestNotebooks07To10:
    def test_bits(self, verdict):
        assert verdict("07.1", 3.25)
        assert not verdict("07.1", 3)

    def test_a_quantizer_with_a_minimum(self, verdict):
        def q4_1(x, levels=15, rounding=np.round):
            blocks = x.reshape(-1, 32)
            low = blocks.min(axis=1, keepdims=True)
            step = np.ptp(blocks, axis=1, keepdims=True) / levels
            return (rounding((blocks - low) / step) * step + low).reshape(x.shape)

        assert verdict("07.2", q4_1)
        assert verdict("07.2", lambda x: q4_1(x).astype(np.float32))
        assert not verdict("07.2", lambda x: q4_1(x, levels=7))
        assert not verdict("07.2", lambda x: q4_1(x, levels=31))
        assert not verdict("07.2", lambda x: q4_1(x, rounding=np.floor))
        assert not verdict("07.2", lambda x: q4_1(x).ravel())
        assert not verdict("07.2", lambda x: x)

    def test_which_part_suffers(self, verdict, tiny):
        def one_scale(x):
            scale = np.abs(x).max() / 7
            return np.round(x / scale).clip(-8, 7) * scale

        def hurt(texts):
            return {
                part: perplexity(
                    tiny.with_tensors(
                        {name: one_scale(tiny.tensors[name]) for name in tiny.matrices(part)}
                    ),
                    texts,
                )
                for part in ("attn", "ffn")
            }

        assert verdict("07.3", hurt(TEXTS[:1]), tiny, TEXTS)
        assert verdict("07.3", hurt(TEXTS), tiny, TEXTS)
        assert not verdict("07.3", {"attn": 12.0, "ffn": 30.0}, tiny, TEXTS)
        swapped = dict(zip(("ffn", "attn"), hurt(TEXTS).values(), strict=True))
        assert not verdict("07.3", swapped, tiny, TEXTS)
        assert not verdict("07.3", {"attn": hurt(TEXTS)["attn"]}, tiny, TEXTS)

    def test_pruning(self, verdict, tiny):
        def zeroed(x, share):
            limit = np.partition(np.abs(x).ravel(), int(share * x.size))[int(share * x.size)]
            return np.where(np.abs(x) < limit, 0, x).astype(np.float32)

        share = (zeroed(tiny.tensors["blk.10.ffn_up.weight"], 0.25) == 0).mean()
        assert verdict("08.1", share, tiny)
        for wrong in (0.2, 0.3, 0.75):
            assert not verdict("08.1", wrong, tiny)

        rng = np.random.default_rng(3)
        matrices = {name: tiny.tensors[name] for name in tiny.matrices()}
        at_random, by_size = (
            perplexity(tiny.with_tensors(changed), TEXTS[:1])
            for changed in (
                {name: np.where(rng.random(x.shape) < 0.2, 0, x) for name, x in matrices.items()},
                {name: zeroed(x, 0.2) for name, x in matrices.items()},
            )
        )
        # A model of random weights knows nothing to lose, so the order is not given.
        larger = max(at_random, by_size * 1.01)
        assert verdict("08.2", larger, by_size, tiny, TEXTS[:1])
        assert not verdict("08.2", by_size, larger, tiny, TEXTS[:1])
        assert not verdict("08.2", larger, by_size * 0.9, tiny, TEXTS[:1])
        assert not verdict("08.2", larger * 1e5, by_size, tiny, TEXTS[:1])
        assert not verdict("08.2", 2000, 100, tiny, TEXTS[:1])

    def test_layers_left_out(self, verdict, tiny):
        in_a_row, spread = (
            perplexity(weights.drop_layers(tiny, layers), TEXTS[:1])
            for layers in (range(10, 15), range(6, 23, 4))
        )
        assert verdict("08.3", in_a_row, spread, tiny, TEXTS[:1])
        assert not verdict("08.3", spread, in_a_row, tiny, TEXTS[:1])
        assert not verdict("08.3", 1659.7, 222.5, tiny, TEXTS[:1])

    def test_sharp_and_flat(self, verdict):
        logits = np.random.default_rng(0).normal(size=50) * 3
        sharp, flat = weights.softmax(logits), weights.softmax(logits, 4)
        assert verdict("09.1", sharp, flat, logits)
        assert verdict("09.1", list(sharp), list(flat), logits)
        assert not verdict("09.1", flat, sharp, logits)
        assert not verdict("09.1", [0.9, 0.1], [0.5, 0.5], logits)
        assert not verdict("09.1", sharp, weights.softmax(logits, 2), logits)
        assert not verdict("09.1", sharp, flat * 2, logits)

    def test_students_are_trained_again(self, verdict):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(200, 8)).astype(np.float32)
        examples = distillation.Examples(
            rng.integers(8, size=(200, 4)), rng.integers(8, size=200), logits, tuple("abcdefgh")
        )

        def training_curve(soft, temperature=1.0, rounds=10, hidden=16):
            student = distillation.Student(8, hidden=hidden)
            for seed in range(rounds):
                student.train(examples, soft=soft, temperature=temperature, epochs=1, seed=seed)
                measured = distillation.measure(student, examples)
                yield {"new": measured["perplexity"], "kl": measured["kl"]}

        found = {soft: list(training_curve(soft))[-1]["kl"] for soft in (0, 0.5, 1)}
        assert verdict("09.2", found, training_curve)
        sooner = {soft: list(training_curve(soft, rounds=4))[-1]["kl"] for soft in (0, 0.5, 1)}
        assert verdict("09.2", sooner, training_curve)
        assert not verdict("09.2", {0: 0.5, 0.5: 0.4, 1: 0.1}, training_curve)
        assert not verdict("09.2", {0: -1, 0.5: -2, 1: -3}, training_curve), "KL is never below 0"
        assert not verdict("09.2", {k: v for k, v in found.items() if k != 0.5}, training_curve)

        sizes = {n: list(training_curve(1.0, hidden=n))[-1]["new"] for n in (2, 8, 32)}
        assert verdict("09.3", sizes, training_curve)
        assert not verdict("09.3", {8: 5.0, 32: 4.0, 128: 3.0}, training_curve)
        assert not verdict("09.3", sizes | {32: sizes[32] * 1.1}, training_curve)

    def test_three_turns(self, verdict):
        from langchain_core.messages import AIMessage, HumanMessage

        turn = [HumanMessage("Hello!"), AIMessage("Hello.")]
        assert verdict("10.1", turn * 3)
        assert not verdict("10.1", [None] * 6)
        assert not verdict("10.1", turn * 2)
        assert not verdict("10.1", turn[:1] * 6)
        assert not verdict("10.1", ["Hello!"] * 6)

    @pytest.mark.parametrize(
        ("answer", "right"),
        [
            ({"polite": True, "reply": "Good morning!"}, True),
            ({"polite": False, "reply": ""}, True),
            ({"polite": "true", "reply": "Good morning!"}, False),
            ({"polite": True, "reply": "x" * 41}, False),
            ({"polite": True, "reply": ["x"]}, False),
            ({"polite": True}, False),
            ({"polite": True, "reply": "x", "more": 1}, False),
        ],
    )
    def test_a_polite_reply(self, verdict, answer, right):
        assert verdict("10.2", answer) is right

    def test_more_facts(self, verdict):
        rows = [
            {"k": k, "prompt": "A fact. " * k + "Why?", "text": text, "expected": "12"}
            for k, text in ((1, "it is 12"), (2, "no"), (4, "12"))
        ]
        table = frame(rows)
        assert verdict("10.3", slmlab.score(table, scorers.contains))
        assert not verdict("10.3", table.assign(score=1.0))
        assert not verdict("10.3", slmlab.score(table.assign(prompt="Why?"), "contains"))
        assert not verdict("10.3", slmlab.score(table.assign(k=[1, 2, 3]), "contains"))

"""The checks of notebooks 0 to 3: right answers and wrong ones, in several forms."""

from __future__ import annotations

import pandas as pd
import pytest

import slmlab
from slmlab.memory import MEMORY_OVER_FILE
from slmlab.run import prompts
from tests.support.records import comparison, record

HELLO = "Say hello to a class of students in one sentence."


class TestNotebooks00To03:
    @pytest.mark.parametrize(
        ("more", "names", "right"),
        [
            ({"model": "b:latest"}, ["a:1b", "b:latest"], True),
            ({"model": "b"}, ["a:1b", "b:latest"], True),
            ({"model": "c:1b"}, ["a:1b", "b:latest", "c:1b"], True),
            ({"model": "a:1b"}, ["a:1b"], True),
            ({"model": "a:1b"}, ["a:1b", "b:latest"], False),
            ({"model": "d:1b"}, ["a:1b", "b:latest"], False),
            ({"model": "b", "prompt": f"{HELLO}\n\nAnswer in one sentence."}, ["a", "b"], True),
            (
                {"model": "b", "prompt": " say hello to a class\nof students in one sentence"},
                "ab",
                True,
            ),
            ({"model": "b", "prompt": "Why is the sky blue?"}, ["a", "b"], False),
            ({"model": "b", "text": ""}, ["a", "b"], False),
            ({"model": "b", "error": "out of memory"}, ["a", "b"], False),
        ],
    )
    def test_hello_from_another_model(self, verdict, more, names, right):
        mine = record(**{"prompt": HELLO, "text": "Hello!", **more})
        assert verdict("00.1", mine, list(names)) is right

    def test_the_answer_from_above_is_no_answer_of_another_model(self, capsys):
        slmlab.check("00.1", record(model="a", prompt=HELLO, text="Hello!"), ["a", "b"])
        assert "ask another one of `names`" in capsys.readouterr().out

    def test_the_largest_model_for_the_memory_that_was_free(self, verdict):
        room = 8 * 2**30
        right = room / MEMORY_OVER_FILE / (4.5 / 8)
        assert verdict("00.3", right, room)
        assert verdict("00.3", round(right, -8), room)
        for wrong in (right / 1e9, right / 8, right * MEMORY_OVER_FILE):
            assert not verdict("00.3", wrong, room)

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
        table = comparison([{"model": name, "num_predict": limit} for name in names])
        assert verdict("03.1", table, names)
        assert not verdict("03.1", table, [*names, "c"])
        assert not verdict("03.1", table.assign(num_predict=61), names)

    def test_two_repeats_of_each_template(self, verdict):
        def table(repeats: int, models: str = "a") -> pd.DataFrame:
            return comparison(
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

        table = comparison([{"text": "yes"}, {"text": "oh yes"}, {"error": "no", "text": ""}])
        assert verdict("03.3", one_word, slmlab.score(table, one_word))
        assert not verdict("03.3", one_word, table.assign(score=[1, 1, None]))
        assert not verdict("03.3", one_word, table)
        assert not verdict("03.3", lambda text, row: 1, table.assign(score=1))

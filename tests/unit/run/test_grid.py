"""Grids of generations, planned."""

from __future__ import annotations

import pandas as pd
import pytest

from slmlab.errors import PromptError
from slmlab.run import grid
from slmlab.run.options import DEFAULT_OPTIONS


class TestPlan:
    def test_every_combination_once_the_model_outermost(self):
        cells = grid.plan(
            ["a", "b"], ["x", "y"], temperature=[0, 1], num_ctx=[512, 1024], repeats=2, seed=5
        )
        assert len(cells) == 2 * 2 * 2 * 2 * 2
        loads = [cell.load for cell in cells]
        assert len([1 for i, one in enumerate(loads) if i == 0 or one != loads[i - 1]]) == 4
        assert {cell.options["seed"] for cell in cells if cell.repeat == 1} == {6}
        seen = {(c.model, c.prompt, c.repeat, c.options["temperature"], c.load) for c in cells}
        assert len(seen) == len(cells)

    def test_templates_and_tables(self, tmp_path):
        table = pd.DataFrame({"topic": ["tides", "rust"], "text": ["a", "b"], "expected": [1, 2]})
        cells = grid.plan("m", table, template=["About {topic}.", "Why {topic}?"])
        assert [cell.prompt for cell in cells] == [
            "About tides.",
            "About rust.",
            "Why tides?",
            "Why rust?",
        ]
        assert cells[1].columns == {
            "prompt_id": 1,
            "template": "About {topic}.",
            "topic": "rust",
            "given_text": "b",
            "expected": 2,
        }
        table.to_csv(tmp_path / "t.csv", index=False)
        again = grid.plan("m", tmp_path / "t.csv", template="About {topic}.")
        assert [cell.prompt for cell in again] == ["About tides.", "About rust."]
        table.assign(prompt=["p", "q"]).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
        assert [c.prompt for c in grid.plan("m", str(tmp_path / "t.jsonl"))] == ["p", "q"]

    def test_two_braces_are_a_column_too(self):
        table = [{"Standard Question": "a"}, {"Standard Question": "b"}]
        cells = grid.plan("m", table, template=["{{Standard Question}}", "{Standard Question}!"])
        assert [cell.prompt for cell in cells] == ["a", "b", "a!", "b!"]

    def test_a_tables_own_settings_are_not_those_that_were_sent(self):
        row = {"prompt": "x", "temperature": 9, "seed": 8, "num_ctx": 7, "stop": "y", "score": 1}
        (cell,) = grid.plan("m", [row | {"text": "a", "given_text": "b", "template": "t"}])
        assert cell.columns == {
            "prompt_id": 0,
            "given_prompt": "x",
            "given_temperature": 9,
            "given_seed": 8,
            "given_num_ctx": 7,
            "given_stop": "y",
            "given_score": 1,
            "given_given_text": "a",
            "given_text": "b",
            "given_template": "t",
        }
        assert cell.options["seed"] == 0

    def test_a_rows_own_limit_holds_unless_one_is_given_for_all(self, tmp_path):
        rows = [{"prompt": "x", "num_predict": 16}, {"prompt": "y"}]
        limits = [cell.options["num_predict"] for cell in grid.plan("m", rows)]
        assert limits == [16, DEFAULT_OPTIONS["num_predict"]]
        assert "given_num_predict" not in grid.plan("m", rows)[0].columns
        (first, second) = grid.plan("m", rows, num_predict=9)
        assert first.options["num_predict"] == second.options["num_predict"] == 9
        assert first.columns["given_num_predict"] == 16
        (tmp_path / "t.csv").write_text("prompt,num_predict\nx,16\ny,\n")
        limits = [cell.options["num_predict"] for cell in grid.plan("m", tmp_path / "t.csv")]
        assert limits == [16, DEFAULT_OPTIONS["num_predict"]]
        with pytest.raises(PromptError, match="Row 2: num_predict is a number; got 'few'"):
            grid.plan("m", [{"prompt": "x"}, {"prompt": "y", "num_predict": "few"}])

    def test_one_text_fills_the_one_variable(self):
        assert grid.plan("m", "tides", template="About {topic}.")[0].prompt == "About tides."

    def test_system_prompts_and_conversations(self):
        chat = [{"role": "user", "content": "Hi"}]
        cells = grid.plan("m", [chat, "Ho"], system=[None, "Be brief."])
        assert [cell.prompt for cell in cells] == [
            chat,
            [{"role": "system", "content": "Be brief."}, *chat],
            "Ho",
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Ho"}],
        ]
        assert grid.plan("m", chat)[0].prompt == chat

    def test_quantizations_are_tags(self):
        names = [
            cell.model for cell in grid.plan(["a:1b", "b"], "x", quantization=["q4_0", "q8_0"])
        ]
        assert names == ["a:1b-q4_0", "a:1b-q8_0", "b:q4_0", "b:q8_0"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (([], "x"), "at least one"),
            (("m", []), "at least one"),
            (("m", ["x", " "]), "prompt is empty"),
            (("m", [3]), "text or a list of messages"),
            (("m", [{"question": "x"}]), "needs a column `prompt`"),
            (("m", "nothing.csv"), "cannot be read: No such file"),
            (("m", "x", {"temprature": 1}), "Did you mean 'temperature'"),
            (("m", "x", {"temperature": "hot"}), "temperature is a number; got 'hot'"),
            (("m", "x", {"temperature": float("nan")}), "temperature is a number"),
            (("m", "x", {"num_ctx": 10.5}), "num_ctx is a whole number"),
            (("m", "x", {"seed": True}), "seed is a number"),
            (("m", "x", {"template": "{a} {b}"}), "variables a, b"),
            (("m", [{"topik": 1}], {"template": "{topic}"}), "Did you mean 'topik'"),
            (("m", "x", {"repeats": 0}), "at least one"),
            (("m", "x", {"repeats": 2.5}), "repeats is a whole number; got 2.5"),
            (("m", "x", {"repeats": "2"}), "repeats is a whole number; got '2'"),
            (("m", "x", {"repeats": True}), "repeats is a whole number; got True"),
            (("m", ["x", " ", "y"]), "^Row 2: The prompt is empty"),
            (("m", [{"prompt": None}, {"prompt": "x"}]), "Row 1: The prompt is missing"),
            (("m", [{"Prompt": "x"}]), "Did you mean 'Prompt'"),
            (("m", [{"prompt": "x", "note": "\ud800"}]), "column 'note' has half a character"),
            (("m", ["a", "b"], {"template": "Hello!"}), "has no variables, so every row"),
            (("m", [{"q": "a"}], {"template": "t.txt"}), "has no variables, so every row"),
            (
                ("m", [{"q": "a", "x": "b"}], {"template": "{{q}} in {x}"}),
                r"has \{\{q\}\} beside \{x\}.*Write \{q\} for the column",
            ),
            (("m", [[{"role": "user", "content": None}]]), "message 1 has no text"),
            (("m", [[{"role": "user"}]]), "Each message is"),
            (("m", "x", {"temperature": []}), "at least one"),
        ],
    )
    def test_what_is_wrong_is_said(self, arguments, words):
        names, prompts, *more = arguments
        with pytest.raises(PromptError, match=words):
            grid.plan(names, prompts, **(more[0] if more else {}))

    def test_a_file_that_is_no_table(self, tmp_path):
        (tmp_path / "x.jsonl").write_text("{not json")
        with pytest.raises(PromptError, match="cannot be read as a table"):
            grid.plan("m", tmp_path / "x.jsonl")
        (tmp_path / "z.csv").write_text("prompt,n\na,1\n,2\n")
        with pytest.raises(PromptError, match=r"z\.csv: Row 2: The prompt is empty"):
            grid.plan("m", tmp_path / "z.csv")
        (tmp_path / "y.csv").write_text("prompt\n")
        with pytest.raises(PromptError, match="no rows"):
            grid.plan("m", tmp_path / "y.csv")

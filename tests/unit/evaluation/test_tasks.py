"""Task sets."""

from __future__ import annotations

import json

import pytest

from slmlab.errors import TaskError
from slmlab.evaluation import scorers, tasks
from slmlab.run import grid

INSTRUCTIONS = {
    1: ("River, river, river.", "river river river"),
    2: ("Yes.", "Yes, of course."),
    3: ("HELLO", "hello"),
    4: ("- red\n- green\n- blue", "red, green, blue"),
    5: ("She looked out of the window.", "The window was open."),
    6: ("Yesterday it rained.", "It rained yesterday."),
    7: ("1 2 3 4 5", "1, 2, 3, 4, 5"),
    8: ("Apple", "An apple"),
    9: ("c-a-t", "cat"),
    10: ("How deep is the sea?", "The sea is deep."),
    11: ("Forty is less than 42.", "A zoo has 42 animals."),
    12: ("[1, 2, 3]", "Here it is: [1, 2, 3]"),
    13: ("[stone]", "stone"),
    14: ("Rome", "The capital of Italy is the city of Rome."),
    15: ("EDCBA", "E D C B A"),
    16: ("It rains.\n\nIt pours.", "It rains. It pours."),
    17: ("Blue sea, blue sky.", "The sea is blue."),
    18: ("7", "seven"),
    19: ('"sun"', "sun"),
    20: ("I won!!!", "I won!"),
}
# What answers that see through a question say; what those say that fall for it.
SEES = (
    "That makes no sense.",
    "There isn't one.",
    "I cannot know that.",
    "The question is meaningless.",
    "He never did.",
)
FALLS = (
    "It is 75.",
    "In 1987, by a large majority.",
    "Blue.",
    "Hm.",
    "Take three of them.",
    "75 kilograms, not counting clothes.",
    "Three, no more and no less.",
    "It is no doubt a large one, not to mention heavy.",
)


class TestTasks:
    def test_ten_sets_of_twenty_to_forty_items(self):
        assert len(tasks.names()) == 10
        for name in tasks.names():
            table = tasks.load(name)
            assert 20 <= len(table) <= 40
            assert table["id"].is_unique
            assert table["prompt"].is_unique
            assert set(table["scorer"]) <= set(scorers.SCORERS)
            assert table["num_predict"].between(16, 256).all()

    def test_a_right_answer_scores_and_a_wrong_one_does_not(self):
        """Every item's own expectation, written out as an answer, has to get the full score."""
        for row in tasks.load(tasks.names()).to_dict("records"):
            right = {
                "label": lambda row: row["expected"],
                "number": lambda row: f"So it is {row['expected']}.",
                "facts": lambda row: " ".join(fact.split("|")[0] for fact in row["expected"]),
                "json_fields": lambda row: json.dumps(row["expected"]),
            }.get(row["scorer"])
            score = scorers.SCORERS[row["scorer"]]
            if right:
                assert score(right(row), row) == 1, row["id"]
            # One word is what this item asks for.
            one_word = row["id"] in ("instructions-08", "instructions-14")
            assert score("Hm.", row) < 1 or one_word, row["id"]

    def test_every_item_has_an_answer_in_these_tests(self):
        """Items whose rule is a regular expression cannot be answered by what they expect."""
        table = tasks.load(tasks.names())
        assert set(table[table["scorer"] == "regex"]["task"]) == {"instructions", "nonsense"}
        assert len(tasks.load("instructions")) == len(INSTRUCTIONS)

    @pytest.mark.parametrize("answer", SEES)
    def test_nonsense_is_seen_through(self, answer):
        for row in tasks.load("nonsense").to_dict("records"):
            assert scorers.regex(answer, row), row["id"]

    @pytest.mark.parametrize("answer", FALLS)
    def test_nonsense_is_fallen_for(self, answer):
        for row in tasks.load("nonsense").to_dict("records"):
            assert not scorers.regex(answer, row), row["id"]

    def test_code_tasks_can_be_solved(self):
        solutions = {
            "code-01": "def add(a, b): return a + b",
            "code-08": "def is_palindrome(text): return text.lower() == text.lower()[::-1]",
            "code-12": "def word_count(t): return {w: t.split().count(w) for w in t.split()}",
        }
        rows = {row["id"]: row for row in tasks.load("code").to_dict("records")}
        for name, solution in solutions.items():
            assert scorers.code(solution, rows[name]), name

    @pytest.mark.parametrize("number", INSTRUCTIONS)
    def test_instructions_are_told_apart(self, number):
        right, wrong = INSTRUCTIONS[number]
        row = tasks.load("instructions").iloc[number - 1]
        assert scorers.regex(right, row)
        assert not scorers.regex(wrong, row)

    def test_names_paths_and_mistakes(self, tmp_path):
        assert len(tasks.load(["sentiment", "code"], items=3)) == 6
        own = tmp_path / "mine.csv"
        own.write_text("prompt,expected,scorer\n1+1?,2,number\n")
        assert tasks.load(own)["task"].tolist() == ["mine"]
        with pytest.raises(TaskError, match="Did you mean 'sentiment'"):
            tasks.load("sentimnt")
        own.write_text("question\nx\n")
        with pytest.raises(TaskError, match="no column `prompt`; it has question"):
            tasks.load(own)

    def test_public_sets_load_too(self):
        datasets = pytest.importorskip("datasets")
        public = datasets.Dataset.from_dict({"question": ["1+1?", "2+2?"], "answer": ["2", "4"]})
        cells = grid.plan("m", public, template="Q: {question}")
        assert [cell.prompt for cell in cells] == ["Q: 1+1?", "Q: 2+2?"]
        assert cells[1].columns["answer"] == "4"

    def test_a_cap_from_the_environment_is_said(self, monkeypatch, capsys):
        monkeypatch.setenv("SLMLAB_ITEMS", "2")
        assert len(tasks.load("sentiment")) == 2
        assert "SLMLAB_ITEMS=2: only the first 2 items" in capsys.readouterr().err
        assert len(tasks.load("sentiment", items=1)) == 1
        assert len(tasks.load("sentiment", items=2)) == 2
        assert capsys.readouterr().err == "", "nothing was left out that was asked for"

"""Scores, task sets, statistics, votes and ratings."""

from __future__ import annotations

import json
import math
import random
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import GEMMA, SMOL
from hypothesis import given
from hypothesis import strategies as some
from test_compare import record

import slmlab
from slmlab.errors import ModelError, PromptError, ResultsError, SlmlabError
from slmlab.evaluation import code_runner, scorers, statistics, tasks, votes
from slmlab.run import grid, results
from slmlab.show import plots

LINUX = sys.platform == "linux"


@pytest.fixture
def here(embedded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    return embedded


class TestScorers:
    @pytest.mark.parametrize(
        ("scorer", "text", "row", "score"),
        [
            ("exact", ' "Paris." ', {"expected": "paris"}, 1),
            ("exact", "Paris, France", {"expected": "Paris"}, 0),
            ("contains", "It is **Paris**!", {"expected": "paris"}, 1),
            ("contains", "Parisian", {"expected": "Paris"}, 0),
            ("contains", "or Rome", {"expected": ["Paris", "Rome"]}, 1),
            ("regex", "one\ntwo", {"expected": "^ONE.two$"}, 1),
            ("label", "I think: Yes.", {"expected": "yes", "labels": ["yes", "no"]}, 1),
            ("label", "yes or no?", {"expected": "yes", "labels": ["yes", "no"]}, 0),
            ("facts", "It rains in Oslo.", {"expected": ["rain|snow", "Oslo", "May", "bus"]}, 0.5),
            ("facts", "It rains in Oslo.", {"expected": ["rain"], "max_words": 3}, 0),
            ("number", "3 and 4 make 7.", {"expected": 7}, 1),
            ("number", "The result is 1,024", {"expected": 1024}, 1),
            ("number", "about 3.1", {"expected": 3.14, "tolerance": 0.02}, 1),
            ("number", "about 3.1", {"expected": 3.14}, 0),
            ("number", "-2.5e3", {"expected": -2500}, 1),
            ("number", "none", {"expected": 1}, 0),
            ("json_valid", 'Sure:\n```json\n{"a": 1}\n```', {}, 1),
            ("json_valid", '{"a": "x"}', {"schema": {"properties": {"a": {"type": "integer"}}}}, 0),
            ("json_valid", "{a: 1", {}, 0),
            ("json_valid", "[" * 100_000, {}, 0),
            ("json_fields", '{"a": "X.", "b": 2}', {"expected": {"a": "x", "b": 3}}, 0.5),
            ("json_fields", "[1]", {"expected": {"a": 1}}, 0),
            ("code", "```python\ndef f(): return 2\n```\nSo.", {"tests": "assert f() == 2"}, 1),
            ("code", "def f(x): return x", {"tests": "assert f(1) == 2"}, 0),
        ],
    )
    def test_each(self, scorer, text, row, score):
        assert scorers.SCORERS[scorer](text, row) == score

    def test_they_compose(self):
        row = {"expected": "Paris"}
        both = scorers.all_of("contains", scorers.words(at_most=3))
        assert both("It is Paris", row) == 1
        assert both("It is surely Paris", row) == 0
        assert scorers.any_of("exact", "contains")("It is Paris", row) == 1

    def test_score_takes_names_functions_or_the_rows_own(self):
        frame = results.to_frame(
            [record(text="4"), record(text="x"), record(error="no")],
            [
                {"expected": 4, "scorer": "number"},
                {"expected": "x", "scorer": "exact"},
                {"scorer": "exact"},
            ],
        )
        scored = slmlab.score(frame)["score"]
        assert scored.tolist()[:2] == [1, 1]
        assert math.isnan(scored[2]), "what failed has no score"
        assert slmlab.score(frame, lambda text, row: len(text), "length")["length"][0] == 1
        with pytest.raises(PromptError, match="Did you mean 'exact'"):
            slmlab.score(frame, "exakt")
        with pytest.raises(PromptError, match="needs a column 'tests'"):
            slmlab.score(frame, "code")
        with pytest.raises(PromptError, match="no column `scorer`"):
            slmlab.score(frame.drop(columns="scorer"))

    @given(some.text(max_size=200), some.sampled_from(sorted(set(scorers.SCORERS) - {"code"})))
    def test_no_text_breaks_a_scorer(self, text, name):
        row = {"expected": "x", "labels": ["x", "y"], "schema": {"type": "object"}}
        row |= {"number": {"expected": 1}, "json_fields": {"expected": {"a": 1}}}.get(name, {})
        row |= {"facts": {"expected": ["x"]}}.get(name, {})
        assert 0 <= scorers.SCORERS[name](text, row) <= 1

    @pytest.mark.slow
    def test_similar_by_embeddings(self, here):
        near = scorers.similar(SMOL)
        row = {"expected": "The cat sleeps on the sofa."}
        same, other = near(row["expected"], row), near("Interest rates rose in March.", row)
        assert same == pytest.approx(1, abs=0.01)
        assert 0 <= other < same
        assert near(" ", row) == 0
        with pytest.raises(ModelError, match="no model 'nope'"):
            scorers.similar("nope")


class TestCodeRunner:
    def test_right_and_wrong(self):
        assert code_runner.run_tests("def f(): return 1", "assert f() == 1").passed
        wrong = code_runner.run_tests("def f(): return 2", "assert f() == 1, 'not one'")
        assert (wrong.passed, wrong.why) == (False, "AssertionError: not one")
        assert code_runner.run_tests("def f(:", "").why.startswith("SyntaxError")

    @pytest.mark.skipif(not LINUX, reason="these limits are Linux's")
    @pytest.mark.parametrize(
        ("code", "why"),
        [
            ("while True: pass", "took longer"),
            ("import time; time.sleep(60)", "took longer"),
            ("x = 'x' * 10**10", "MemoryError"),
            ("open('big', 'w').write('x' * 10**8)", "OSError"),
            ("import os; os._exit(0)", "ended with status 0"),
            ("raise SystemExit", "SystemExit"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
            ("import pandas", "ModuleNotFoundError"),
            ("print('0' * 64, 'passed')\nraise ValueError", "ValueError"),
            ("def f(): return f()\nf()", "RecursionError"),
        ],
    )
    def test_what_goes_wrong_is_a_reason(self, code, why):
        result = code_runner.run_tests(code, "", seconds=1)
        assert not result.passed
        assert why in result.why

    @pytest.mark.skipif(not LINUX, reason="namespaces are Linux's")
    def test_no_network_where_the_platform_can_deny_it(self, files):
        url = files.url.split("//")[1].rstrip("/")
        address, port = url.split("/")[0].split(":")
        connect = f"import socket; socket.create_connection(('{address}', {port}), 2)"
        result = code_runner.run_tests(connect, "")
        if not result.network_denied:
            pytest.skip("this machine lets nobody make a network namespace")
        assert not result.passed
        assert "OSError" in result.why or "Network is unreachable" in result.why

    def test_it_sees_nothing_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("SECRET_OF_MINE", "x")
        code = "import os; assert 'SECRET_OF_MINE' not in os.environ; import sys"
        assert code_runner.run_tests(code, "assert 'slmlab' not in sys.modules").passed


class TestTasks:
    def test_ten_sets_of_twenty_to_forty_items(self):
        assert len(tasks.names()) == 10
        for name in tasks.names():
            table = tasks.load(name)
            assert 20 <= len(table) <= 40
            assert table["id"].is_unique
            assert table["prompt"].is_unique
            assert set(table["scorer"]) <= set(scorers.SCORERS)

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
            assert score("Hm.", row) < 1 or row["scorer"] == "regex", row["id"]

    def test_code_tasks_can_be_solved(self):
        solutions = {
            "code-01": "def add(a, b): return a + b",
            "code-08": "def is_palindrome(text): return text.lower() == text.lower()[::-1]",
            "code-12": "def word_count(t): return {w: t.split().count(w) for w in t.split()}",
        }
        rows = {row["id"]: row for row in tasks.load("code").to_dict("records")}
        for name, solution in solutions.items():
            assert scorers.code(solution, rows[name]), name

    @pytest.mark.parametrize(
        ("number", "right", "wrong"),
        [
            (1, "River, river, river.", "river river river"),
            (3, "HELLO", "hello"),
            (4, "- red\n- green\n- blue", "red, green, blue"),
            (6, "Yesterday it rained.", "It rained yesterday."),
            (11, "Forty is less than 42.", "A zoo has 42 animals."),
            (14, "Rome", "The capital of Italy is the city of Rome."),
            (16, "It rains.\n\nIt pours.", "It rains. It pours."),
            (17, "Blue sea, blue sky.", "The sea is blue."),
            (20, "I won!!!", "I won!"),
        ],
    )
    def test_instructions_are_told_apart(self, number, right, wrong):
        row = tasks.load("instructions").iloc[number - 1]
        assert scorers.regex(right, row)
        assert not scorers.regex(wrong, row)

    def test_names_paths_and_mistakes(self, tmp_path):
        assert len(tasks.load(["sentiment", "code"], items=3)) == 6
        own = tmp_path / "mine.csv"
        own.write_text("prompt,expected,scorer\n1+1?,2,number\n")
        assert tasks.load(own)["task"].tolist() == ["mine"]
        with pytest.raises(PromptError, match="Did you mean 'sentiment'"):
            tasks.load("sentimnt")
        own.write_text("question\nx\n")
        with pytest.raises(PromptError, match="no column `prompt`; it has question"):
            tasks.load(own)

    def test_public_sets_load_too(self):
        datasets = pytest.importorskip("datasets")
        public = datasets.Dataset.from_dict({"question": ["1+1?", "2+2?"], "answer": ["2", "4"]})
        cells = grid.plan("m", public, template="Q: {question}")
        assert [cell.prompt for cell in cells] == ["Q: 1+1?", "Q: 2+2?"]
        assert cells[1].columns["answer"] == "4"

    @pytest.mark.slow
    def test_models_run_them(self, here):
        frame = slmlab.score(
            slmlab.compare(
                [SMOL, GEMMA],
                tasks.load("sentiment", 6),
                num_predict=12,
                temperature=0,
                timing=False,
                quiet=True,
            )
        )
        assert frame["score"].between(0, 1).all()
        table = statistics.means(frame, by=["model", "task"])
        assert table["n"].tolist() == [6, 6]
        assert (table["low"] <= table["mean"]).all()
        assert "sign test" in statistics.paired(frame)["sentence"][0]


def scored(**by_model: list[float]) -> pd.DataFrame:
    """A table of scores as compare and score give it."""
    rows = [
        {"model": model, "prompt_id": prompt, "score": float(value)}
        for model, values in by_model.items()
        for prompt, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


class TestStatistics:
    def test_rates_are_exact(self):
        found = statistics.interval([1] * 8 + [0] * 2)
        # R: binom.test(8, 10)
        assert (found.low, found.high) == pytest.approx((0.4439045, 0.9747893), abs=1e-6)
        assert str(found) == "0.80 (95 % interval 0.44 to 0.97, n = 10)"

    def test_means_are_bootstrapped(self):
        values = np.random.default_rng(1).normal(0.5, 0.1, 100)
        found = statistics.interval(values)
        assert found.low < values.mean() < found.high
        half = 1.96 * values.std() / 10
        assert found.high - found.low == pytest.approx(2 * half, rel=0.1)

    def test_the_interval_covers_as_often_as_it_says(self):
        rng = np.random.default_rng(2)
        hits = [
            found.low <= 0.3 <= found.high
            for found in (statistics.interval(rng.random(20) < 0.3) for _ in range(400))
        ]
        assert np.mean(hits) >= 0.93

    @pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5]])
    def test_without_spread_there_is_no_interval(self, values):
        assert math.isnan(statistics.interval(values).low)
        assert "no interval" in str(statistics.interval(values))

    def test_no_values(self):
        with pytest.raises(SlmlabError, match="no values"):
            statistics.interval([None, float("nan")])

    def test_a_sure_difference_is_said(self):
        frame = scored(a=[1] * 17 + [0] * 3, b=[0] * 17 + [1] * 3)
        (row,) = statistics.paired(frame).to_dict("records")
        assert row["sentence"] == "a did better on 17 of 20 prompts, b on 3 (sign test, p = 0.003)."
        assert row["difference"] == pytest.approx(0.7)
        assert row["low"] > 0

    def test_an_unsure_one_too(self):
        frame = scored(a=[1, 1, 1, 0, *[1] * 16], b=[0, 0, 1, 1, *[1] * 16])
        (sentence,) = statistics.paired(frame)["sentence"]
        assert sentence.startswith("These 20 prompts can't tell a and b apart (a did better on 2")
        assert "could, if the shares stay" in sentence
        frame = scored(a=[1, 0], b=[0, 1])
        assert "no number would" in statistics.paired(frame)["sentence"][0]

    def test_repeats_are_averaged_and_missing_ones_left_out(self):
        frame = pd.concat([scored(a=[1, 0, 1], b=[0, 0, 0]), scored(a=[0, 0], b=[0, 1])])
        (row,) = statistics.paired(frame).to_dict("records")
        assert (row["n"], row["a_better"], row["b_better"], row["same"]) == (3, 2, 1, 0)

    def test_many_comparisons_are_corrected(self):
        rng = np.random.default_rng(0)
        frame = scored(**{f"m{i}": rng.random(15) for i in range(8)})
        pairs = statistics.paired(frame)
        assert len(pairs) == 28
        assert (pairs["p_adjusted"] >= pairs["p"]).all()
        assert "corrected for 28 comparisons" in pairs["sentence"][0]

    def test_other_things_than_models(self):
        frame = scored(a=[1, 1, 1, 1, 1, 1, 1], b=[0, 0, 0, 0, 0, 0, 0]).rename(
            columns={"model": "template"}
        )
        assert "a did better on 7 of 7" in statistics.paired(frame, by="template")["sentence"][0]

    def test_the_number_of_prompts_needed_gives_the_power(self):
        needed = statistics.prompts_needed(12, 6, 2)
        rng = random.Random(0)
        share, decided = 12.5 / 19, round(needed * 18 / 20)
        from scipy import stats

        power = np.mean(
            [
                stats.binomtest(sum(rng.random() < share for _ in range(decided)), decided).pvalue
                < 0.05
                for _ in range(500)
            ]
        )
        assert 0.7 < power < 0.92
        assert statistics.prompts_needed(3, 3, 0) is None

    def test_mistakes_are_sentences(self):
        with pytest.raises(SlmlabError, match=r"no column 'score'\. Score the answers first"):
            statistics.paired(pd.DataFrame({"model": ["a"]}))
        with pytest.raises(SlmlabError, match="nothing to compare"):
            statistics.paired(scored(a=[1, 0]))

    @given(some.lists(some.floats(0, 1), min_size=1, max_size=30))
    def test_an_interval_holds_its_mean(self, values):
        found = statistics.interval(values)
        assert math.isnan(found.low) or found.low - 1e-9 <= found.value <= found.high + 1e-9


def vote(a: str, b: str, winner: str, **more) -> dict:
    return {"model_a": a, "model_b": b, "winner": winner, **more}


class TestVotes:
    def test_ratings_find_the_strengths_that_votes_were_drawn_from(self):
        rng, true = random.Random(5), {"a": 1200, "b": 1000, "c": 800}
        drawn = []
        for _ in range(600):
            one, two = rng.sample(sorted(true), 2)
            chance = 1 / (1 + 10 ** ((true[two] - true[one]) / 400))
            drawn.append(vote(one, two, "a" if rng.random() < chance else "b"))
        table = votes.ratings(pd.DataFrame(drawn)).set_index("model")
        assert list(table.index) == ["a", "b", "c"]
        for name, rating in true.items():
            assert table.loc[name, "low"] - 15 <= rating <= table.loc[name, "high"] + 15
        assert table["rating"].mean() == pytest.approx(1000)
        assert table["votes"].sum() == 1200

    def test_ties_count_half_and_winners_stay_finite(self):
        tied = votes.ratings(pd.DataFrame([vote("a", "b", "tie")] * 5))
        assert tied["rating"].tolist() == pytest.approx([1000, 1000])
        swept = votes.ratings(pd.DataFrame([vote("a", "b", "a")] * 5))
        assert np.isfinite(swept[["rating", "low", "high"]].to_numpy()).all()
        assert swept["model"][0] == "a"
        figure = plots.ratings(swept)
        assert "n = 5 votes" in figure._supxlabel.get_text()

    def test_models_that_never_met_have_no_common_scale(self):
        apart = pd.DataFrame([vote("a", "b", "a"), vote("c", "d", "b")])
        with pytest.raises(SlmlabError, match=r"never compared .*: a, b \| c, d"):
            votes.ratings(apart)
        with pytest.raises(SlmlabError, match="no votes yet"):
            votes.ratings(pd.DataFrame(columns=["model_a", "model_b", "winner"]))

    def test_files_of_several_students_are_merged(self, tmp_path):
        ours, theirs = tmp_path / "ours.jsonl", tmp_path / "theirs.jsonl"
        fields = {"prompt": "x\ny", "model_a": "a", "model_b": "b"}
        votes.add_vote(ours, voter="Ö", winner="a", **fields)
        votes.add_vote(theirs, voter="M", winner="tie", **fields)
        theirs.write_bytes(theirs.read_bytes() + ours.read_bytes())
        merged = votes.read_votes(ours, theirs)
        assert sorted(merged["voter"]) == ["M", "Ö"], "each vote once"
        assert votes.ratings(merged)["votes"].tolist() == [2, 2]

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("{", "not JSON"),
            ("[]", "no object"),
            ('{"id": 1}', "no text 'id'"),
            ("[" * 100_000, "not JSON"),
            (json.dumps({n: "x" for n in votes.COLUMNS}), "the winner is 'x'"),
            (json.dumps({n: "a" for n in votes.COLUMNS}), "both models are the same"),
        ],
        ids=["torn", "list", "wrong type", "deep", "winner", "one model"],
    )
    def test_a_bad_file_is_named_with_its_line(self, tmp_path, line, why):
        path = tmp_path / "votes.jsonl"
        path.write_text("\n" + line + "\n")
        with pytest.raises(ResultsError, match=rf"votes\.jsonl, line 2 is no vote: .*{why}"):
            votes.read_votes(path)

    def test_what_is_no_vote_is_not_written(self, tmp_path):
        path = tmp_path / "votes.jsonl"
        with pytest.raises(ResultsError, match="winner is 'c'"):
            votes.add_vote(path, voter="x", prompt="p", model_a="a", model_b="b", winner="c")
        assert not path.exists()
        with pytest.raises(ResultsError, match="cannot be written"):
            votes.add_vote(tmp_path, voter="x", prompt="p", model_a="a", model_b="b", winner="a")

    def test_pairs_are_shuffled_and_blind_to_order(self):
        rows = [record(model=name, text=name) for name in "abc" for _ in range(20)]
        ids = [{"prompt_id": index % 20, "repeat": 0} for index in range(60)]
        pairs = votes.blind_pairs(results.to_frame(rows, ids))
        assert len(pairs) == 20 * 3
        first = [one["model"] < two["model"] for one, two in pairs]
        assert 15 < sum(first) < 45
        assert [one["prompt_id"] for one, _ in pairs] != sorted(
            one["prompt_id"] for one, _ in pairs
        )

    @pytest.mark.slow
    def test_a_judge_is_asked_in_both_orders(self, here):
        frame = slmlab.compare(
            [SMOL, GEMMA], ["Name a colour.", "Name a fruit."], num_predict=12, quiet=True
        )
        said = votes.judge(frame, SMOL, quiet=True)
        assert len(said) == 2
        assert set(said["winner"]) <= {"a", "b", "tie"}
        for row in said.to_dict("records"):
            assert row["consistent"] == (row["first"] is not None and row["first"] == row["second"])
            assert row["consistent"] or row["winner"] == "tie"
        assert 0 <= votes.judge_consistency(said).value <= 1
        assert votes.agreement(said["winner"], said["winner"]).value == 1
        with pytest.raises(SlmlabError, match="answers of two models"):
            votes.judge(frame[frame["model"] == SMOL], SMOL)

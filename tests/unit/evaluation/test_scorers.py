"""Scorers."""

from __future__ import annotations

import contextlib
import math
import sys
import time

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

import slmlab
from slmlab.errors import SlmlabError, TaskError
from slmlab.evaluation import scorers, tasks
from slmlab.evaluation.scorers import python_code
from slmlab.run import results
from tests.support.records import record


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
            ("number", "about 3.141", {"expected": 3.14}, 0),
            ("number", "-2.5e3", {"expected": -2500}, 1),
            ("number", "none", {"expected": 1}, 0),
            ("number", "7.001", {"expected": 7}, 0),
            ("number", "0.001", {"expected": 0}, 0),
            ("number", "7.000001", {"expected": 7}, 1),
            ("label", "I know: yes.", {"expected": "yes", "labels": ["yes", "no"]}, 1),
            ("label", "Yesterday.", {"expected": "yes", "labels": ["yes", "no"]}, 0),
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
        with pytest.raises(TaskError, match="Did you mean 'exact'"):
            slmlab.score(frame, "exakt")
        with pytest.raises(TaskError, match="needs a column 'tests'"):
            slmlab.score(frame, "code")
        with pytest.raises(TaskError, match="no column `scorer`"):
            slmlab.score(frame.drop(columns="scorer"))

    def test_tests_from_elsewhere_run_only_with_the_readers_word(self, tmp_path):
        mark = tmp_path / "mark"
        tests = "def f(): return 1\nassert f() == 1"
        (own,) = tasks.load("code", 1).to_dict("records")
        foreign = {"prompt": "?", "scorer": "code", "tests": tests}
        results.to_csv(pd.DataFrame([own | {"expected": ""}, foreign]), tmp_path / "set.csv")
        rows = tasks.load(tmp_path / "set.csv").to_dict("records")
        frame = results.to_frame([record(text=f"open({str(mark)!r}, 'w')")] * 2, rows)
        with pytest.raises(TaskError, match=r"1 of 2 rows.*those of row 1 first.*run_code=True"):
            slmlab.score(frame)
        assert slmlab.score(frame.head(1))["score"].tolist() == [0], "slmlab's own tests"
        if sys.platform == "linux":
            assert slmlab.score(frame, run_code=True)["score"].tolist() == [0, 0]
            assert slmlab.score(frame, "code")["score"].tolist() == [0, 0], "named by the reader"
            assert not mark.exists()

    @pytest.mark.parametrize("pattern", ["a" * 100_001, "(a{1000}){1000}"])
    def test_a_regular_expression_without_end_is_refused(self, pattern):
        with pytest.raises(scorers.Unscorable, match=r"a+.*longer than 100,000 characters"):
            scorers.regex("a", {"expected": pattern})

    @pytest.mark.parametrize("ours", ["{http}", "{file}"])
    def test_a_schema_fetches_nothing(self, ours, files, tmp_path):
        files.files["/schema.json"] = b'{"type": "object"}'
        (tmp_path / "schema.json").write_text('{"type": "object"}')
        where = ours.format(
            http=files.url + "/schema.json", file=(tmp_path / "schema.json").as_uri()
        )
        for schema in ({"$ref": where}, {"$schema": where, "type": "object", "$ref": where}):
            with pytest.raises(scorers.Unscorable, match=r"`schema` (cannot be used|is not)"):
                scorers.json_valid("{}", {"schema": schema})
        assert files.seen == []

    @given(some.text(max_size=200), some.sampled_from(sorted(set(scorers.SCORERS) - {"code"})))
    def test_no_text_breaks_a_scorer(self, text, name):
        row = {"expected": "x", "labels": ["x", "y"], "schema": {"type": "object"}}
        row |= {"number": {"expected": 1}, "json_fields": {"expected": {"a": 1}}}.get(name, {})
        row |= {"facts": {"expected": ["x"]}}.get(name, {})
        row["asserts"] = [{"type": "icontains", "value": "x"}, {"type": "not-is-json"}]
        row["instructions"] = [{"type": "punctuation:no_comma"}]
        # A number in words has no score, on purpose.
        with contextlib.suppress(scorers.Unscorable):
            assert 0 <= scorers.SCORERS[name](text, row) <= 1


class TestMistakesInScorers:
    """A column that a row lacks is told from all else that may go wrong in a reader's scorer."""

    FRAME = results.to_frame([record(text="one"), record(text="two")])

    def test_a_missing_column_is_named(self):
        def strict(text, row):
            return row["wanted"] == text

        with pytest.raises(TaskError, match=r"scorer strict needs a column 'wanted'") as caught:
            slmlab.score(self.FRAME, strict)
        assert isinstance(caught.value.__cause__, KeyError)

    def test_another_key_error_stays_what_it_is(self):
        def counts(text, row):
            return {"one": 1}[text]

        with pytest.raises(KeyError, match="two") as caught:
            slmlab.score(self.FRAME, counts)
        assert not isinstance(caught.value, SlmlabError)
        if sys.version_info >= (3, 11):
            assert "counts failed on row 1: 'two'" in caught.value.__notes__[0]

    def test_a_key_that_happens_to_be_no_column_either(self):
        with pytest.raises(KeyError) as caught:
            slmlab.score(self.FRAME, lambda text, row: {}["wanted"])
        assert not isinstance(caught.value, scorers.MissingColumn)

    def test_other_errors_too(self):
        with pytest.raises(ZeroDivisionError):
            slmlab.score(self.FRAME, lambda text, row: 1 / 0)

    def test_a_column_may_be_optional(self):
        scored = slmlab.score(self.FRAME, lambda text, row: row.get("wanted", 1))
        assert scored["score"].tolist() == [1, 1]


class TestRowsThatCannotBeScored:
    """One bad row has no score and says why; the others have theirs."""

    BAD = (
        ("number", {"expected": "two or three"}, "not one number"),
        ("number", {"expected": None}, "`expected` is blank"),
        ("number", {"expected": 1, "tolerance": "narrow"}, "`tolerance` is 'narrow'"),
        ("number", {"expected": 1, "decimal": ";"}, "`decimal` is ';'"),
        ("regex", {"expected": "("}, "not a regular expression"),
        ("label", {"expected": "yes", "labels": None}, "`labels` is blank"),
        ("label", {"expected": "yes", "labels": "yes, no"}, "not a list"),
        (
            "label",
            {"expected": "perhaps", "labels": ["yes", "no"]},
            "not one of the labels yes, no",
        ),
        ("json_valid", {"schema": {"type": "objects"}}, "not a JSON schema"),
        ("json_valid", {"schema": "{"}, "not a JSON schema"),
        ("json_fields", {"expected": "a"}, "not a dict"),
        ("facts", {"expected": []}, "`expected` is blank"),
        ("code", {"tests": "assert ("}, "not valid Python"),
        (None, {"expected": "x"}, "`scorer` is blank"),
    )

    def frame(self) -> pd.DataFrame:
        good = [("number", {"expected": "2,125"}), ("contains", {"expected": "2125"})]
        rows = [{"scorer": name, **row} for name, row in good]
        rows += [{"scorer": name, **row} for name, row, _ in self.BAD]
        records = [record(text='{"a": 1} 2125')] * len(rows)
        return results.to_frame([*records, record(error="no")], [*rows, {"scorer": "number"}])

    def test_each_says_why(self, capsys):
        scored = slmlab.score(self.frame(), run_code=True)
        assert scored["score"].tolist()[:2] == [1, 1]
        assert scored["score_note"].tolist()[:2] == [None, None]
        for (_, _, why), score, note in zip(
            self.BAD, scored["score"][2:], scored["score_note"][2:], strict=False
        ):
            assert math.isnan(score)
            assert why in note
        assert math.isnan(scored["score"].iloc[-1])
        assert scored["score_note"].iloc[-1] is None, "why it failed stands in `error`"
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert f"{len(self.BAD)} of {len(scored)} answers have no score; in row 2: " in printed

    def test_a_table_without_bad_rows_says_nothing(self, capsys):
        scored = slmlab.score(self.frame().head(2))
        assert scored["score_note"].isna().all()
        assert capsys.readouterr().err == ""

    def test_the_note_is_called_like_its_column(self):
        scored = slmlab.score(self.frame().head(3), "number", "right")
        assert scored["right"].tolist()[:2] == [1, 1]
        assert "not one number" in scored["right_note"][2]
        assert "score" not in scored

    def test_a_whole_column_that_is_missing_is_an_error(self):
        frame = self.frame()
        with pytest.raises(TaskError, match="scorer code needs a column 'tests'"):
            slmlab.score(frame.drop(columns="tests"), "code")
        with pytest.raises(TaskError, match="`scorer` is blank in all rows"):
            slmlab.score(frame.assign(scorer=None))
        with pytest.raises(TaskError, match="There is no scorer 'exakt'"):
            slmlab.score(frame.assign(scorer="exakt"))

    def test_a_scorer_of_ones_own_may_say_so_too(self, capsys):
        def brief(text, row):
            if len(text) > 3:
                raise scorers.Unscorable("It is too long.")
            return None if text == "no" else 1

        frame = results.to_frame([record(text=text) for text in ("long", "no", "yes")])
        scored = slmlab.score(frame, brief)
        assert scored["score_note"].tolist() == [
            "It is too long.",
            "The scorer brief returned none.",
            None,
        ]
        assert scored["score"].tolist()[2] == 1

    def test_what_is_unknown_matters_only_where_nothing_else_decides(self):
        row = {"expected": "twenty"}
        with pytest.raises(scorers.Unscorable):
            scorers.number("twenty", row)
        assert scorers.any_of("number", "exact")("twenty", row) == 1
        assert scorers.all_of("exact", "number")("thirty", row) == 0
        with pytest.raises(scorers.Unscorable):
            scorers.any_of("number", "exact")("thirty", row)
        with pytest.raises(scorers.Unscorable):
            scorers.all_of("number", "exact")("twenty", row)
        with pytest.raises(TaskError, match="at least one"):
            scorers.all_of()

    def test_an_answer_that_a_file_kept_as_a_blank(self):
        frame = pd.DataFrame({"text": [None, math.nan, "x"], "expected": ["x"] * 3})
        assert slmlab.score(frame, "exact")["score"].tolist() == [0, 0, 1]


# Rules of the scorer `instructions` that search the answer for a form.
FORMATS = [
    *("number_bullet_lists", "number_highlighted_sections", "multiple_sections"),
    *("json_format", "title"),
]
FORMATS = [f"detectable_format:{one}" for one in FORMATS]
FORMATS += ["detectable_content:number_placeholders", "detectable_content:postscript"]
FORMATS += [f"length_constraints:{one}" for one in ("number_paragraphs", "number_words")]


class TestLongTexts:
    """What a model repeats for ever takes no scorer long."""

    @pytest.mark.parametrize(
        "piece",
        [
            "1",
            "1,",
            "1.",
            "1 ",
            "1/",
            "-1",
            "{",
            '{"a": ',
            "[",
            "```\n",
            "<think>",
            "</think>",
            "a ",
            "not ",
            "\\boxed{",
            "\\frac{1}",
            "**",
            "__ ",
            "x = (",
            "½",
            "####",
            ">>> ",
            "- ",
            "<<",
            "\n",
        ],
    )
    def test_each_scorer_is_quick(self, piece):
        text = piece * (20_000 // len(piece))
        row = {"expected": "1", "labels": ["1", "not 1"], "tests": "assert f()"}
        row["asserts"] = [{"type": one, "value": "1"} for one in ("icontains", "regex")]
        row["asserts"].append({"type": "contains-json"})
        row["extract"] = {"filters": [{"function": "regex"}], "regexes_to_ignore": [","]}
        wanted = {"num_bullets": 1, "num_placeholders": 0, "num_highlights": 0, "num_sections": 0}
        wanted |= {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "a", "num_words": 1}
        wanted |= {"relation": "at least", "section_spliter": "a", "postscript_marker": "P.S."}
        row["instructions"] = [{"type": one, **wanted} for one in FORMATS]
        started = time.perf_counter()
        for name, scorer in scorers.SCORERS.items():
            if name == "json_fields":
                scorer(text, {"expected": {"a": 1}})
            elif name.startswith("call"):
                call = {"name": text, "arguments": {text: text}}
                scorer("", {"expected": call, "tool_calls": [call]})
            elif name != "code":
                scorer(text, row)
        python_code._program(text, frozenset({"f"}))
        assert time.perf_counter() - started < 10

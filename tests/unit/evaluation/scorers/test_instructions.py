"""IFEval's rules, each followed and not; and its question file."""

from __future__ import annotations

import json

import pytest

from slmlab.errors import TaskError
from slmlab.evaluation import scorers, tasks
from slmlab.evaluation.scorers.instructions import RULES

# A rule with its arguments, answers that follow it, answers that do not.
CASES = [
    ("keywords:existence", {"keywords": ["sea", "sun"]}, ["The SUN over the sea."], ["The sun."]),
    (
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "at least"},
        ["sea, Sea"],
        ["sea"],
    ),
    (
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "less than"},
        ["sea"],
        ["sea sea"],
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, ["category"], ["A Cat."]),
    (
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 2, "let_relation": "at least"},
        ["Queen of Iraq"],
        ["Queen"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "a***b***"],
        ["a\n\nb", "a *** *** b", "a *** b *** c"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        ["one two three"],
        ["one two"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        ["First.\n\n'Then, second.", "a\n\nThen. b"],
        ["Then.\n\nFirst", "a\n\nb", "a\n\nthen\n\nc"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[a] and [b]"], ["[a]"]),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Hi.\nP. S. Bye"],
        ["PS Bye"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["Hi\nP.P.S bye"],
        ["P.S. a"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n- b"],
        ["* a", "* a\n* b\n- c", "** a **\n* b"],
    ),
    ("detectable_format:constrained_response", {}, ["My answer is no."], ["No."]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, ["*a* *b*"], ["*a*"]),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb"],
        ["Section 1\na\nSection b"],
    ),
    ("detectable_format:json_format", {}, ['```json\n{"a": 1}\n```', "[1]"], ["Here: {}"]),
    ("detectable_format:title", {}, ["<<Poem>>\nText"], ["<Poem>", "<< >>"]),
    ("combination:two_responses", {}, ["a******b"], ["a******a", "a", "a******b******c"]),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say hi."},
        ["say hi. Hi!"],
        ["Hi! Say hi."],
    ),
    ("startend:end_checker", {"end_phrase": "The end."}, ['"So. the end."'], ["The end. Bye"]),
    ("startend:quotation", {}, ['"all of it"'], ['"a" b', '"']),
    ("change_case:english_capital", {}, ["ALL OF IT, 3."], ["ALL of it"]),
    ("change_case:english_lowercase", {}, ["all of it"], ["All of it"]),
    ("punctuation:no_comma", {}, ["None here."], ["One, here."]),
]


@pytest.mark.parametrize(("kind", "given", "followed", "broken"), CASES)
def test_each_rule(kind, given, followed, broken):
    row = {"instructions": [{"type": kind, **given}]}
    assert [scorers.instructions(one, row) for one in followed] == [True] * len(followed)
    assert [scorers.instructions(one, row) for one in broken] == [False] * len(broken)
    assert not scorers.instructions("", row)
    if given:
        with pytest.raises(scorers.Unscorable, match="lacks something"):
            scorers.instructions(followed[0], {"instructions": [{"type": kind}]})


def test_every_rule_is_tested():
    assert {case[0] for case in CASES} == {*RULES}


def test_all_have_to_be_followed():
    both = [{"type": "punctuation:no_comma"}, {"type": "change_case:english_lowercase"}]
    assert scorers.instructions("a", {"instructions": both})
    assert not scorers.instructions("A", {"instructions": json.dumps(both)})


def test_the_question_file(tmp_path, capsys):
    # On the hub each object has all arguments, most of them null.
    rows = [
        {
            "key": 1,
            "prompt": "Two words, no comma.",
            "instruction_id_list": ["length_constraints:number_words", "punctuation:no_comma"],
            "kwargs": [{"num_words": 3, "relation": "less than", "keyword": None}, {}],
        },
        {
            "key": 2,
            "prompt": "In German.",
            "instruction_id_list": ["language:response_language"],
            "kwargs": [{"language": "de"}],
        },
    ]
    path = tmp_path / "ifeval.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    table = tasks.load(path)
    assert table[["id", "scorer"]].values.tolist() == [[1, "instructions"]]
    assert scorers.SCORERS["instructions"]("Two words", table.to_dict("records")[0])
    assert not scorers.SCORERS["instructions"]("Now three words", table.to_dict("records")[0])
    assert "1 of 2 prompts, for the rules language:response_language (1)" in capsys.readouterr().err
    path.write_text(json.dumps(rows[0] | {"kwargs": [{}]}))
    with pytest.raises(TaskError, match=r"ifeval\.jsonl, row 1, is broken \(2 instr.* 1 kwargs\)"):
        tasks.load(path)
    path.write_text(json.dumps(rows[1]))
    with pytest.raises(TaskError, match=r"no prompt whose rules .* not language:response_language"):
        tasks.load(path)

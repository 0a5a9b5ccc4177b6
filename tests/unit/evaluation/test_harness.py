"""Tasks in the form of lm-evaluation-harness, written for these tests."""

from __future__ import annotations

import json

import pytest

from slmlab.errors import FileError, SlmlabError
from slmlab.evaluation import scorers, tasks

ROWS = [
    {
        "question": "What is 2 + 3?",
        "answer": "2 + 3 = 5\n#### 5",
        "options": ["4", "5"],
        "right": 1,
        "text": "5",
    },
    {
        "question": "What is 4 * 3?",
        "answer": "4 * 3 = 12\n#### 12",
        "options": ["12", "7"],
        "right": 0,
        "text": "12",
    },
    {
        "question": "What is 9 - 9?",
        "answer": "9 - 9 = 0\n#### 0",
        "options": ["9", "0"],
        "right": 1,
        "text": "0",
    },
]
GENERATE = r"""
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer.split('####')[-1].strip()}}"
generation_kwargs:
  until: ["Question:", "</s>"]
  max_gen_toks: 50
  do_sample: false
  temperature: 0.0
filter_list:
  - name: strict
    filter:
      - {function: regex, regex_pattern: "#### (\\-?[0-9\\.\\,]+)"}
      - function: take_first
  - name: maj
    filter:
      - function: majority_vote
metric_list:
  - {metric: exact_match, aggregation: mean, ignore_case: true, regexes_to_ignore: [",", "\\$"]}
  - {metric: bleu}
metadata: {version: 1.0}
"""
CHOOSE = """
include: base.yaml
output_type: multiple_choice
test_split: test
fewshot_split: train
num_fewshot: 1
fewshot_config: {sampler: first_n}
doc_to_text: "{{question}}"
doc_to_target: right
doc_to_choice: options
description: "Choose.\\n\\n"
"""
BASE = """
task: chosen
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl, train: more.jsonl}}
target_delimiter: " = "
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    more = {"question": "What is 1 + 1?", "options": ["2", "3"], "right": 0, "text": "2"}
    (tmp_path / "more.jsonl").write_text(json.dumps(more))
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def written(folder, text):
    path = folder / "task.yaml"
    path.write_text(text)
    return path


def test_answers_to_generate_are_filtered_and_matched(folder, capsys):
    table = tasks.load(written(folder, GENERATE))
    assert table["prompt"][0] == "Question: What is 2 + 3?\nAnswer:"
    assert table["expected"].tolist() == ["5", "12", "0"]
    assert set(table["task"]) == {"sums"}
    assert set(table["num_predict"]) == {50}
    row = table.to_dict("records")[1]
    match = scorers.SCORERS[row["scorer"]]
    assert match(" 4 * 3 = 12\n#### 12", row)
    assert match("#### 1,2\nQuestion: and?\n#### 5", row), "the comma is ignored, what follows too"
    assert not match("It is 12.", row)
    assert not match("#### 12\n#### 13 Question: #### 12", row | {"expected": "13"}), "the first"
    said = capsys.readouterr().err
    assert "Left out of task.yaml" in said
    assert "the filter pipeline 'maj' (line 18)" in said
    assert "the metric 'bleu' (line 23)" in said
    assert "temperature" not in said, "0 is what everybody means"


def test_choices_with_examples_before_them(folder, capsys):
    table = tasks.load(written(folder, CHOOSE))
    assert table["prompt"][0] == "Choose.\n\nWhat is 1 + 1? = 2\n\nWhat is 2 + 3?"
    assert table["labels"].tolist() == [["4", "5"], ["12", "7"], ["9", "0"]]
    assert table["expected"].tolist() == ["5", "12", "0"]
    assert set(table["before"]) == {" = "}
    assert not capsys.readouterr().err


def test_examples_of_the_same_split_are_never_the_question_itself(folder):
    text = CHOOSE.replace("fewshot_split: train", "fewshot_split: test").replace(
        "{sampler: first_n}", "{}"
    )
    for row in tasks.load(written(folder, text)).to_dict("records"):
        question = row["prompt"].rpartition("\n\n")[2]
        assert row["prompt"].count(question) == 1
        assert row["prompt"].count(" = ") == 1


@pytest.mark.parametrize(
    ("target", "choices"),
    [
        ('"{{right}}"', '["{{options[0]}}", "x"]'),
        ("text", '"{{options}}"'),
        ("right", '"{{[options[0], options[1]]}}"'),
    ],
)
def test_targets_are_numbers_or_texts(folder, target, choices):
    text = CHOOSE.replace("doc_to_target: right", f"doc_to_target: {target}")
    text = text.replace("doc_to_choice: options", f"doc_to_choice: {choices}")
    if "x" in choices:  # a list in YAML is taken as it is written
        assert tasks.load(written(folder, text))["labels"][0][1] == "x"
    else:
        assert tasks.load(written(folder, text))["expected"].tolist() == ["5", "12", "0"]


def test_digits_of_a_template_are_a_position_as_in_the_harness(folder):
    text = CHOOSE.replace("doc_to_target: right", 'doc_to_target: "{{1}}"')
    text = text.replace("doc_to_choice: options", 'doc_to_choice: ["1", "2"]')
    assert set(tasks.load(written(folder, text))["expected"]) == {"2"}
    text = text.replace('"{{1}}"', '"{{2}}"')
    with pytest.raises(FileError, match=r"2 is not one of \['1', '2'\], nor its number"):
        tasks.load(written(folder, text))


def test_a_template_may_write_several_targets(folder):
    text = GENERATE.replace(
        "answer.split('####')[-1].strip()", "[options[right], 'so ' ~ question]"
    )
    text += "num_fewshot: 1\nfewshot_config: {sampler: first_n}\n"
    row = tasks.load(written(folder, text)).to_dict("records")[1]
    assert row["expected"] == ["12", "so What is 4 * 3?"]
    assert row["prompt"].startswith("Question: What is 2 + 3?\nAnswer: 5\n\n")
    match = scorers.SCORERS[row["scorer"]]
    assert match("#### so What is 4 * 3?", row | {"extract": {}}) is False
    assert match("so What is 4 * 3?", row | {"extract": {}})


@pytest.mark.parametrize(
    ("more", "until"),
    [
        ("generation_kwargs: {max_gen_toks: 20}", ["\n\n"]),
        ("generation_kwargs: null\nfewshot_delimiter: '---'", ["---"]),
        ("generation_kwargs: {until: []}", []),
        ("generation_kwargs: {until: 'Q:'}", ["Q:"]),
    ],
)
def test_an_answer_ends_where_the_next_example_would_begin(folder, more, until):
    written(folder, GENERATE)
    child = folder / "child.yaml"
    child.write_text(f"include: task.yaml\n{more}\n")
    assert tasks.load(child)["extract"][0]["until"] == until


def test_metrics_of_a_choice_that_are_not_read_are_named(folder, capsys):
    metrics = "metric_list: [{metric: acc}, {metric: acc_norm}, {metric: brier_score}]\n"
    tasks.load(written(folder, CHOOSE + metrics))
    said = capsys.readouterr().err
    assert "the metric 'brier_score' (line" in said
    assert "acc" not in said.replace("brier_score", "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("task: [a, b]", "line 2: it is a group of tasks"),
        ("dataset_kwargs: x", "line 2: dataset_kwargs is an object"),
        ("generation_kwargs: [a]", "line 2: generation_kwargs is an object"),
        ("generation_kwargs: {until: 3}", "line 2: until is a text or a list of texts"),
        ("generation_kwargs: {max_gen_toks: many}", "line 2: max_gen_toks is a number"),
        ("generation_kwargs: {max_gen_toks: 0}", "line 2: max_gen_toks is a number"),
        ("num_fewshot: 1\nfewshot_config: first_n", "line 3: fewshot_config is an object"),
        ("filter_list: maj", "line 2: filter_list takes a list of objects"),
        ("filter_list: [maj]", "line 2: filter_list takes a list of objects"),
        ("filter_list: [{filter: regex}]", "line 2: filter_list takes a list of objects"),
        ("metric_list: [exact_match]", "line 2: metric_list takes a list of objects"),
    ],
)
def test_values_of_another_form_are_told_with_their_line(folder, more, said):
    written(folder, GENERATE)
    child = folder / "child.yaml"
    child.write_text(f"include: task.yaml\n{more}\n")
    with pytest.raises(FileError) as caught:
        tasks.load(child)
    assert f"child.yaml, {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("test_split: test", "process_docs: x", "line 5: 'process_docs' needs"),
        ("test_split: test", "output_type: loglikelihood", "line 5: 'loglikelihood' is not read"),
        ("sums.jsonl", "none.jsonl", "none.jsonl"),
        ("{{question}}", "{{asked}}", "line 6: doc_to_text cannot be filled in: 'asked'"),
        ("{{question}}", "{{question", "doc_to_text cannot be filled in"),
        (
            "{{question}}",
            "{{('a' * 99 ~ '!') | regex_replace('(a|aa)+$', '')}}",
            "line 6: doc_to_text cannot be filled in: The regular expression '(a|aa)+$' takes",
        ),
        ("{{question}}", "{{''.__class__.__mro__}}", "doc_to_text cannot be filled in"),
        ("exact_match", "f1", "none of its metrics is read"),
        ("doc_to_target:", "doc_to_tarjet:", "has no doc_to_target"),
        ("metadata: {version: 1.0}", "metadata: !function x.y", "type !function is not"),
        ("metadata: {version: 1.0}", "num_fewshot: 3", "only 3 rows for 3 examples"),
        ("metadata: {version: 1.0}", "num_fewshot: many", "num_fewshot is a number"),
        ("metadata: {version: 1.0}", "include: task.yaml", "includes itself"),
        ("task: sums", "\ttask: sums", "tab"),
    ],
)
def test_mistakes_are_told_with_their_line(folder, old, new, said):
    with pytest.raises(FileError) as caught:
        tasks.load(written(folder, GENERATE.replace(old, new)))
    assert "task.yaml" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r'"#### (\\-?[0-9\\.\\,]+)"', '"("', "line 16: '(' is not a regular expression"),
        (
            r'regex_pattern: "#### (\\-?[0-9\\.\\,]+)"',
            'kwargs: {regex_pattern: "a{9999999}"}',
            "line 16: The regular expression 'a{9999999}' is longer",
        ),
        (r'"\\$"', '"*"', "line 22: '*' is not a regular expression"),
    ],
)
def test_a_broken_regular_expression_is_told_with_its_file_and_line(folder, old, new, said):
    assert old in GENERATE
    written(folder, GENERATE.replace(old, new))
    child = folder / "child.yaml"
    child.write_text("include: task.yaml\n")
    for path in (folder / "task.yaml", child):
        with pytest.raises(FileError) as caught:
            tasks.load(path)
        assert f"task.yaml, {said}" in str(caught.value), "the file that it is in"


def test_a_pipeline_that_is_not_used_may_be_broken(folder, capsys):
    text = GENERATE.replace("function: majority_vote", "function: x\n        regex_pattern: '('")
    assert len(tasks.load(written(folder, text))) == 3
    assert "the filter pipeline 'maj'" in capsys.readouterr().err


def test_a_regular_expression_may_use_what_it_found(folder):
    text = GENERATE.replace("{{question}}", "{{question | regex_replace('(.+)', '<\\\\1>')}}")
    prompts = tasks.load(written(folder, text))["prompt"]
    assert all("<" in one and ">" in one for one in prompts)


@pytest.mark.parametrize("text", ["", "- a", "task: x", "dataset_path: json\ntest_split: a", "3"])
def test_what_is_no_task_is_refused(folder, text):
    with pytest.raises(SlmlabError, match=r"task\.yaml"):
        tasks.load(written(folder, text))


def test_unknown_keys_are_left_out_by_line(folder, capsys):
    tasks.load(written(folder, GENERATE + "custom: 1\nrepeats: 1\n"))
    said = capsys.readouterr().err
    assert "the key 'custom' (line 25)" in said
    assert "repeats" not in said

"""The file of an evaluation: what it may say, and how mistakes are told."""

from __future__ import annotations

import jsonschema
import pytest

from slmlab.errors import FileError
from slmlab.evaluation.suite import Suite, suite_of
from slmlab.evaluation.yaml_lines import Document, read_yaml

GOOD = """\
models: a
tasks: [sentiment]
items: 10
settings: {temperature: 0, num_predict: 40}
scorers:
  right: label
  brief: {at_most_words: 5, weight: 0.5}
thresholds:
  - at_least: 0.7
  - {score: right, not_worse_than: last/answers.json, margin: 0.05, model: a}
budget: {seconds: 60}
"""


@pytest.fixture
def suite(tmp_path):
    def read(text: str) -> Suite:
        path = tmp_path / "check.yaml"
        path.write_text(text)
        return suite_of(read_yaml(path))

    return read


def test_a_whole_one(suite):
    found = suite(GOOD)
    assert (found.models, found.tasks, found.items) == (["a"], ["sentiment"], 10)
    assert found.scorers["right"].function() == "label"
    assert found.scorers["brief"].function()("one two three", {}) == 1
    assert found.thresholds[1].margin == 0.05
    assert found.budget.seconds == 60


def test_a_model_that_is_named_twice_is_one(suite):
    assert suite(GOOD.replace("models: a", "models: [a, a, b]")).models == ["a", "b"]


BASE = "models: a\ntasks: sentiment\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        BASE,
        "models: [a, b]\nprompts: Hi\nscorers: {brief: {at_most_words: 5, weight: 0.5}, r: exact}",
        "models: a\nprompts: {prompt: Hi, expected: b, scorer: exact}",
        "models: a\nprompts: [[{role: user, content: Hi}], Why]",
        "models: a\ntasks: hf:x/y\ncolumns: {prompt: q}\nsplit: train\ndraw_seed: 1\nitems: 3",
        BASE + "settings: {seed: 3, stop: [a, b], format: json}\nthink: true\nrepeats: 3",
        BASE + "thresholds: [{not_worse_than: last.json, task: sentiment}]\nbudget: {tokens: 9}",
        BASE + "scorers: {own: {}}\ntemplate: plain\nsystem: null\nthresholds: []",
    ],
)
def test_editors_take_what_runs(suite, tmp_path, text):
    assert suite(text).models
    found = read_yaml(tmp_path / "check.yaml").value
    jsonschema.Draft202012Validator(Suite.model_json_schema()).validate(found)


@pytest.mark.parametrize(
    "text",
    [
        "- models: a",
        "tasks: sentiment",
        "models: a",
        "models: []\ntasks: sentiment",
        "models: [1]\ntasks: sentiment",
        BASE + "prompts: [Hi]",
        BASE + "tusks: 1",
        BASE + "items: 0",
        BASE + "think: yes",
        BASE + "columns: {prompt: 3}",
        BASE + "settings: {temprature: 0}",
        BASE + "settings: {temperature: [0, 1]}",
        BASE + "scorers: {r: labell}",
        BASE + "scorers: {r: {scorer: labell}}",
        BASE + "scorers: {r: {scorer: exact, at_most_words: 3}}",
        BASE + "scorers: {score: exact}",
        BASE + "scorers: {x_note: exact}",
        BASE + "thresholds: {at_least: 0.5}",
        BASE + "thresholds: [{at_least: 1.5}]",
        BASE + "thresholds: [{at_least: 0.5, not_worse_than: x.json}]",
        BASE + "thresholds: [{}]",
        BASE + "thresholds: [{at_least: 0.5, margin: 0.1}]",
        BASE + "budget: {seconds: 0}",
        BASE + "budget: {token: 3}",
    ],
)
def test_editors_refuse_what_does_not(suite, tmp_path, text):
    with pytest.raises(FileError, match=r"check\.yaml, line \d"):
        suite(text)
    found = read_yaml(tmp_path / "check.yaml").value
    assert not jsonschema.Draft202012Validator(Suite.model_json_schema()).is_valid(found)


def test_its_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(Suite.model_json_schema())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "at_least: 0.7",
            "at_leest: 0.7",
            "line 9: there is no key 'at_leest' here. Did you mean 'at_least'?",
        ),
        ("items: 10", "item: 10", "line 3: there is no key 'item' here. Did you mean 'items'?"),
        (
            "seconds: 60",
            "minutes: 1",
            "line 11: there is no key 'minutes' here. Keys: seconds, tokens.",
        ),
        (
            "at_least: 0.7",
            "at_least: 1.5",
            "line 9: at_least: input should be less than or equal to 1; it is 1.5.",
        ),
        (
            "at_least: 0.7",
            "at_least: 70%",
            "line 9: at_least: input should be a valid number; it is '70%'.",
        ),
        (
            "at_least: 0.7",
            "score: right",
            "line 9: thresholds: a threshold has either `at_least` or `not_worse_than`.",
        ),
        (
            "score: right",
            "score: rihgt",
            "line 10: no scorer is named 'rihgt' here. Did you mean 'right'?",
        ),
        ("model: a}", "model: b}", "line 10: 'b' is not among the models."),
        (
            "right: label",
            "right: labels",
            "line 6: scorer: there is no scorer 'labels'. Did you mean 'label'?",
        ),
        ("right: label", "score: label", "line 5: scorers: `score` is the total"),
        ("right: label", "note: label", "line 5: scorers: 'note' is the name of a column of notes"),
        ("at_most_words: 5", "at_most_words: 5, scorer: label", "line 7: brief: give either"),
        (
            "num_predict: 40",
            "max_tokens: 40",
            "line 4: settings: there is no option 'max_tokens'. Did you mean 'num_predict'?",
        ),
        (
            "temperature: 0",
            "temperature: hot",
            "line 4: settings: temperature is a number; got 'hot'.",
        ),
        (
            "temperature: 0",
            "temperature: [0, 1]",
            "line 4: settings: `temperature` has one value here",
        ),
        ("models: a\n", "", "'models' is missing."),
        ("models: a\n", "modelz: a\n", "no key 'modelz' here. Did you mean 'models'?"),
        ("models: a", "models: []", "line 1: models: list should have at least 1 item"),
        ("tasks: [sentiment]", "", "line 1: give either `tasks` or `prompts`."),
        ("items: 10", "items: yes", "line 3: items: input should be a valid integer; it is 'yes'."),
        (
            "items: 10",
            "repeats: 0",
            "line 3: repeats: input should be greater than or equal to 1; it is 0.",
        ),
        ("seconds: 60", "seconds: 0", "line 11: seconds: input should be greater than 0; it is 0."),
    ],
)
def test_mistakes_name_line_key_and_remedy(suite, old, new, message):
    assert old in GOOD
    with pytest.raises(FileError, match=r"check\.yaml, line ") as caught:
        suite(GOOD.replace(old, new))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "hello"])
def test_no_object(suite, text):
    with pytest.raises(FileError, match="line 1: an evaluation is an object with keys"):
        suite(text)


def test_a_dict_has_no_lines():
    with pytest.raises(FileError, match="The evaluation cannot run: 'models' is missing"):
        suite_of(Document(None, {"tasks": "sentiment"}))

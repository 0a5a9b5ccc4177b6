"""Conversations: what is sent after which turns, and where they can go on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slmlab.errors import PromptError
from slmlab.run.grid import plan
from slmlab.run.options import full_options
from slmlab.run.streaming import Answer
from slmlab.widgets import export
from slmlab.widgets.conversation import (
    Point,
    Setup,
    Turn,
    column_prompts,
    history,
    path,
    points,
    too_long,
    variant,
    varied_settings,
)
from tests.support.records import record

TWO = [Setup(), Setup()]


def turn(text: str, said: list[str], before: tuple[Turn, ...] = (), source=None, setups=TWO):
    """A turn that the models a, b, … answered so."""
    prompts = column_prompts(text, before, source, setups)
    answers = [
        Answer(name, prompt, "h", state="done", pieces=[one])
        for name, prompt, one in zip("abcdef", prompts, said, strict=False)
    ]
    for one, setup in zip(answers, setups, strict=True):
        options = full_options(setup.options)
        one.record = record(model=one.model, prompt=one.prompt, text=one.text, options=options)
    return Turn(text, answers, list(setups), path(text, before, source), source)


def roles(prompt) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in prompt]


class TestWhatIsSent:
    def test_one_question_alone_is_sent_as_a_text(self):
        assert column_prompts("Why?", [], None, TWO) == ["Why?", "Why?"]
        assert roles(Setup(system="Be kind.").prompt("Why?", [])) == [
            ("system", "Be kind."),
            ("user", "Why?"),
        ]

    def test_a_follow_up_goes_after_each_ones_own_answers(self):
        first = turn("Why?", ["A1", "B1"])
        own, other = column_prompts("And?", [first], None, TWO)
        assert roles(own) == [("user", "Why?"), ("assistant", "A1"), ("user", "And?")]
        assert roles(other)[1] == ("assistant", "B1")
        second = turn("And?", ["A2", "B2"], (first,))
        third = column_prompts("So?", [first, second], None, TWO)[1]
        assert [text for _, text in roles(third)] == ["Why?", "B1", "And?", "B2", "So?"]

    def test_from_one_answer_all_go_on_alike_also_new_columns(self):
        first = turn("Why?", ["A1", "B1"])
        found = column_prompts("And?", [first], 1, [*TWO, Setup()])
        assert len(found) == 3
        assert all(one == found[0] for one in found)
        assert ("assistant", "B1") in roles(found[0])
        with pytest.raises(PromptError, match="no answer C in turn 1"):
            column_prompts("And?", [first], None, [*TWO, Setup()])

    def test_the_template_is_for_the_first_turn_and_the_system_prompt_for_all(self):
        setup = Setup("step_by_step", "Be kind.")
        first = turn("Why?", ["A1"], setups=[setup])
        assert "step by step" in first.answers[0].prompt[1]["content"]
        later = Setup("step_by_step", "Be rude.")
        ((system, user, _, last),) = column_prompts("And?", [first], None, [later])
        assert system["content"] == "Be rude."
        assert "step by step" in user["content"]
        assert last["content"] == "And?"

    def test_thoughts_are_not_sent_again(self):
        first = turn("3 + 4?", ["<think>\nadd\n</think>\n\n7", "<think>endless"])
        assert history(first.answers[0])[-1]["content"] == "7"
        with pytest.raises(PromptError, match="no answer B in turn 1"):
            column_prompts("Sure?", [first], None, TWO)

    @pytest.mark.parametrize("setup", [Setup(), Setup(system="x")])
    def test_an_empty_text_is_refused_in_every_turn(self, setup):
        first = turn("Why?", ["A1"], setups=[setup])
        for turns in ([], [first]):
            with pytest.raises(PromptError, match="The prompt is empty"):
                column_prompts(" ", turns, None, [setup])

    @pytest.mark.parametrize("template", ["no variable here", "{a} and {b}"])
    def test_a_template_has_one_variable(self, template):
        with pytest.raises(PromptError, match="needs one variable"):
            Setup(template).prompt("Why?", [])


class TestWhereItGoesOn:
    def test_each_answer_and_each_turn_is_a_point(self):
        first = turn("Why?", ["A1", "B1"])
        second = turn("And?", ["A2", "B2"], (first,), source=1)
        assert dict(points([first, second])) == {
            "each model's own answer": Point(2),
            "answer A, for all": Point(2, 0),
            "answer B, for all": Point(2, 1),
            "turn 1: each model's own answer": Point(1),
            "turn 1: answer A, for all": Point(1, 0),
            "turn 1: answer B, for all": Point(1, 1),
            "turn 2 again, edited": Point(1, 1, again=True),
            "turn 1 again, edited": Point(0, again=True),
        }
        assert points([]) == []

    def test_of_one_model(self):
        assert [label for label, _ in points([turn("Why?", ["A1"], setups=[Setup()])])] == [
            "this answer",
            "turn 1 again, edited",
        ]


class TestNames:
    def test_they_say_what_differs(self):
        setups = [
            Setup(options={"temperature": 0.0, "seed": 1}),
            Setup(system="Be kind.", options={"temperature": 1.0, "seed": 1}),
        ]
        assert turn("Why?", ["A1", "B1"], setups=setups).names == [
            "a · no system prompt · temperature 0.0",
            "b · system “Be kind.” · temperature 1.0",
        ]
        assert turn("Why?", ["A1", "B1"]).names == ["a", "b"]

    def test_of_every_setting(self):
        setups = [Setup(), Setup("step_by_step", " ", True, {"stop": ["."]})]
        assert varied_settings(setups) == ["template", "think", "stop"]
        names = [variant("m", one, ["template", "think", "stop"]) for one in setups]
        assert names == [
            "m · template plain · not thinking · stop default",
            "m · template step_by_step · thinking · stop ['.']",
        ]


class TestFrame:
    def test_turns_share_a_prompt_and_columns_of_one_model_keep_apart(self):
        cool, warm = Setup(options={"temperature": 0.0}), Setup(options={"temperature": 1.0})
        first = turn("Why?", ["A1", "B1"], setups=[cool, warm])
        for one in first.answers:
            one.model, one.record = "m", replace(one.record, model="m")
        second = turn("And?", ["A2", "B2"], (first,), setups=[cool, warm])
        again = turn("And?", ["A2", "B2"], (first,), setups=[cool, warm])
        frame = export.turns_to_frame([first, second, again])
        assert list(frame["turn"]) == [1, 1, 2, 2, 2, 2]
        assert list(frame["prompt_id"]) == [0, 0, 1, 1, 1, 1]
        assert list(frame["repeat"]) == [0, 0, 0, 0, 1, 1]
        assert list(frame["variant"][:2]) == ["m · temperature 0.0", "m · temperature 1.0"]
        html = export.frame_html(frame)
        assert "m · temperature 1.0" in html
        assert "<th scope='col'>turn</th>" in html

    def test_one_question_alone_has_no_further_columns(self):
        frame = export.turns_to_frame([turn("Why?", ["A1", "B1"])])
        assert not {"variant", "system", "template"} & {*frame.columns}
        assert "turn" not in export.frame_html(frame)

    def test_unlike_histories_are_one_prompt_and_unlike_forks_two(self):
        first = turn("Why?", ["A1", "B1"])
        own = turn("And?", ["A2", "B2"], (first,))
        forked = turn("And?", ["A2", "B2"], (first,), source=0)
        assert list(export.turns_to_frame([own, forked])["prompt_id"]) == [0, 0, 1, 1]


class TestExport:
    def test_compare_takes_what_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        first = turn("Why?", ["A1", "B1"], setups=[Setup(system="Be kind."), Setup()])
        second = turn("And?", ["A2", "B2"], (first,), setups=first.setups)
        said = export.save_conversations([first, second])
        (file,) = tmp_path.glob("conversation-*.json")
        assert str(file) in said
        cells = plan(["m"], file)
        assert [cell.prompt for cell in cells] == [one.prompt for one in second.answers]
        assert [cell.columns["given_text"] for cell in cells] == ["A2", "B2"]
        (row, _) = json.loads(file.read_text())
        assert row["model"].startswith("a")

    def test_a_text_becomes_a_list_of_messages(self):
        (row, _) = export.conversations([turn("Why?", ["A1", "B1"])])
        assert row["prompt"] == [{"role": "user", "content": "Why?"}]


def test_a_conversation_longer_than_the_context_is_named():
    first = turn("Why?", ["A1", "B1"])
    second = turn("And?", ["A2", "B2"], (first,)).answers
    assert too_long(second) == ""
    for one, cut in zip(second, (True, None), strict=True):
        one.record = record(prompt=one.prompt, prompt_tokens=9, truncated=cut)
    assert "The conversation of A was longer than the context" in too_long(second)
    assert "of B may have been longer" in too_long(second)
    assert "conversation of b may" in too_long(second[1:])

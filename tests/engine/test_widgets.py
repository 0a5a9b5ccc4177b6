"""Widgets with models and without a browser."""

from __future__ import annotations

import pandas as pd

import slmlab
from slmlab.evaluation import votes
from slmlab.run import results
from slmlab.widgets import side_by_side
from slmlab.widgets.conversation import Point
from tests.support.engines import BASE, QWEN, SHALLOW, SMOL


class TestSideBySide:
    def test_an_answer_that_ends_while_it_draws_has_its_strip_before_its_button(
        self, embedded, monkeypatch
    ):
        panel = slmlab.side_by_side([SHALLOW, BASE], "Hi", host=embedded.url, num_predict=20)
        draw, enable, seen = side_by_side.draw_strips, panel._set_buttons, []

        def draw_slowly(*given) -> None:
            draw(*given)
            assert panel.answers.wait(60)

        def look(*given) -> None:
            enable(*given)
            if not panel.columns.children[1].best.disabled:
                seen.append(panel.columns.children[1].strip.value)

        monkeypatch.setattr(side_by_side, "draw_strips", draw_slowly)
        monkeypatch.setattr(panel, "_set_buttons", look)
        panel.run()
        assert seen
        assert all(seen)


class TestServersThatGo:
    def test_a_vanished_model_is_named(self, embedded):
        panel = slmlab.side_by_side(prompt="Hi", host=embedded.url)
        panel.columns.children[0].model.options = ["gone:1b"]
        panel.run()
        assert "gone:1b" in panel.message.value
        assert not panel.runs
        assert panel.prompt_text.value == "Hi"

    def test_a_conversation_whose_model_vanished_loses_nothing_and_goes_on_with_another(
        self, embedded
    ):
        lab = slmlab.side_by_side([SHALLOW, SMOL], "Hi", host=embedded.url, num_predict=8)
        lab.run()
        before = [one.text for one in lab.turns[0].answers]
        column = lab.columns.children[0]
        names, column.model.options = column.model.options, ["gone:1b"]
        lab.follow_up_box.text.value = "And you?"
        lab.follow_up()
        assert "gone:1b" in lab.message.value
        assert [one.text for one in lab.turns[-1].answers] == before
        assert lab.follow_up_box.text.value == "And you?", "what was typed stays"
        column.offer(names, BASE)
        lab.follow_up()
        answer = lab.turns[1].answers[0]
        assert answer.model == BASE
        assert answer.prompt[1] == {"role": "assistant", "content": before[0]}


class TestWithoutAFrontEnd:
    def test_a_terminal_gets_text(self, embedded):
        code = str(slmlab.playground(prompt="Why?", host=embedded.url))
        assert "chain.invoke({'question': 'Why?'})" in code
        assert SMOL in str(slmlab.side_by_side(host=embedded.url))


class TestConversations:
    def test_it_goes_on_forks_and_asks_again(self, embedded, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        lab = slmlab.side_by_side(
            [QWEN, QWEN],
            "My name is Ada. Say hello to me by my name.",
            columns=[{"temperature": 0}, {"temperature": 1.5}],
            host=embedded.url,
            num_predict=12,
        )
        lab.run()
        assert lab.follow_up_box.layout.display == ""
        lab.follow_up_box.text.value = "What is my name? Answer in one word."
        lab.follow_up()
        first, second = lab.turns
        assert "Ada" in second.answers[0].text, "it knows what was said before"
        for one, other in zip(first.answers, second.answers, strict=True):
            assert other.prompt[1] == {"role": "assistant", "content": one.text}
        assert [one.record.turn for one in second.answers] == [2, 2]
        lab.vote("A")
        (vote,) = votes.read_votes("votes.jsonl").itertuples()
        assert (vote.model_a, vote.model_b) == (
            f"{QWEN} · temperature 0.0",
            f"{QWEN} · temperature 1.5",
        )
        lab.follow_up_box.place.value = Point(1, 1)
        lab.follow_up_box.text.value = "And mine?"
        lab.follow_up()
        prompts = [one.prompt for one in lab.turns[-1].answers]
        assert prompts[0] == prompts[1]
        assert prompts[0][1]["content"] == first.answers[1].text
        lab.follow_up_box.place.value = Point(0, again=True)
        lab.follow_up_box.text.value = "My name is Bo."
        lab.follow_up()
        assert [turn.text for turn in lab.turns] == ["My name is Bo."]
        frame = lab.frame
        assert list(frame["turn"]) == [1, 1, 2, 2, 2, 2, 1, 1]
        assert list(frame["prompt_id"]) == [0, 0, 1, 1, 2, 2, 3, 3]
        results.to_csv(frame, "talk.csv")
        pd.testing.assert_frame_equal(results.read("talk.csv"), frame, check_dtype=False)
        page = slmlab.report(frame, "talk.html").read_text()
        assert "8 answers" in page

    def test_a_history_longer_than_the_context_is_said(self, embedded):
        long = "The sun shines and the birds sing. " * 20
        page = slmlab.playground(SHALLOW, long, host=embedded.url, num_ctx=256, num_predict=8)
        page.run()
        assert not page.records[-1].truncated
        page.follow_up_box.text.value = long
        page.follow_up()
        assert page.records[-1].truncated
        assert "was longer than the context" in page.follow_up_box.note.value

    def test_a_model_that_vanished_costs_nothing_that_was_typed(self, embedded):
        lab = slmlab.side_by_side([SHALLOW, BASE], "Hi", host=embedded.url, num_predict=5)
        lab.run()
        lab.columns.children[0].model.options = ["gone:1b"]
        lab.columns.children[0].model.value = "gone:1b"
        lab.follow_up_box.text.value = "And?"
        lab.follow_up()
        assert "gone:1b" in lab.message.value
        assert (lab.follow_up_box.text.value, len(lab.turns)) == ("And?", 1)

    def test_an_edited_first_question_is_sent_as_it_stands(self, embedded):
        page = slmlab.playground(
            SHALLOW, "tides", template="Explain {question}.", host=embedded.url, num_predict=5
        )
        page.run()
        page.follow_up_box.place.value = Point(0, again=True)
        assert page.follow_up_box.text.value == "Explain tides."
        page.follow_up_box.text.value = "Explain {waves}."
        page.follow_up()
        assert [record.prompt for record in page.records] == ["Explain tides.", "Explain {waves}."]
        assert "'question': 'Explain {waves}.'" in page.runs[-1].as_markdown()
        assert page.conversation[0]["prompt"] == [{"role": "user", "content": "Explain {waves}."}]
        page.go(-1)
        assert (page.place, page.template.values) == (0, {"question": "tides"})

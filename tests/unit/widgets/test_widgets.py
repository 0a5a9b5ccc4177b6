"""Widgets without a server."""

from __future__ import annotations

import threading
from pathlib import Path

import ipywidgets
import pytest

import slmlab
from slmlab.errors import ModelError, PromptError, SlmlabError
from slmlab.run import results, streaming
from slmlab.run.options import full_options
from slmlab.run.streaming import Answer, Answers
from slmlab.widgets import markup
from slmlab.widgets.conversation import Setup, Turn
from slmlab.widgets.playground_run import Run
from tests.support.processes import free_port
from tests.support.records import record

WIDGETS = (
    slmlab.playground,
    slmlab.side_by_side,
    slmlab.arena,
    slmlab.catalog_explorer,
    slmlab.leaderboard,
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{free_port()}")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def frame():
    rows = [
        record(model=model, prompt="<i>Why?</i>", text="It *is*.")
        for model in ("<b>one</b>", "two")
    ]
    return results.to_frame(rows, [{"prompt_id": 0, "repeat": 0}] * 2)


class TestServersThatGo:
    def test_without_server_or_models_it_says_what_to_do(self):
        for show in (slmlab.playground, slmlab.side_by_side):
            assert "slmlab.start()" in show().message.value
        assert "two models" in str(slmlab.arena())
        assert "Llama 3.2" in str(slmlab.catalog_explorer())

    @pytest.mark.parametrize("make", [slmlab.playground, slmlab.side_by_side])
    def test_as_text_too(self, make):
        text = str(make())
        assert "No server answers" in text
        assert "None" not in text


class TestPlayground:
    def test_what_is_saved_is_the_run_that_is_shown_whatever_is_set_now(self, monkeypatch):
        panel = slmlab.playground(prompt="Why?", temperature=0.25, stop=["END"])
        answer = streaming.Answer(
            "first:1b", "Why?", panel.host, full_options(panel.settings.options), state="done"
        )
        answer.pieces.append("Because.")
        panel.runs.append(
            Run(answer, panel.template.values, panel.template.text.value, "", panel.settings.values)
        )
        panel.settings.fields["temperature"].value = 1.5
        panel.template.fields["question"].value = "Why not?"
        panel.system.value = "Be brief."
        panel.save()
        (saved,) = (path.read_text() for path in Path().glob("playground-*.md"))
        code = saved.partition("```python\n")[2]
        assert "'temperature': 0.25" in code
        assert "'stop': ['END']" in code
        assert "chain.invoke({'question': 'Why?'})" in code
        assert "model='first:1b'" in code
        assert not any(text in saved for text in ("1.5", "Why not?", "Be brief."))
        assert "'temperature': 1.5" in panel.code_text


class TestOtherBoxes:
    @pytest.mark.parametrize("make", WIDGETS)
    def test_a_widget_goes_into_them(self, make):
        widget = make()
        assert isinstance(widget, ipywidgets.VBox)
        for box in (ipywidgets.HBox, ipywidgets.Tab, ipywidgets.Accordion):
            assert box([widget]).children == (widget,)
        assert ipywidgets.AppLayout(center=widget).center is widget

    @pytest.mark.parametrize("make", WIDGETS)
    def test_outside_of_a_notebook_it_is_text(self, make):
        widget = make()
        assert widget._repr_mimebundle_() == {"text/plain": str(widget)}
        assert repr(widget) == str(widget)


class TestArguments:
    def test_the_model_comes_first(self):
        assert slmlab.playground("m", "Why?").template.fields["question"].value == "Why?"
        assert slmlab.side_by_side(["a", "b"], "Why?").prompt() == "Why?"
        assert slmlab.arena(["a", "b"], "Why?").prompt_text.value == "Why?"

    def test_a_model_may_stand_beside_itself(self):
        with pytest.raises(PromptError, match="The prompt is a text"):
            slmlab.side_by_side(["a", "a"], 5)

    @pytest.mark.parametrize("make", WIDGETS[:3])
    def test_wrong_names_are_hinted_at(self, make):
        with pytest.raises(PromptError, match="Did you mean 'num_predict'"):
            make(max_tokens=5)
        with pytest.raises(PromptError, match="Did you mean 'prompt'"):
            make(question="Why?")
        with pytest.raises(PromptError, match="The prompt is a text"):
            make(prompt=5)

    @pytest.mark.parametrize("models", [5, [5, 6], [], b"x"])
    @pytest.mark.parametrize("make", WIDGETS[:3])
    def test_models_are_names(self, make, models):
        with pytest.raises(ModelError, match="Models are given by their names"):
            make(models)


class TestCatalogue:
    def test_two_changes_at_once_end_in_what_both_say(self, monkeypatch):
        """As ipykernel 7 makes them: it handles messages to two parts in two threads."""
        explorer = slmlab.catalog_explorer()
        draws, goes_on, make = threading.Event(), threading.Event(), markup.table_html

        def make_slowly(*given):
            if threading.current_thread() is first:
                draws.set()
                assert goes_on.wait(10)
            return make(*given)

        monkeypatch.setattr(markup, "table_html", make_slowly)
        first, second = (
            threading.Thread(target=setattr, args=(field, "value", value))
            for field, value in ((explorer.words, "gemma"), (explorer.size, "up to 1 B"))
        )
        first.start()
        assert draws.wait(10)
        second.start()
        second.join(0.5)
        goes_on.set()
        first.join()
        second.join()
        rows = explorer.table.value.count("<tr>") - 1
        assert rows == len(explorer.frame) < len(explorer.all)
        assert set(explorer.frame["developer"]) == {"Google"}
        assert explorer.frame["parameters"].max() <= 1.05e9

    def test_a_heading_sorts_and_a_second_press_turns_it_round(self):
        explorer = slmlab.catalog_explorer()
        assert explorer.table.value.count("aria-sort='ascending'") == 1
        released = next(one for one in explorer.sorters if "Released" in one.description)
        released.click()
        assert "aria-sort='descending'><button" in explorer.table.value
        dates = explorer.frame["released"].dropna().tolist()
        assert dates == sorted(dates, reverse=True)
        released.click()
        assert explorer.frame["released"].dropna().tolist() == sorted(dates)
        assert explorer.frame["released"].isna().iloc[-1], "what is unknown comes last"
        for sorter in explorer.sorters:
            sorter.click()
            assert len(explorer.frame) == len(explorer.all)


class TestSideBySide:
    def test_columns_come_and_go_between_two_and_six(self):
        panel = slmlab.side_by_side()
        for _ in range(9):
            panel.add()
        assert [column.letter for column in panel.columns] == list("ABCDEF")
        assert panel.buttons.add.disabled
        for _ in range(9):
            panel.drop()
        assert len(panel.columns) == 2
        assert panel.buttons.drop.disabled

    def test_buttons_are_disabled_before_a_turn_is_drawn_and_enabled_after_it(self):
        panel = slmlab.side_by_side()
        panel.columns.begin([], ["one", "two"], [])
        changes = []
        panel.columns.children[0].best.observe(lambda now: changes.append(now["new"]), "disabled")
        panel.columns.children[0].answer.observe(lambda _: changes.append("answer"), "value")

        def draw_next(state: str) -> list[bool | str]:
            answers = [Answer(name, "Why?", panel.host, {}) for name in ("one", "two")]
            panel.answers = Answers(answers)
            panel.turns = [Turn("Why?", answers, [Setup(), Setup()])]
            panel.runs = panel.turns
            for answer in answers:
                answer.state = state
            changes.clear()
            panel.draw()
            return changes.copy()

        assert draw_next("done") == ["answer", False]
        assert draw_next("waiting") == [True, "answer"]

    def test_a_system_prompt_goes_before_the_prompt(self):
        panel = slmlab.side_by_side(prompt="Why?", system="Be kind.")
        assert [one["role"] for one in panel.prompt()] == ["system", "user"]
        panel.shared.system.value = "  "
        assert panel.prompt() == "Why?"


class TestArena:
    def test_names_come_after_the_vote_and_nothing_in_them_is_html(self, frame):
        arena = slmlab.arena(answers=frame, voter="Bo")
        shown = arena.static_html()
        assert "It <em>is</em>." in shown
        assert not any(name in side.value for side in arena.sides for name in ("one", "two"))
        assert "&lt;i&gt;Why?" in shown
        assert arena.next_button.disabled
        arena.vote("a")
        arena.vote("b")
        assert list(arena.votes["winner"]) == ["a"], "a second vote counts for nothing"
        titles = [side.value.partition("</p>")[0] for side in arena.sides]
        assert any("&lt;b&gt;one&lt;/b&gt;" in title for title in titles)
        assert "<b>one" not in arena.static_html()
        arena.next()
        assert "That was the last pair" in arena.question.value

    def test_answers_of_one_model_are_no_pairs(self, frame):
        with pytest.raises(SlmlabError, match="two models to vote on"):
            slmlab.arena(answers=frame[:1])


def test_what_is_no_image_is_told_before_a_widget_is_made(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    for widget in (slmlab.playground, slmlab.side_by_side):
        with pytest.raises(PromptError, match=r"a\.txt is no image that models read"):
            widget(images=tmp_path / "a.txt")

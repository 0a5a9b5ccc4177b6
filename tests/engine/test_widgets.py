"""Widgets with models and without a browser."""

from __future__ import annotations

import slmlab
from slmlab.widgets import side_by_side
from tests.support.engines import GEMMA, SMOL


class TestSideBySide:
    def test_an_answer_that_ends_while_it_draws_has_its_strip_before_its_button(
        self, embedded, monkeypatch
    ):
        panel = slmlab.side_by_side([SMOL, GEMMA], "Hi", host=embedded.url, num_predict=20)
        draw, enable, seen = side_by_side.draw_strips, panel._set_buttons, []

        def draw_slowly(*given) -> None:
            draw(*given)
            assert panel.answers.wait(60)

        def look(*given) -> None:
            enable(*given)
            if not panel.columns[1].best.disabled:
                seen.append(panel.columns[1].strip.value)

        monkeypatch.setattr(side_by_side, "draw_strips", draw_slowly)
        monkeypatch.setattr(panel, "_set_buttons", look)
        panel.run()
        assert seen
        assert all(seen)


class TestServersThatGo:
    def test_a_vanished_model_is_named(self, embedded):
        panel = slmlab.side_by_side(prompt="Hi", host=embedded.url)
        panel.columns[0].model.options = ["gone:1b"]
        panel.run()
        assert "gone:1b" in panel.message.value
        assert not panel.runs
        assert panel.prompt_text.value == "Hi"


class TestWithoutAFrontEnd:
    def test_a_terminal_gets_text(self, embedded):
        code = str(slmlab.playground(prompt="Why?", host=embedded.url))
        assert "chain.invoke({'question': 'Why?'})" in code
        assert SMOL in str(slmlab.side_by_side(host=embedded.url))

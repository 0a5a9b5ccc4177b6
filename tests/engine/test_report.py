"""The report of a real comparison."""

from __future__ import annotations

import html
import re

import slmlab
from slmlab.evaluation import tasks
from tests.support.engines import SMOL
from tests.support.records import same


class TestReport:
    def test_it_has_all_that_it_promises(self, frame, tmp_path):
        path = slmlab.report(frame, tmp_path / "r.html")
        text = path.read_text()
        for heading in ("What ran where", "Speed and flags", "Scores by task", "Every answer"):
            assert f"<h2>{heading}</h2>" in text
        for words in ("sign test", "answer cut", SMOL, "llama.cpp"):
            assert words in text
        assert text.count('class="plot"') == 4
        assert text.count('class="answer"') == len(frame)
        assert not re.search(r'(src|href)="(?!data:)', text), "nothing is loaded from elsewhere"
        recipe = text[text.index("<pre>") : text.index("</pre>")]
        assert "repeats=2" in recipe
        assert "num_predict=12" in recipe

    def test_its_recipe_makes_it_again(self, embedded, monkeypatch, tmp_path):
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))
        settings = {"temperature": 0.2, "num_predict": 8, "num_thread": 1, "stop": ["\n", "."]}
        made = slmlab.compare(
            [SMOL],
            tasks.load(["sentiment"], 2),
            system="Be short.",
            repeats=2,
            quiet=True,
            **settings,
        )
        page = slmlab.report(slmlab.score(made), tmp_path / "r.html").read_text()
        program = html.unescape(page[page.index("<pre>") + 5 : page.index("</pre>")])
        names: dict = {}
        exec(program, names)  # as a reader would
        same(made, names["frame"][made.columns])
        assert (names["frame"]["started"] > made["started"].max()).all(), "measured anew"

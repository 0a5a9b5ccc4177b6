"""The report of a real comparison."""

from __future__ import annotations

import re

import slmlab
from tests.support.engines import SMOL


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

"""The report of a real comparison."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

import slmlab
from slmlab.evaluation import statistics, tasks
from slmlab.run import results
from slmlab.show.markdown import to_html
from slmlab.show.report import SPEED_COLUMNS
from tests.support.engines import BASE, SHALLOW
from tests.support.records import same


class TestReport:
    def test_it_has_all_that_it_promises(self, frame, tmp_path):
        path = slmlab.report(frame, tmp_path / "r.html")
        text = path.read_text()
        for heading in ("What ran where", "Speed and flags", "Scores by task", "Every answer"):
            assert re.search(f"<h[23]>{heading}</h[23]>", text)
        for words in ("sign test", "answer cut", SHALLOW, "llama.cpp"):
            assert words in text
        assert text.count('class="plot"') == 4
        assert text.count('class="answer"') == len(frame)
        assert not re.search(r'(src|href)="(?!data:)', text), "nothing is loaded from elsewhere"
        recipe = recipe_of(text)
        assert "repeats=2" in recipe
        assert "num_predict=6" in recipe

    def test_its_recipe_makes_it_again(self, embedded, monkeypatch, tmp_path):
        monkeypatch.setenv("OLLAMA_HOST", embedded.url)
        monkeypatch.setenv("SLMLAB_HOME", str(tmp_path / "home"))
        settings = {"temperature": 0.2, "num_predict": 8, "num_thread": 1, "stop": ["\n", "."]}
        made = slmlab.compare(
            [SHALLOW],
            tasks.load(["sentiment"], 2),
            system="Be short.",
            repeats=2,
            quiet=True,
            **settings,
        )
        page = slmlab.report(slmlab.score(made), tmp_path / "r.html").read_text()
        program = recipe_of(page)
        names: dict = {}
        exec(program, names)  # as a reader would
        same(made, names["frame"][made.columns])
        assert (names["frame"]["started"] > made["started"].max()).all(), "measured anew"

    def test_its_tables_are_those_of_the_library(self, frame, tmp_path):
        page = BeautifulSoup(slmlab.report(frame, tmp_path / "r.html").read_text(), "html.parser")
        speed = rows_of(page, "Speed and flags")
        summary = results.summary(frame)
        assert [row["model"] for row in speed] == [SHALLOW, BASE]
        for shown, computed in zip(speed, summary.to_dict("records"), strict=True):
            for name in ("tokens_per_s", "tokens_per_s_min", "tokens_per_s_max"):
                column = SPEED_COLUMNS.get(name, name).replace("_", " ")
                assert float(shown[column]) == pytest.approx(computed[name], rel=0.006)
            assert int(shown["runs"]) == computed["runs"] == 12
        scores = rows_of(page, "Scores by task")
        means = statistics.means(frame, by=["model", "task"])
        assert len(scores) == 4
        for shown, computed in zip(scores, means.to_dict("records"), strict=True):
            assert (shown["model"], shown["task"]) == (computed["model"], computed["task"])
            assert float(shown["mean"]) == pytest.approx(computed["mean"], abs=0.006)
        answers = [one.get_text() for one in page.select(".answer")]
        for text in frame["text"]:
            words = " ".join(BeautifulSoup(to_html(text), "html.parser").get_text().split())
            assert any(words in " ".join(answer.split()) for answer in answers)


def recipe_of(page: str) -> str:
    """The program in a report that makes its comparison again."""
    return BeautifulSoup(page, "html.parser").select_one("pre.recipe").get_text()


def rows_of(page: BeautifulSoup, title: str) -> list[dict[str, str]]:
    """The rows of the table under a heading."""
    table = page.find("h3", string=title).find_next("table")
    columns = [one.get_text() for one in table.select("th")]
    return [
        dict(zip(columns, (cell.get_text() for cell in row.select("td")), strict=True))
        for row in table.select("tbody tr")
    ]

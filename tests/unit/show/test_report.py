"""The report of a comparison that went wrong."""

from __future__ import annotations

import bs4
import pytest

import slmlab
from slmlab.errors import ResultsError, SlmlabError
from slmlab.run import results
from slmlab.show import plots
from tests.support.records import comparison, record


class TestReport:
    def test_what_goes_wrong_is_a_sentence(self, tmp_path):
        found = results.to_frame([record()], [{"prompt_id": 0, "repeat": 0}])
        with pytest.raises(ResultsError, match="nothing to report"):
            slmlab.report(found.iloc[:0], tmp_path / "r.html")
        with pytest.raises(ResultsError, match=r"There is no folder .* to write r\.html to"):
            slmlab.report(found, tmp_path / "no" / "r.html")

    def test_a_failed_grid_can_be_reported(self, tmp_path):
        found = results.to_frame([record(error="x")], [{"prompt_id": 0, "repeat": 0}])
        assert "1 of 1 failed" in slmlab.report(found, tmp_path / "r.html").read_text()


def test_answers_too_short_for_a_speed_make_a_report_all_the_same(tmp_path):
    rows = [record(model=name, text="a", tokens=1, generation_s=1e-6, ttft_s=0.1) for name in "ab"]
    more = [{"repeat": 0, "prompt_id": 0, "model_load_s": None, "score": 1.0}] * 2
    frame = results.to_frame(rows, more)
    with pytest.raises(SlmlabError, match="answers of five tokens or more"):
        plots.quality_speed(frame)
    page = slmlab.report(frame, tmp_path / "report.html").read_text()
    assert "time to first token" in page
    assert "1,000,000" not in page
    assert "1000000" not in page


def test_an_answer_that_was_asked_for_again_is_compared_with_the_others(tmp_path):
    rows = [
        {"model": model, "prompt": "P", "prompt_id": 0, "repeat": 0, "num_predict": tokens}
        | {"asked_again": tokens > 100, "text": "a", "score": 1.0}
        for model, tokens in (("m", 100), ("n", 400))
    ]
    page = slmlab.report(comparison(rows), tmp_path / "r.html").read_text()
    assert "num_predict 100" not in page.split("Details")[0]
    assert "varying" not in page


def summaries(tmp_path, prompts: list[str]) -> list[str]:
    rows = [
        {"model": "m", "prompt": text, "prompt_id": number, "repeat": 0, "text": "a", "task": "t"}
        for number, text in enumerate(prompts)
    ]
    page = slmlab.report(comparison(rows), tmp_path / "r.html").read_text()
    found = bs4.BeautifulSoup(page, "html.parser").select("details.prompt > summary")
    return [" ".join(one.get_text().split()) for one in found]


def test_prompts_that_begin_alike_are_told_apart_by_what_follows(tmp_path):
    same = "Is the sentiment of this review positive or negative? Review:"
    assert summaries(tmp_path, [f"{same} Good tea.", f"{same} Good coffee."]) == [
        "t, prompt 0 … tea.",
        "t, prompt 1 … coffee.",
    ]
    assert summaries(tmp_path, ["What is 2 + 2?", "What is 2 + 3?"])[0] == (
        "t, prompt 0 What is 2 + 2?"
    )
    assert summaries(tmp_path, [f"{same} Good tea."])[0].endswith("Good tea.")

"""The report of a comparison that went wrong."""

from __future__ import annotations

import pytest

import slmlab
from slmlab.errors import ResultsError
from slmlab.run import results
from tests.support.records import record


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

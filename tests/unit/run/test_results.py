"""Tables of records, their flags, summaries and files."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from slmlab.errors import ResultsError
from slmlab.run import results
from tests.support.records import record


class TestTables:
    def test_flags_say_what_keeps_rows_from_being_compared(self):
        found = {
            "failed": record(error="x"),
            "prompt truncated": record(truncated=True, prompt_tokens=9),
            "answer cut": record(stop_reason="length"),
            "cold": record(cold=True),
            "on the CPU": record(gpu_share=0.0),
            "partly on the CPU": record(gpu_share=0.4),
            "not alone": record(in_flight=4),
        }
        frame = results.to_frame(found.values())
        assert list(frame["flags"]) == list(found)
        assert results.flags(record(gpu_share=1.0)) == []
        assert results.warnings(frame).startswith("1 of 7 failed, 1 of 7 prompt truncated")
        assert len(results.comparable(frame)) == 4
        row = results.summary(frame).iloc[0]
        assert [row[name] for name in ("failed", "truncated", "cut", "cold", "not_alone")] == [
            1
        ] * 5
        assert row["on_cpu"] == 2

    def test_a_record_knows_its_turn_also_from_a_file(self, tmp_path):
        talk = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
        frame = results.to_frame(
            record(prompt=prompt)
            for prompt in ("x", talk[:1], talk, [{"role": "system", "content": "x"}, *talk])
        )
        assert list(frame["turn"]) == [1, 1, 2, 2]
        results.to_csv(frame, tmp_path / "frame.csv")
        assert list(results.read(tmp_path / "frame.csv")["turn"]) == [1, 1, 2, 2]

    def test_no_time_to_first_token_of_a_prompt_from_ollamas_cache(self):
        read = {"prompt_tokens": 100, "ttft_s": 0.1}
        again = record(**read, prompt_fresh=False, cached_tokens=99)
        records = [
            again,
            replace(again, cached_tokens=None),  # before 0.34 Ollama did not say
            replace(again, cached_tokens=20),
            replace(again, engine="embedded", cached_tokens=None),
            # What one has asked for by oneself; the beginning of a chat template is always cached.
            replace(again, prompt_fresh=None),
            replace(again, prompt_fresh=True, ttft_s=0.5),
        ]
        frame = results.to_frame(records)
        assert list(frame["flags"]) == ["prompt cached"] * 2 + [""] * 4
        assert results.comparable(frame)["ttft_s"].isna().tolist() == [True] * 2 + [False] * 4
        assert results.summary(frame.iloc[[0, 5]])["ttft_s"].tolist() == [0.5]
        assert frame["ttft_s"].notna().all()
        cut = results.to_frame([replace(again, stop_reason="length")])
        assert list(cut["flags"]) == ["answer cut, prompt cached"]
        assert results.comparable(cut)["ttft_s"].isna().all()

    def test_what_is_not_known_of_a_prompt_is_not_counted_as_known(self):
        frame = results.to_frame(
            [record(truncated=known, prompt_tokens=9) for known in (True, False, None, None)]
        )
        assert [*frame["flags"]] == ["prompt truncated", "", *["prompt perhaps truncated"] * 2]
        assert results.summary(frame)["truncated"].tolist() == [1]
        assert "2 of 4 prompt perhaps truncated" in results.warnings(frame, of_times=False)
        failed = record(error="x", truncated=None)
        assert results.flags(failed) == ["failed"]

    def test_where_no_row_has_a_speed_there_is_still_a_column_of_numbers(self):
        short = results.to_frame([record(tokens=1, generation_s=1e-6, ttft_s=0.1)] * 2)
        assert short["tokens_per_s"].dtype == float
        assert short["tokens_per_s"].isna().all()
        row = results.summary(short).iloc[0]
        assert row["tokens_per_s"] != row["tokens_per_s"]
        assert row["ttft_s"] == 0.1
        assert results.to_frame([]).empty

    def test_reading_speed_only_where_the_prompt_was_fresh(self):
        read = {"prompt_tokens": 100, "prompt_s": 0.5}
        frame = results.to_frame(
            [
                record(**read, prompt_fresh=True),
                record(**read, prompt_fresh=False),
                record(**read),
                record(**read, prompt_fresh=True, truncated=True),
            ]
        )
        assert frame["prompt_tokens_per_s"].tolist()[0] == 200
        assert frame["prompt_tokens_per_s"].isna().tolist() == [False, True, True, True]

    def test_summary_leaves_cold_and_failed_runs_out_of_the_speed(self):
        frame = results.to_frame(
            [
                record(tokens=10, generation_s=0.5),
                record(tokens=20, generation_s=0.5),
                record(tokens=12, generation_s=0.5),
                record(cold=True, tokens=1000, generation_s=0.5),
                record(error="no", tokens=0, generation_s=0.0, ttft_s=None, stop_reason=None),
            ]
        )
        row = results.summary(frame).iloc[0]
        assert (row["runs"], row["failed"]) == (5, 1)
        columns = ["tokens_per_s_min", "tokens_per_s", "tokens_per_s_max"]
        assert row[columns].tolist() == [20, 24, 40], "the median, not the mean"

    def test_summary_has_the_time_to_load_where_it_was_measured(self):
        columns = [{"model_load_s": 1.5}, {"model_load_s": None}]
        frame = results.to_frame([record(), record()], columns)
        assert results.summary(frame)["model_load_s"].tolist() == [1.5]
        assert results.summary(results.to_frame([record()]))["model_load_s"].tolist() == [None]

    @pytest.mark.parametrize("name", ["model", "prompt", "text", "error"])
    def test_a_file_that_lacks_a_column_is_not_a_comparison(self, name, tmp_path):
        frame = results.to_frame([record()]).drop(columns=name)
        results.to_json(frame, tmp_path / "x.json")
        with pytest.raises(ResultsError, match=f"has no column '{name}'"):
            results.read(tmp_path / "x.json")

    def test_a_cell_that_is_not_of_its_column_is_named_with_its_row(self, tmp_path):
        frame = results.to_frame([record(), record()]).astype({"cold": object})
        frame.loc[1, "cold"] = "perhaps"
        results.to_csv(frame, tmp_path / "x.csv")
        with pytest.raises(ResultsError, match=r"row 2.*cold is True or False, and not 'perhaps'"):
            results.read(tmp_path / "x.csv")

    def test_csv_and_json_come_back(self, tmp_path):
        chat = [{"role": "user", "content": "Hé"}]
        frame = results.to_frame([record(prompt=chat, text="a,\n“b”"), record()])
        results.to_csv(frame, tmp_path / "x.csv")
        results.to_json(frame, tmp_path / "x.json")
        csv, back = pd.read_csv(tmp_path / "x.csv"), json.loads((tmp_path / "x.json").read_text())
        assert csv["text"][0] == back[0]["text"] == "a,\n“b”"
        assert json.loads(csv["prompt"][0]) == back[0]["prompt"] == chat
        with pytest.raises(ResultsError, match="no folder"):
            results.to_csv(frame, tmp_path / "no" / "x.csv")

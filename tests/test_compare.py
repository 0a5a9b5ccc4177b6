"""Grids of generations on real models: planned, fair, resumed, interrupted, spread out."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from conftest import (
    GEMMA,
    SMOL,
    engine_process,
    free_port,
    give_models,
    serving,
    stored,
    wait_for,
)

import slmlab
from slmlab import models, paths
from slmlab.engines.client import client
from slmlab.errors import Interrupted, ModelError, PromptError, ResultsError
from slmlab.run import grid, prompts, results
from slmlab.run.generate import Target, blank, generate, was_truncated
from slmlab.run.options import full_options
from slmlab.run.record import Generation
from slmlab.run.store import Store, key, machine_id

SHORT = {"num_predict": 8, "temperature": 0}
# What differs between two runs of the same cell; all else has to be equal.
TIMES = [
    "ttft_s",
    "wall_s",
    "load_s",
    "prompt_s",
    "generation_s",
    "started",
    "tokens_per_s",
    "prompt_tokens_per_s",
    "model_load_s",
    "host",
    "cold",
    "flags",
    "prompt_fresh",
    "in_flight",
]


@pytest.fixture
def here(embedded, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", embedded.url)
    return embedded


@pytest.fixture
def at(engine, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", engine.url)
    return engine


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Both have the same rows, but for times."""
    pd.testing.assert_frame_equal(
        one.drop(columns=TIMES), other.drop(columns=TIMES), check_dtype=False
    )


def record(**more) -> Generation:
    """A record as a server's answer would give it."""
    target = Target("http://127.0.0.1:1", "m", "ollama", "1", "d" * 64, False, None)
    return replace(blank(target, "x", full_options({}), False), **more)


class TestPlan:
    def test_every_combination_once_the_model_outermost(self):
        cells = grid.plan(
            ["a", "b"], ["x", "y"], temperature=[0, 1], num_ctx=[512, 1024], repeats=2, seed=5
        )
        assert len(cells) == 2 * 2 * 2 * 2 * 2
        loads = [cell.load for cell in cells]
        assert len([1 for i, one in enumerate(loads) if i == 0 or one != loads[i - 1]]) == 4
        assert {cell.options["seed"] for cell in cells if cell.repeat == 1} == {6}
        seen = {(c.model, c.prompt, c.repeat, c.options["temperature"], c.load) for c in cells}
        assert len(seen) == len(cells)

    def test_templates_and_tables(self, tmp_path):
        table = pd.DataFrame({"topic": ["tides", "rust"], "text": ["a", "b"], "expected": [1, 2]})
        cells = grid.plan("m", table, template=["About {topic}.", "Why {topic}?"])
        assert [cell.prompt for cell in cells] == [
            "About tides.",
            "About rust.",
            "Why tides?",
            "Why rust?",
        ]
        assert cells[1].columns == {
            "prompt_id": 1,
            "template": "About {topic}.",
            "topic": "rust",
            "given_text": "b",
            "expected": 2,
        }
        table.to_csv(tmp_path / "t.csv", index=False)
        again = grid.plan("m", tmp_path / "t.csv", template="About {topic}.")
        assert [cell.prompt for cell in again] == ["About tides.", "About rust."]
        table.assign(prompt=["p", "q"]).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
        assert [c.prompt for c in grid.plan("m", str(tmp_path / "t.jsonl"))] == ["p", "q"]

    def test_one_text_fills_the_one_variable(self):
        assert grid.plan("m", "tides", template="About {topic}.")[0].prompt == "About tides."

    def test_system_prompts_and_conversations(self):
        chat = [{"role": "user", "content": "Hi"}]
        cells = grid.plan("m", [chat, "Ho"], system=[None, "Be brief."])
        assert [cell.prompt for cell in cells] == [
            chat,
            [{"role": "system", "content": "Be brief."}, *chat],
            "Ho",
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Ho"}],
        ]
        assert grid.plan("m", chat)[0].prompt == chat

    def test_quantizations_are_tags(self):
        names = [
            cell.model for cell in grid.plan(["a:1b", "b"], "x", quantization=["q4_0", "q8_0"])
        ]
        assert names == ["a:1b-q4_0", "a:1b-q8_0", "b:q4_0", "b:q8_0"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (([], "x"), "at least one"),
            (("m", []), "at least one"),
            (("m", ["x", " "]), "prompt is empty"),
            (("m", [3]), "text or a list of messages"),
            (("m", [{"question": "x"}]), "needs a column `prompt`"),
            (("m", "nothing.csv"), "cannot be read: No such file"),
            (("m", "x", {"temprature": 1}), "Did you mean 'temperature'"),
            (("m", "x", {"temperature": "hot"}), "temperature is a number; got 'hot'"),
            (("m", "x", {"temperature": float("nan")}), "temperature is a number"),
            (("m", "x", {"num_ctx": 10.5}), "num_ctx is a whole number"),
            (("m", "x", {"seed": True}), "seed is a number"),
            (("m", "x", {"template": "{a} {b}"}), "variables a, b"),
            (("m", [{"topik": 1}], {"template": "{topic}"}), "Did you mean 'topik'"),
            (("m", "x", {"repeats": 0}), "at least one"),
            (("m", "x", {"temperature": []}), "at least one"),
        ],
    )
    def test_what_is_wrong_is_said(self, arguments, words):
        names, asked, *more = arguments
        with pytest.raises(PromptError, match=words):
            grid.plan(names, asked, **(more[0] if more else {}))

    def test_a_file_that_is_no_table(self, tmp_path):
        (tmp_path / "x.jsonl").write_text("{not json")
        with pytest.raises(PromptError, match="no table that can be read"):
            grid.plan("m", tmp_path / "x.jsonl")
        (tmp_path / "y.csv").write_text("prompt\n")
        with pytest.raises(PromptError, match="no rows"):
            grid.plan("m", tmp_path / "y.csv")


class TestStore:
    KEYS = tuple(letter * 64 for letter in "abc")

    def test_what_is_added_is_found(self, tmp_path):
        store = Store(tmp_path / "new" / "folder")
        one, two = record(text="ö\u2028\x00"), record(prompt=[{"role": "user", "content": "x"}])
        store.add(self.KEYS[0], one)
        store.add(self.KEYS[1], two)
        found = Store(tmp_path / "new" / "folder").find(self.KEYS)
        assert found == {self.KEYS[0]: one, self.KEYS[1]: two}

    def test_a_torn_last_line_is_passed_over(self, tmp_path):
        store = Store(tmp_path)
        for name in self.KEYS:
            store.add(name, record(text="x" * 100))
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        ends = [at for at, byte in enumerate(whole) if byte == ord("\n")]
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            # A line without its newline may be whole or torn; either way no other is lost.
            found = len(Store(tmp_path).find(self.KEYS))
            assert sum(end < length for end in ends) <= found
            assert found <= sum(end <= length for end in ends)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"\x00" * 100,
            b'{"key":"' + b"a" * 64 + b'","on":null,"record":[]}',
            b'{"key":"' + b"a" * 64 + b'","on":null,"record":{"model":1}}',
            b'{"key":"' + b"a" * 64 + b'","record":' + b"[" * 100_000,
            b"\xff" * 80,
        ],
        ids=["empty", "NULs", "a list", "too little", "deep", "not UTF-8"],
    )
    def test_foreign_lines_are_passed_over(self, tmp_path, line):
        (tmp_path / "x.jsonl").write_bytes(line + b"\n")
        Store(tmp_path).add(self.KEYS[1], record())
        assert set(Store(tmp_path).find(self.KEYS)) == {self.KEYS[1]}

    def test_times_count_only_where_they_were_measured(self, tmp_path):
        store = Store(tmp_path)
        store.add(self.KEYS[0], record())
        store.add(self.KEYS[1], record(in_flight=4))
        assert set(store.find(self.KEYS)) == set(self.KEYS[:2])
        assert set(store.find(self.KEYS, on=machine_id())) == {self.KEYS[0]}
        assert store.find(self.KEYS, on="another machine") == {}

    def test_everything_that_can_change_an_answer_changes_the_key(self):
        target = Target("h", "m", "ollama", "1", "d", False, None)
        options = full_options({})
        base = key(target, "x", options, False)
        assert base == key(replace(target, host="other", cold=True), "x", options, False)
        others = [
            key(replace(target, digest="e"), "x", options, False),
            key(replace(target, engine="embedded"), "x", options, False),
            key(replace(target, engine_version="2"), "x", options, False),
            key(target, "y", options, False),
            key(target, "x", options, True),
            *[
                key(target, "x", options | {name: value + 1}, False)
                for name, value in options.items()
            ],
        ]
        assert len({base, *others}) == len(others) + 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
    def test_a_full_disk_is_a_sentence(self, tmp_path):
        store = Store(tmp_path, Path("/dev/full"))
        with pytest.raises(ResultsError, match="No space left on device"):
            store.add(self.KEYS[0], record())

    def test_two_writers_at_once(self, tmp_path):
        code = (
            "import pathlib, sys; sys.path.insert(0, sys.argv[2]);"
            "from test_compare import record; from slmlab.run.store import Store;"
            "s = Store(pathlib.Path(sys.argv[1]))\n"
            "for i in range(300): s.add(f'{sys.argv[3]}{i:063d}', record(text='y' * i * 20))"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path), Path(__file__).parent, w])
            for w in "ab"
        ]
        assert [writer.wait() for writer in writers] == [0, 0]
        names = [f"{w}{i:063d}" for w in "ab" for i in range(300)]
        assert len(Store(tmp_path).find(names)) == 600


class TestTables:
    def test_flags_say_what_keeps_rows_from_being_compared(self):
        found = {
            "failed": record(error="x"),
            "prompt truncated": record(truncated=True),
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
                record(cold=True, tokens=1000, generation_s=0.5),
                record(error="no", tokens=0, generation_s=0.0, ttft_s=None, stop_reason=None),
            ]
        )
        row = results.summary(frame).iloc[0]
        assert (row["runs"], row["failed"]) == (4, 1)
        columns = ["tokens_per_s_min", "tokens_per_s", "tokens_per_s_max"]
        assert row[columns].tolist() == [20, 30, 40]

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


def test_a_prompt_counts_as_truncated_only_where_the_numbers_say_so():
    options = full_options({"num_ctx": 256})
    long = "The sun shines and the birds sing. " * 60
    assert was_truncated(long, 130, options)
    assert was_truncated(long, 256, options), "servers before 0.30"
    assert not was_truncated(long, 130, full_options({"num_ctx": 4096}))
    assert not was_truncated("short", 130, options)
    chat = [{"role": "user", "content": long}, {"role": "user", "content": "x"}]
    assert was_truncated(chat, 12, options), "the oldest message was dropped"
    assert not was_truncated("word " * 60, 62, options)


@pytest.mark.slow
class TestTruncation:
    def test_a_cut_prompt_is_flagged(self, at):
        long = "The sun shines and the birds sing. " * 120
        frame = slmlab.compare(at.model, [long, "Hi"], num_ctx=256, num_predict=2, quiet=True)
        assert frame["truncated"].tolist() == [True, False]
        assert "prompt truncated" in frame["flags"][0]
        roomy = slmlab.compare(at.model, long, num_ctx=4096, num_predict=2, quiet=True)
        assert not roomy["truncated"].any()

    def test_a_conversation_that_lost_its_beginning_is_flagged(self, at):
        chat = [
            {"role": "user", "content": "The code word is marmalade. " * 80},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "What is the code word?"},
        ]
        assert generate(at.model, chat, num_ctx=256, num_predict=2).truncated
        assert not generate(at.model, chat, num_ctx=4096, num_predict=2).truncated


@pytest.mark.slow
class TestCompare:
    def test_every_prompt_to_every_model(self, here):
        seen: list[str] = []
        frame = slmlab.compare(
            [SMOL, GEMMA],
            ["The sky is", "Two plus two is"],
            repeats=2,
            num_predict=8,
            on_record=lambda record: seen.append(record.model),
        )
        assert seen == [SMOL] * 4 + [GEMMA] * 4, "one model after the other"
        assert len(frame) == 8
        assert frame["error"].isna().all()
        assert not frame["cold"].any(), "models are loaded before they are timed"
        assert (frame["model_load_s"] > 0.05).all()
        assert set(frame["seed"]) == {0, 1}
        by_model = frame.groupby("model")["seed"].apply(list)
        assert by_model[SMOL] == by_model[GEMMA], "repeats pair up across models"

    def test_the_tutorials_chain_gives_the_same_text(self, here):
        prompt = prompts.fill("step_by_step", question=prompts.HYPOTENUSE)
        record = generate(SMOL, prompt, temperature=0, num_predict=60)
        runnable = prompts.chain("step_by_step", SMOL, **record.options)
        text = runnable.invoke({"question": prompts.HYPOTENUSE})
        # LangChain's ChatPromptTemplate writes the speaker before the text.
        direct = generate(SMOL, f"Human: {prompt}", temperature=0, num_predict=60)
        assert text == direct.text
        assert "hypotenuse" in text

    def test_a_failing_cell_is_a_row_and_not_the_end(self, here, smol_gguf, tmp_path):
        """A model whose file is gone from the disk when its turn comes."""
        slmlab.add("doomed", str(smol_gguf))
        broken = threading.Event()

        def sabotage(cell) -> None:
            if cell.model == "doomed" and not broken.is_set():
                broken.set()
                slmlab.remove("doomed")

        frame = slmlab.compare(["doomed", SMOL], "The sky is", on_cell=sabotage, num_predict=4)
        doomed, fine = (row for _, row in frame.iterrows())
        assert "no model 'doomed'" in doomed["error"]
        assert fine["error"] is None or fine["error"] != fine["error"]
        assert fine["tokens"] == 4
        assert list(results.table(frame)["flags"]) == ["failed", "answer cut"]

    def test_wrong_arguments_run_nothing(self, here):
        with pytest.raises(ModelError, match=f"Did you mean '{SMOL}'"):
            slmlab.compare([SMOL, SMOL[:-2]], "x")
        with pytest.raises(PromptError, match="at least one"):
            slmlab.compare([], "x")
        with pytest.raises(PromptError, match="empty"):
            slmlab.compare(SMOL, ["x", ""])

    def test_summary_and_plot(self, here, tmp_path):
        frame = slmlab.compare([SMOL], ["The sky is"], repeats=3, num_predict=6)
        row = results.summary(frame).iloc[0]
        assert row["runs"] == 3
        assert row["cut"] == 3
        assert row["tokens_per_s_min"] <= row["tokens_per_s"] <= row["tokens_per_s_max"]
        from slmlab.show import plots

        figure = plots.speed(frame)
        assert "n = 3" in figure._supxlabel.get_text()
        figure.savefig(tmp_path / "speed.png")

    def test_a_second_run_computes_nothing(self, here, capsys):
        ran: list = []
        arguments = {"repeats": 2, "on_cell": ran.append, **SHORT}
        first = slmlab.compare(SMOL, ["The sky is", "Two and two"], **arguments)
        again = slmlab.compare(SMOL, ["Two and two", "The sky is"], **arguments)
        assert len(ran) == 4
        assert sorted(first["wall_s"]) == sorted(again["wall_s"])
        assert "4 of 4 cells were measured before" in capsys.readouterr().out
        slmlab.compare(SMOL, "The sky is", fresh=True, on_cell=ran.append, **SHORT)
        assert len(ran) == 5
        slmlab.compare(SMOL, "The sky is", on_cell=ran.append, num_predict=9, temperature=0)
        assert len(ran) == 6

    def test_answers_without_timing_run_at_once_and_are_flagged(self, here):
        asked = [f"The number after {n} is" for n in range(8)]
        alone = slmlab.compare(SMOL, asked, **SHORT)
        beside = slmlab.compare(SMOL, asked, timing=False, fresh=True, **SHORT)
        assert set(alone["in_flight"]) == {1}
        assert set(beside["in_flight"]) == {4}
        assert beside["flags"].str.contains("not alone").all()
        assert list(beside["prompt"]) == asked, "in the grid's order"
        same(alone, beside)
        from_store = slmlab.compare(SMOL, asked, timing=False, **SHORT)
        assert set(from_store["in_flight"]) <= {1, 4}

    def test_what_was_not_measured_alone_is_no_timing(self, here):
        slmlab.compare(SMOL, "The sky is", timing=False, quiet=True, **SHORT)
        timed = slmlab.compare(SMOL, "The sky is", quiet=True, **SHORT)
        assert set(timed["in_flight"]) == {1}

    def test_reading_speed_is_of_fresh_prompts(self, here):
        frame = slmlab.compare(SMOL, ["Once upon a time " * 20], repeats=2, quiet=True, **SHORT)
        assert frame["prompt_fresh"].tolist() == [True, False]
        assert frame["prompt_tokens_per_s"].notna().tolist() == [True, False]

    def test_settings_are_axes(self, here):
        frame = slmlab.compare(
            SMOL,
            "Name an animal.",
            temperature=[0, 1.5],
            system=[None, "Speak French."],
            num_predict=12,
            quiet=True,
        )
        assert len(frame.groupby(["temperature", "system"], dropna=False)) == 4
        assert frame["error"].isna().all()

    def test_an_interrupt_keeps_what_is_done(self, here):
        count = 0

        def interrupt(_) -> None:
            nonlocal count
            count += 1
            if count == 3:
                os.kill(os.getpid(), signal.SIGINT)

        asked = ["One", "Two", "Three", "Four"]
        with pytest.raises(Interrupted, match="2 of 4 cells are finished and kept") as caught:
            slmlab.compare(SMOL, asked, on_cell=interrupt, quiet=True, **SHORT)
        assert list(caught.value.frame["prompt"]) == ["One", "Two"]
        ran: list = []
        slmlab.compare(SMOL, asked, on_cell=ran.append, quiet=True, **SHORT)
        assert [cell.prompt for cell in ran] == ["Three", "Four"]

    def test_an_interrupt_ends_requests_that_run_at_once(self, here):
        timer = threading.Timer(4, lambda: os.kill(os.getpid(), signal.SIGINT))
        asked = [f"Tell a very long story about {n}." for n in range(6)]
        timer.start()
        started = time.monotonic()
        with pytest.raises(Interrupted, match="of 6 cells"):
            slmlab.compare(SMOL, asked, timing=False, num_predict=3000, quiet=True, temperature=1)
        assert time.monotonic() - started < 20
        timer.join()
        # The server is free again: nobody reads those stories to their end.
        started = time.monotonic()
        slmlab.compare(SMOL, "Hi", quiet=True, **SHORT)
        assert time.monotonic() - started < 15

    def test_an_interrupt_ends_timing_on_several_hosts(self, here, lab_with_models, monkeypatch):
        other = slmlab.start("embedded", quiet=True).host
        timer = threading.Timer(6, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        started = time.monotonic()
        with pytest.raises(Interrupted, match="of 4 cells"):
            slmlab.compare(
                SMOL,
                [f"Tell a long story about {n}." for n in range(4)],
                temperature=1,
                num_predict=3000,
                quiet=True,
                hosts=[here.url, other],
                num_thread=1,
            )
        assert time.monotonic() - started < 60
        timer.join()

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
    def test_a_full_disk_loses_nothing(self, here):
        import resource

        # Many bytes in few tokens, which are what takes time to read.
        long = "internationalization " * 150
        asked = [f"Read this {word}: {long}" for word in ("one", "two")]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            # The second record fits only in part.
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
            with pytest.raises(ResultsError, match="cannot be written to") as caught:
                slmlab.compare(SMOL, asked, quiet=True, **SHORT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(caught.value.frame["prompt"]) == asked, "in memory both are there"
        (file,) = paths.results().glob("*.jsonl")
        assert file.read_bytes().count(b"\n") == 1
        assert file.read_bytes().endswith(b"}}\n"), "the part was taken back"
        ran: list = []
        slmlab.compare(SMOL, asked, on_cell=ran.append, quiet=True, **SHORT)
        assert [cell.prompt for cell in ran] == asked[1:]

    def test_a_server_that_was_killed_is_waited_for(self, lab_with_models):
        server = slmlab.start("embedded", quiet=True)
        killed = []

        def kill(cell) -> None:
            if cell.prompt == "Two" and not killed:
                killed.append(engine_process(server.host).pid)
                threading.Timer(0.3, os.kill, (killed[0], signal.SIGKILL)).start()

        asked = ["One", "Two", "Three"]
        options = {"num_predict": 80, "temperature": 0, "quiet": True}
        frame = slmlab.compare(SMOL, asked, on_cell=kill, **options)
        assert killed
        assert frame["error"].isna().all()
        same(frame, slmlab.compare(SMOL, asked, fresh=True, **options))


@pytest.mark.slow
class TestKilled:
    """A process that runs a grid is killed at a random moment, over and over."""

    CODE = (
        f"import slmlab; slmlab.compare({[SMOL, GEMMA]}, "
        "[f'The number after {n} is' for n in range(12)], repeats=2, num_predict=6, quiet=True)"
    )

    def test_it_resumes_to_the_very_same_records(self, here):
        # Forked from a process that has the packages loaded: killed twenty times, loaded once.
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(["langchain_ollama", "pandas", "slmlab.run.compare"])
        names = ("OLLAMA_HOST", "SLMLAB_HOME")
        code = f"import os; os.environ.update({ {name: os.environ[name] for name in names} })\n"
        kills, rng = 0, random.Random(3)
        while kills < 20:
            before = stored(paths.results())
            process = forks.Process(target=exec, args=(code + self.CODE, {}))
            process.start()
            # Killed once it has got somewhere, so that the end comes nearer each time.
            wait_for(
                lambda p=process, b=before: stored(paths.results()) > b or not p.is_alive(), 60
            )
            time.sleep(rng.random() * 0.25)
            if not process.is_alive():
                assert process.exitcode == 0
                # Finished: from the beginning, for more chances to break it.
                if stored(paths.results()) == 48:
                    paths.results().rename(paths.home() / f"finished-{kills}")
                continue
            process.kill()
            process.join()
            kills += 1
        subprocess.run([sys.executable, "-c", self.CODE], check=True)
        arguments = {"repeats": 2, "num_predict": 6, "quiet": True}
        asked = [f"The number after {n} is" for n in range(12)]
        ran: list = []
        resumed = slmlab.compare([SMOL, GEMMA], asked, on_cell=ran.append, **arguments)
        assert not ran
        undisturbed = slmlab.compare([SMOL, GEMMA], asked, fresh=True, **arguments)
        assert len(resumed) == 48
        same(resumed, undisturbed)


@pytest.mark.slow
class TestHosts:
    @pytest.fixture
    def two(self, shelf_home, tmp_path):
        """Two servers with the same models."""
        with pytest.MonkeyPatch.context():
            ports = [free_port(), free_port()]
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            homes = [tmp_path / f"host{port}" for port in ports]
            for home in homes:
                home.mkdir()
                give_models(shelf_home, home)
            command = [sys.executable, "-m", "slmlab", "serve", "--port"]
            first, second = (
                serving([*command, str(port)], url, home / "log", SLMLAB_HOME=str(home))
                for port, url, home in zip(ports, urls, homes, strict=True)
            )
            with first, second:
                yield urls

    def test_threads_and_dask_give_the_same_records(self, two):
        distributed = pytest.importorskip("distributed")
        asked = [f"The number after {n} is" for n in range(6)]
        # Two servers with two threads each on two cores spend their time on waiting for each other.
        arguments = {"fresh": True, "quiet": True, "num_predict": 6, "num_thread": 1}
        names = [SMOL, GEMMA]
        alone = slmlab.compare(names, asked, hosts=two[0], **arguments)
        threads = slmlab.compare(names, asked, hosts=two, **arguments)
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            dask = slmlab.compare(
                names, asked, hosts=two, executor=client.get_executor(), **arguments
            )
        assert set(threads["host"]) == set(dask["host"]) == set(two)
        assert set(alone["host"]) == {two[0]}
        same(alone, threads)
        same(alone, dask)
        assert set(dask["in_flight"]) == {1}

    def test_any_executor_does(self, two):
        with ThreadPoolExecutor(3) as pool:
            frame = slmlab.compare(
                SMOL,
                ["One", "Two", "Three"],
                hosts=two,
                executor=pool,
                quiet=True,
                num_thread=1,
                **SHORT,
            )
        assert frame["error"].isna().all()

    def test_hosts_with_different_models_are_refused(self, two, here, smol_gguf):
        ran: list = []
        models.add("mine", str(smol_gguf), two[0])
        with pytest.raises(ModelError, match="no model 'mine'"):
            slmlab.compare("mine", "x", hosts=two, on_cell=ran.append)
        client(two[1]).create("mine", from_=SMOL, system="Be kind.", stream=False)
        with pytest.raises(ModelError, match="need the same models and versions"):
            slmlab.compare("mine", "x", hosts=two, on_cell=ran.append)
        assert not ran

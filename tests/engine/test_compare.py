"""Grids of generations on real models: fair, resumed, interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

import slmlab
from slmlab import models, paths
from slmlab.engines.client import client
from slmlab.errors import Interrupted, ModelError, PromptError, ResultsError
from slmlab.run import prompts, results
from slmlab.run.generate import generate
from tests.support.contract import WEATHER
from tests.support.engines import BASE, SHALLOW, SMOL, engine_process, runners
from tests.support.processes import wait_for
from tests.support.records import same

SHORT = {"num_predict": 8, "temperature": 0}


# Six stories of 3,000 tokens take minutes; what ends sooner was interrupted.
HANGS = 60


@contextlib.contextmanager
def interrupt_once_it_writes(*hosts: str) -> Iterator[list[float]]:
    """SIGINT when all these engines compute; the list then has the time at which it was sent."""
    sent: list[float] = []

    def busy(host: str) -> bool:
        with contextlib.suppress(psutil.Error):
            before = sum(one.cpu_times().user for one in runners(host))
            time.sleep(0.2)
            return sum(one.cpu_times().user for one in runners(host)) > before + 0.05
        return False

    def watch() -> None:
        wait_for(lambda: all([busy(host) for host in hosts]), 120, "the answers to begin")
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sent
    finally:
        thread.join()


class TestTruncation:
    def test_a_cut_prompt_is_flagged(self, at):
        long = "The sun shines and the birds sing. " * 25
        frame = slmlab.compare(at.shallow, [long, "Hi"], num_ctx=128, num_predict=2, quiet=True)
        assert frame["truncated"].tolist() == [True, False]
        assert "prompt truncated" in frame["flags"][0]
        roomy = slmlab.compare(at.shallow, long, num_ctx=2048, num_predict=2, quiet=True)
        assert not roomy["truncated"].any()

    def test_a_conversation_that_lost_its_beginning_is_flagged(self, at):
        chat = [
            {"role": "user", "content": "The code word is marmalade. " * 30},
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": "What is the code word?"},
        ]
        assert generate(at.shallow, chat, num_ctx=128, num_predict=2).truncated
        assert not generate(at.shallow, chat, num_ctx=2048, num_predict=2).truncated


class TestCompare:
    def test_every_prompt_to_every_model(self, here):
        seen: list[str] = []
        frame = slmlab.compare(
            [SMOL, BASE],
            ["The sky is", "Two plus two is"],
            repeats=2,
            num_predict=8,
            on_record=lambda record: seen.append(record.model),
        )
        assert seen == [SMOL] * 4 + [BASE] * 4, "one model after the other"
        assert len(frame) == 8
        assert frame["error"].isna().all()
        assert not frame["cold"].any(), "models are loaded before they are timed"
        assert (frame["model_load_s"] > 0.05).all()
        assert set(frame["seed"]) == {0, 1}
        by_model = frame.groupby("model")["seed"].apply(list)
        assert by_model[SMOL] == by_model[BASE], "repeats pair up across models"

    def test_the_tutorials_chain_gives_the_same_text(self, here):
        prompt = prompts.fill("step_by_step", question=prompts.HYPOTENUSE)
        record = generate(SMOL, prompt, temperature=0, num_predict=60)
        runnable = prompts.chain(SMOL, "step_by_step", **record.options)
        text = runnable.invoke({"question": prompts.HYPOTENUSE})
        assert text == record.text
        assert "hypotenuse" in text

    def test_one_that_embeds_makes_room_for_those_that_are_timed(self, at):
        client(at.url).embed(at.embedder, "x")
        assert at.embedder in [one.name for one in models.loaded()]
        frame = slmlab.compare(at.shallow, "Say A.", fresh=True, quiet=True, **SHORT)
        assert frame["error"].isna().all()
        assert [one.name for one in models.loaded()] == [at.shallow]

    def test_a_failing_cell_is_a_row_and_not_the_end(self, here, shallow_gguf, tmp_path):
        """A model whose file is gone from the disk when its turn comes."""
        slmlab.add("doomed", str(shallow_gguf))
        broken = threading.Event()

        def sabotage(cell) -> None:
            if cell.model == "doomed" and not broken.is_set():
                broken.set()
                slmlab.remove("doomed")

        frame = slmlab.compare(["doomed", SHALLOW], "The sky is", on_cell=sabotage, num_predict=4)
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
        frame = slmlab.compare([SHALLOW], ["The sky is"], repeats=3, num_predict=6)
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
        first = slmlab.compare(SHALLOW, ["The sky is", "Two and two"], **arguments)
        again = slmlab.compare(SHALLOW, ["Two and two", "The sky is"], **arguments)
        assert len(ran) == 4
        assert sorted(first["wall_s"]) == sorted(again["wall_s"])
        assert "4 of 4 cells were measured before" in capsys.readouterr().out
        slmlab.compare(SHALLOW, "The sky is", fresh=True, on_cell=ran.append, **SHORT)
        assert len(ran) == 5
        slmlab.compare(SHALLOW, "The sky is", on_cell=ran.append, num_predict=9, temperature=0)
        assert len(ran) == 6

    def test_answers_without_timing_run_at_once_and_are_flagged(self, here):
        texts = [f"The number after {n} is" for n in range(8)]
        alone = slmlab.compare(SMOL, texts, **SHORT)
        beside = slmlab.compare(SMOL, texts, timing=False, fresh=True, **SHORT)
        assert set(alone["in_flight"]) == {1}
        assert set(beside["in_flight"]) == {4}
        assert beside["flags"].str.contains("not alone").all()
        assert list(beside["prompt"]) == texts, "in the grid's order"
        same(alone, beside)
        from_store = slmlab.compare(SMOL, texts, timing=False, **SHORT)
        assert set(from_store["in_flight"]) <= {1, 4}

    def test_what_was_not_measured_alone_is_no_timing(self, here):
        slmlab.compare(SHALLOW, "The sky is", timing=False, quiet=True, **SHORT)
        timed = slmlab.compare(SHALLOW, "The sky is", quiet=True, **SHORT)
        assert set(timed["in_flight"]) == {1}

    def test_reading_speed_is_of_prompts_that_were_read(self, at):
        frame = slmlab.compare(
            at.shallow, ["Once upon a time " * 20], repeats=2, quiet=True, **SHORT
        )
        read_again = at.kind == "embedded"
        assert frame["prompt_fresh"].tolist() == [True, read_again]
        assert frame["prompt_tokens_per_s"].notna().tolist() == [True, read_again]
        if read_again:
            assert frame["cached_tokens"].tolist() == [0, 0]

    def test_settings_are_axes(self, here):
        frame = slmlab.compare(
            SHALLOW,
            "Name an animal.",
            temperature=[0, 1.5],
            system=[None, "Speak French."],
            num_predict=12,
            quiet=True,
        )
        assert len(frame.groupby(["temperature", "system"], dropna=False)) == 4
        assert frame["error"].isna().all()

    def test_a_schema_is_an_axis_and_holds(self, here):
        schema = {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}},
            "required": ["colour"],
            "additionalProperties": False,
        }
        frame = slmlab.compare(
            SMOL,
            "Name a colour.",
            format=[None, schema],
            timing=False,
            quiet=True,
            temperature=0,
            num_predict=24,
        )
        free, held = frame["text"]
        assert json.loads(held)["colour"] in ("red", "blue")
        assert not free.startswith("{")
        with pytest.raises(PromptError, match="cannot call tools"):
            slmlab.compare(SMOL, "Hi", tools=[WEATHER], quiet=True)

    def test_an_interrupt_keeps_what_is_done(self, here):
        count = 0

        def interrupt(_) -> None:
            nonlocal count
            count += 1
            if count == 3:
                os.kill(os.getpid(), signal.SIGINT)

        texts = ["One", "Two", "Three", "Four"]
        with pytest.raises(Interrupted, match="2 of 4 cells are finished and saved") as caught:
            slmlab.compare(SHALLOW, texts, on_cell=interrupt, quiet=True, **SHORT)
        assert list(caught.value.frame["prompt"]) == ["One", "Two"]
        ran: list = []
        slmlab.compare(SHALLOW, texts, on_cell=ran.append, quiet=True, **SHORT)
        assert [cell.prompt for cell in ran] == ["Three", "Four"]

    def test_an_error_of_the_callers_own_is_not_swallowed(self, here):
        def on_record(record) -> None:
            raise KeyError(record.prompt)

        ran: list = []
        with pytest.raises(KeyError, match="One"):
            slmlab.compare(SHALLOW, ["One", "Two"], on_record=on_record, quiet=True, **SHORT)
        slmlab.compare(SHALLOW, ["One", "Two"], on_cell=ran.append, quiet=True, **SHORT)
        assert [cell.prompt for cell in ran] == ["Two"], "the record is kept all the same"

    def test_an_interrupt_ends_requests_that_run_at_once(self, here):
        texts = [f"Tell a very long story about {n}." for n in range(6)]
        with (
            interrupt_once_it_writes(here.url) as sent,
            pytest.raises(Interrupted, match="of 6 cells"),
        ):
            slmlab.compare(SMOL, texts, timing=False, num_predict=3000, quiet=True, temperature=1)
        assert time.monotonic() - sent[0] < HANGS
        # The server is free again: nobody reads those stories to their end.
        started = time.monotonic()
        slmlab.compare(SMOL, "Hi", quiet=True, **SHORT)
        assert time.monotonic() - started < HANGS

    def test_an_interrupt_ends_timing_on_several_hosts(self, here, lab_with_models, monkeypatch):
        other = slmlab.start("embedded", quiet=True).host
        with (
            interrupt_once_it_writes(here.url, other) as sent,
            pytest.raises(Interrupted, match="of 4 cells"),
        ):
            slmlab.compare(
                SMOL,
                [f"Tell a long story about {n}." for n in range(4)],
                temperature=1,
                num_predict=3000,
                quiet=True,
                hosts=[here.url, other],
                num_thread=1,
            )
        assert time.monotonic() - sent[0] < HANGS

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
    def test_a_full_disk_loses_nothing(self, here):
        import resource

        # Many bytes in few tokens, which are what takes time to read.
        long = "internationalization " * 150
        texts = [f"Read this {word}: {long}" for word in ("one", "two")]
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            # The second record fits only in part.
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
            with pytest.raises(ResultsError, match="cannot be written to") as caught:
                slmlab.compare(SHALLOW, texts, quiet=True, **SHORT)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(caught.value.frame["prompt"]) == texts, "in memory both are there"
        (file,) = paths.results().glob("*.jsonl")
        assert file.read_bytes().count(b"\n") == 1
        assert file.read_bytes().endswith(b"}}\n"), "the part was taken back"
        ran: list = []
        slmlab.compare(SHALLOW, texts, on_cell=ran.append, quiet=True, **SHORT)
        assert [cell.prompt for cell in ran] == texts[1:]

    def test_a_server_that_was_killed_is_waited_for(self, lab_with_models):
        server = slmlab.start("embedded", quiet=True)
        killed = []

        def kill(cell) -> None:
            if cell.prompt == "Two" and not killed:
                killed.append(engine_process(server.host).pid)
                threading.Timer(0.1, os.kill, (killed[0], signal.SIGKILL)).start()

        texts = ["One", "Two", "Three"]
        options = {"num_predict": 200, "temperature": 0, "quiet": True}
        frame = slmlab.compare(SHALLOW, texts, on_cell=kill, **options)
        assert killed
        assert frame["error"].isna().all()
        same(frame, slmlab.compare(SHALLOW, texts, fresh=True, **options))

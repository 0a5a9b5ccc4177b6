"""Model files that are damaged."""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import slmlab
from slmlab import models
from slmlab.errors import ModelError, SlmlabError
from slmlab.run.generate import generate
from tests.support.engines import SHALLOW, engine_process
from tests.support.faults import note, times


class TestHostileModels:
    def test_files_that_are_cut_short_or_damaged(self, lab_with_models, shallow_gguf, tmp_path):
        """Each is refused, or loaded in a process of its own; the server lives on."""
        host = slmlab.start("embedded", quiet=True).host
        pid, whole, rng = engine_process(host).pid, shallow_gguf.read_bytes(), random.Random(11)
        header_ends = whole.index(b"token_embd.weight")
        ended = Counter()
        for number in range(times(9, 300)):
            data = bytearray(whole)
            if number % 3 == 0:
                data = data[: rng.randrange(len(data))]
            for _ in range(rng.choice((1, 4, 64)) if number % 3 else 0):
                at = (
                    rng.randrange(8, header_ends + 20_000)
                    if number % 3 == 1
                    else rng.randrange(4, 2000)
                )
                data[at] = rng.randrange(256)
            file = tmp_path / "x.gguf"
            file.write_bytes(data)
            try:
                slmlab.add("damaged", str(file))
                generate("damaged", "Say A.", num_predict=2, num_ctx=256, timeout=60)
                ended["answered"] += 1
            except SlmlabError as error:
                assert len(str(error)) > 15
                ended["refused" if isinstance(error, ModelError) else "ended its process"] += 1
            with contextlib.suppress(SlmlabError):
                models.remove("damaged")
            file.unlink()
        note(damaged_files=sum(ended.values()), **ended)
        assert engine_process(host).pid == pid
        assert generate(SHALLOW, "Say A.", num_predict=2).tokens == 2

"""What is asked of a server about a model before a generation."""

from __future__ import annotations

import pytest

from slmlab import models
from slmlab.run import target
from slmlab.run.target import resolve_target


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ("stop  x\nnum_keep  24", 24),
        ("num_keep -1\nstop x", -1),
        ("stop  num_keep 7", 4),
        (None, 4),
    ],
)
def test_the_beginning_that_a_modelfile_keeps_of_a_cut_prompt(monkeypatch, parameters, kept):
    show = {"modelinfo": {}, "parameters": parameters}
    monkeypatch.setattr(models, "show", lambda model, host: show)
    uncached = target._limits.__wrapped__
    assert uncached("m", "d", "http://127.0.0.1:1") == (None, kept)


@pytest.mark.parametrize(("gpus", "local", "share"), [((), True, None), (("T4",), True, 0.0)])
def test_a_share_of_the_gpu_where_there_is_one(wire, monkeypatch, gpus, local, share):
    monkeypatch.setattr(target, "gpu_names", lambda: gpus)
    wire.loaded = {"a:1b": 4096}
    assert resolve_target("a:1b", 4096, wire.url).gpu_share == share
    monkeypatch.setattr(target, "is_local", lambda host: False)
    assert resolve_target("a:1b", 4096, wire.url).gpu_share == 0, "that machine may have one"

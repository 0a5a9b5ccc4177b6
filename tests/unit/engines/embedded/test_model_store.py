"""The embedded engine's store of models."""

from __future__ import annotations

import os
import time

from slmlab.engines.embedded import model_store
from slmlab.engines.embedded.model_store import ModelStore, StoredModel


class TestStore:
    def test_a_torn_manifest_is_no_model(self, tmp_path):
        models = model_store.ModelStore(tmp_path)
        (tmp_path / "manifests/x%3Alatest.json").write_text('{"name": "x:lat')
        assert models.all() == []


def test_what_was_left_by_a_killed_download_goes_after_an_hour(tmp_path):
    store = ModelStore(tmp_path)
    old, new = store.blobs / "pull-old", store.blobs / "partial-new"
    old.mkdir()
    (old / "half").write_bytes(b"x")
    new.write_bytes(b"x")
    kept = store.blobs / f"sha256-{'0' * 64}"
    kept.write_bytes(b"x")
    begun, forgotten = store.partial("1" * 64), store.partial("2" * 64)
    for path, hours in ((begun, 24), (forgotten, 24 * 8)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    for path in (old / "half", old, kept):
        os.utime(path, (time.time() - 7200,) * 2)
    store.sweep()
    assert {path.name for path in store.blobs.iterdir()} == {new.name, kept.name, begun.name}


def test_uploads_that_no_model_was_made_of_go_after_a_day(tmp_path):
    store, day = ModelStore(tmp_path), 24 * 3600
    named, unnamed, new = (store.blob(f"{number:064x}") for number in range(3))
    for path in (named, unnamed, new):
        path.write_bytes(b"GGUF")
    for path in (named, unnamed):
        os.utime(path, (time.time() - 2 * day,) * 2)
    store.write(
        StoredModel(
            name="named:latest",
            blob=named.name.removeprefix("sha256-"),
            size=4,
            modified="2026-01-01T00:00:00+00:00",
            architecture="llama",
            parameters=1,
            quantization="F16",
            context_length=None,
            metadata={},
        )
    )
    store.manifests.joinpath("torn%3Alatest.json").write_text("{")
    store.sweep()
    assert unnamed.exists()  # it may be the torn one's
    store.manifests.joinpath("torn%3Alatest.json").unlink()
    store.sweep()
    assert {*store.blobs.iterdir()} == {named, new}

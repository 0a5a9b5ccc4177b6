"""Whatever hypothesis thinks of, in the files and texts that the library reads."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from slmlab.engines.embedded import ggml_types, gguf_header
from slmlab.engines.embedded.model_store import ModelStore
from slmlab.errors import SlmlabError
from slmlab.evaluation import tasks, votes
from slmlab.run import prompts
from slmlab.run.store import RecordStore
from tests.support.hostile import DEEP
from tests.support.properties import EXAMPLES, MANY


class TestLibrary:
    @settings(max_examples=EXAMPLES * 4, deadline=None, derandomize=True, database=None)
    @given(st.text(max_size=60))
    def test_any_text_is_a_template_or_is_refused(self, text):
        try:
            prompts.fill(text, **{name: "x" for name in prompts.variables(text)})
        except SlmlabError as error:
            assert str(error)

    @MANY
    @given(st.binary(max_size=300))
    def test_any_bytes_are_a_file_of_votes_or_refused(self, tmp_path, content):
        file = tmp_path / "votes.jsonl"
        file.write_bytes(content)
        try:
            votes.read_votes(file)
        except SlmlabError as error:
            assert "votes.jsonl" in str(error)

    @MANY
    @given(st.binary(max_size=300), st.sampled_from([".csv", ".jsonl"]))
    def test_any_bytes_are_a_task_set_or_refused(self, tmp_path, content, ending):
        file = tmp_path / f"mine{ending}"
        file.write_bytes(content)
        try:
            assert "prompt" in tasks.load(file)
        except SlmlabError as error:
            assert "mine" in str(error)

    @MANY
    @given(st.binary(max_size=600), st.integers(0, 6))
    def test_any_bytes_are_no_model(self, tmp_path, content, version):
        file = tmp_path / "x.gguf"
        file.write_bytes(b"GGUF" + struct.pack("<I", version) + content)
        try:
            gguf_header.read_header(file)
        except gguf_header.GGUFError as error:
            assert str(error)

    @MANY
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)))
    def test_any_bytes_beside_the_records_are_passed_over(self, tmp_path, content):
        name = "0" * 64
        (tmp_path / "x.jsonl").write_bytes(b'{"key":"' + name.encode() + b'","on":' + content)
        (tmp_path / "y.jsonl").write_bytes(content)
        assert RecordStore(tmp_path).find([name]) == {}

    def test_the_sizes_of_tensors_are_the_gguf_packages(self):
        from gguf.constants import GGML_QUANT_SIZES

        assert {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()} == ggml_types.BLOCKS

    def test_a_manifest_that_somebody_edited_is_no_model(self, tmp_path):
        store = ModelStore(tmp_path)
        for number, text in enumerate(("", "{}", "[]", "null", '{"name": 5}', "\0", DEEP)):
            (store.manifests / f"m{number}%3Alatest.json").write_text(text)
        assert store.all() == []

"""A model's file as gguf's own reader has it, only sooner."""

from __future__ import annotations

from dataclasses import replace

import gguf
import numpy as np
import pytest

from slmlab.course import text_losses, weights
from tests.support import gguf_files

WORDS = ("", "ä" * 300, "日本", "Ġthe")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return gguf_files.write(folder / "model.gguf", words=WORDS, template="{{ messages }}")


@pytest.fixture(scope="module")
def model(file):
    return weights.read(file)


def test_its_facts_are_those_that_gguf_reads(file, model):
    theirs = gguf.GGUFReader(file)
    expected = {name: one.contents() for name, one in theirs.fields.items() if name[:5] != "GGUF."}
    assert model.metadata == expected
    assert model.metadata["tokenizer.ggml.tokens"][-4:] == [*WORDS]
    for name, one in theirs.fields.items():
        assert model.reader.fields[name].types == one.types, name


def test_numbers_and_lists_of_all_kinds_are_read(tmp_path):
    lists = {"none": [], "truths": [True, False], "shares": [0.5, -1.5], "counts": [1, 2, 3]}
    writer = gguf.GGUFWriter(tmp_path / "facts.gguf", "llama")
    for name, values in lists.items():
        if values:
            writer.add_array(name, values)
    writer.add_key_value("nested", [["a", "b"], ["c"]], gguf.GGUFValueType.ARRAY)
    writer.add_float64("number", 0.1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours, theirs = (
        {name: one.contents() for name, one in kind(tmp_path / "facts.gguf").fields.items()}
        for kind in (weights._FastReader, gguf.GGUFReader)
    )
    assert ours == theirs
    assert ours["shares"] == lists["shares"]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_1", "Q4_0"])
@pytest.mark.parametrize("shape", [(64,), (3, 32), (48, 96), (2, 17, 64)])
def test_a_format_is_that_of_gguf_in_any_shape(kind, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ggml_type = gguf.GGMLQuantizationType[kind]
    packed = gguf.quantize(array, ggml_type)
    ours, size = weights.quantized(array, kind)
    assert size == packed.nbytes
    np.testing.assert_array_equal(ours, gguf.dequantize(packed, ggml_type))


def test_what_is_written_is_what_gguf_would_write(model, tmp_path):
    again = weights.read(weights.write(model, tmp_path / "again.gguf", "Q4_0"))
    for name, array in model.tensors.items():
        rounded = weights.quantized(array, "Q4_0")[0] if array.ndim == 2 else array
        np.testing.assert_array_equal(again.tensors[name], rounded)


def test_a_tokenizer_is_kept_until_another_vocabulary_comes(tiny):
    changed = tiny.with_tensors({"output_norm.weight": tiny.tensors["output_norm.weight"] * 2})
    first = text_losses._kept_tokenizer(tiny)
    assert text_losses._kept_tokenizer(changed) is first
    assert text_losses._kept_tokenizer(weights.drop_layers(tiny, [1])) is first
    turned = {"tokenizer.ggml.tokens": tiny.metadata["tokenizer.ggml.tokens"][::-1]}
    other = text_losses._kept_tokenizer(replace(tiny, metadata=tiny.metadata | turned))
    assert other.encode("abc").ids != first.encode("abc").ids

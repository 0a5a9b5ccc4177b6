"""Headers of GGUF files, whole and damaged."""

from __future__ import annotations

import struct

import gguf
import pytest

from slmlab.engines.embedded import gguf_header


def small_gguf(
    pairs: dict[str, str | int] | None = None, tensors: int = 1, magic: bytes = b"GGUF"
) -> bytes:
    """A tiny GGUF file, byte by byte, after the format's description."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = (
        {"general.architecture": "llama", "llama.context_length": 128} if pairs is None else pairs
    )
    out = magic + struct.pack("<IQQ", 3, tensors, len(pairs))
    for key, value in pairs.items():
        out += text(key)
        out += (
            struct.pack("<II", 4, value)
            if isinstance(value, int)
            else struct.pack("<I", 8) + text(value)
        )
    for number in range(tensors):
        out += text(f"t{number}") + struct.pack("<IQQIQ", 2, 4, 8, 0, 0)
    return out + b"\0" * 256


class TestGGUF:
    def read(self, tmp_path, content: bytes) -> gguf_header.Header:
        path = tmp_path / "x.gguf"
        path.write_bytes(content)
        return gguf_header.read_header(path)

    def test_a_header(self, tmp_path):
        header = self.read(tmp_path, small_gguf())
        assert (header.architecture, header.context_length, header.parameters) == ("llama", 128, 32)
        assert header.chat_template is None

    def test_the_beginning_of_a_larger_file(self, tmp_path):
        content = small_gguf()
        (tmp_path / "x").write_bytes(content[:-1])
        header = gguf_header.read_header(tmp_path / "x", len(content))
        assert header == self.read(tmp_path, content)
        (tmp_path / "x").write_bytes(content[:40])
        with pytest.raises(gguf_header.HeaderCut):
            gguf_header.read_header(tmp_path / "x", len(content))

    def test_a_file_for_big_endian_machines(self, tmp_path):
        writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(gguf_header.GGUFError, match=r"big-endian.*gguf-convert-endian FILE"):
            gguf_header.read_header(tmp_path / "x.gguf")

    def test_a_projector_in_the_same_file(self, tmp_path):
        content = small_gguf().replace(b"\x02\0\0\0\0\0\0\0t0", b"\x02\0\0\0\0\0\0\0v.")
        header = self.read(tmp_path, content)
        assert header.with_projector
        with pytest.raises(gguf_header.GGUFError, match=r"and its projector in one"):
            gguf_header.check_usable(header)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "too short"),
            (b"PK\x03\x04" + b"\0" * 60, "not a GGUF model"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
            (small_gguf()[:40], "damaged|cut short"),
            (small_gguf(tensors=50)[:-1500], "damaged|cut short"),
            (b"GGUF" + struct.pack("<IQQ", 99, 0, 0) + b"\0" * 9, "version 99"),
            (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 1) + b"\0" * 9, "over a million"),
            (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + b"\0" * 9, "longer than the file"),
        ],
    )
    def test_damage_is_named(self, tmp_path, content, message):
        with pytest.raises(gguf_header.GGUFError, match=message):
            self.read(tmp_path, content)

    def test_no_cut_of_a_file_escapes_as_another_error(self, tmp_path):
        whole = small_gguf()[:-256]
        for length in range(len(whole)):
            with pytest.raises(gguf_header.GGUFError):
                self.read(tmp_path, whole[:length])


WHOLE = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}


class TestUsable:
    """What a header says of a file that no model can be made of."""

    def check(self, tmp_path, tensors: int = 1, **facts: str | int) -> None:
        file = tmp_path / "x.gguf"
        pairs = WHOLE | {name.replace("__", "."): value for name, value in facts.items()}
        pairs = {name: value for name, value in pairs.items() if value != ""}
        file.write_bytes(small_gguf(pairs, tensors))
        gguf_header.check_usable(gguf_header.read_header(file))

    def test_a_whole_model_is(self, tmp_path):
        self.check(tmp_path)
        self.check(tmp_path, split__count=1)
        self.check(tmp_path, general__type="model")
        self.check(tmp_path, general__architecture="one-of-next-year")

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"split__count": 3}, r"one of the 3 parts .* `llama-gguf-split --merge"),
            ({"general__type": "mmproj"}, "a projector .mmproj."),
            ({"general__architecture": "clip"}, "a projector .mmproj."),
            ({"general__type": "adapter"}, "a LoRA adapter"),
            ({"adapter__type": "lora"}, "a LoRA adapter"),
            ({"general__type": "imatrix"}, "an importance matrix"),
            ({"general__architecture": ""}, "which architecture"),
            ({"tensors": 0}, "no weights"),
            ({"general__type": "vocab", "tensors": 0}, "a vocabulary without a model"),
            ({"tokenizer__ggml__model": ""}, "no tokenizer"),
            ({"tokenizer__ggml__model": "no_vocab"}, "no tokenizer"),
        ],
    )
    def test_another_file_is_said_to_be_what_it_is(self, tmp_path, facts, reason):
        with pytest.raises(gguf_header.GGUFError, match=reason):
            self.check(tmp_path, **facts)

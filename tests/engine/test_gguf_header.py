"""Headers of the real models."""

from __future__ import annotations

from slmlab.engines.embedded import gguf_header
from slmlab.engines.embedded.pypi_models import PYPI_MODELS


class TestGGUF:
    def test_the_real_files_agree_with_the_gguf_package(self, models_home):
        """The numbers that ``gguf.GGUFReader`` printed for the two files of the package index."""
        blobs = models_home / "models/blobs"
        smol, gemma = (
            gguf_header.read_header(blobs / f"sha256-{m.sha256}") for m in PYPI_MODELS[:2]
        )
        assert (smol.architecture, smol.parameters, smol.quantization) == (
            "llama",
            134515008,
            "Q4_1",
        )
        assert (gemma.architecture, gemma.parameters) == ("gemma3", 268098176)
        assert gemma.quantization == "Q4_K_M"
        assert smol.chat_template
        assert gemma.chat_template is None

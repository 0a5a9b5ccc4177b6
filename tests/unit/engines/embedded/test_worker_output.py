"""The reason in llama.cpp's log, without llama.cpp."""

from __future__ import annotations

import pytest

from slmlab.engines.embedded.worker_output import memory_error, reason_in

# Lines that llama.cpp's build 11549 wrote.
BEFORE = "0.00.005.400 W load: model vocab missing newline token, using special_pad_id instead\n"
AFTER = """
0.00.005.527 E llama_model_load_from_file_impl: failed to load model
0.00.006.434 E srv          init: exiting due to model loading error
"""
LOADING = "0.00.005.461 E llama_model_load: error loading model: "
TEMPLATE = "0.00.023.330 E srv          init: init: chat template parsing error: "
PARSER = "Unable to generate parser for this template. Automatic parser generation failed: \n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (f"{LOADING}unknown model architecture: 'llama9'", "unknown model architecture: 'llama9'"),
        (
            f"{LOADING}error loading model vocabulary: unknown tokenizer: 'x'",
            "unknown tokenizer: 'x'",
        ),
        (
            f"{LOADING}error loading model hyperparameters: key not found in model: a.b",
            "key not found in model: a.b",
        ),
        (
            f"{LOADING}check_tensor_dims: tensor 't' has wrong shape; expected     32,      0",
            "tensor 't' has wrong shape; expected 32, 0",
        ),
        (
            "0.00.021.146 E common_chat_templates_init: error: parser: Parser Error: Expected }} "
            f"(Got )\n...{{{{ m.content\n        ^\n{TEMPLATE}std::exception",
            "its chat template cannot be used: Expected }} (Got )",
        ),
        (
            f"{TEMPLATE}{PARSER}------------\nWhile executing CallExpression at line 1\n"
            "...{{ f() }}...\n   ^\nError: Jinja Exception: no systems",
            "its chat template cannot be used: no systems",
        ),
        ("0.00.001.000 E nothing that we know", ""),
        ("", ""),
    ],
)
def test_the_reason_is_found(log, reason):
    assert reason_in(f"{BEFORE}{log}{AFTER}") == reason


def test_a_reason_has_an_end():
    assert len(reason_in(LOADING + "x" * 10_000)) == 400


def test_memory_is_a_reason_of_its_own():
    log = f"{BEFORE}0.00.1 E ggml: failed to allocate buffer of size 99{AFTER}"
    assert memory_error(log) == "out of memory: failed to allocate buffer of size 99"
    mapped = f"{LOADING}mmap failed: Cannot allocate memory"
    assert memory_error(mapped) == "out of memory: mmap failed: Cannot allocate memory"
    assert memory_error(BEFORE + AFTER) == ""

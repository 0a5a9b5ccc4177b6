"""What a model can do, as its file says it: ``capabilities`` in Ollama's API.

The rules are those of Ollama (``server/images.go``, August 2026), but for ``insert``, which Ollama
has from a template of its own kind alone: llama.cpp fills gaps with any model whose vocabulary has
words for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slmlab.memory import embeds


def of(metadata: Mapping[str, Any], fill_in_middle: bool, projector: bool = False) -> list[str]:
    """The capabilities of a model.

    Args:
        metadata: of its GGUF file.
        fill_in_middle: whether its vocabulary has words for the text before and after a gap.
        projector: whether it has a projector, with which it sees images.
    """
    architecture = metadata.get("general.architecture")
    if embeds(metadata):
        return ["embedding"]
    template = str(metadata.get("tokenizer.chat_template", ""))
    has = {
        "completion": True,
        "vision": projector,
        "tools": "tools" in template or "tool_call" in template,
        "thinking": architecture == "gpt-oss" or _thinks(template),
        "insert": fill_in_middle,
    }
    return [name for name, present in has.items() if present]


def _thinks(template: str) -> bool:
    """Whether a chat template sets thoughts apart from the answer."""
    if "<think>" in template and "</think>" in template:
        return True
    # Templates that cut the thoughts off earlier answers.
    cuts = "content.split('</think>')" in template or 'content.split("</think>")' in template
    return cuts and "reasoning_content" not in template and "<SPECIAL_12>" not in template

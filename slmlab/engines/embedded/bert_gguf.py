"""Write the GGUF file of a BERT text encoder from what its makers publish.

It does what llama.cpp's ``convert_hf_to_gguf.py`` does for ``BertModel``, with the ``gguf`` package
alone: that script needs PyTorch and the model's repository. Encoders of the sentence-transformers
kind only: the text's embedding is the mean of its tokens'.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_SPECIAL = {"bos": "[CLS]", "eos": "[SEP]", "sep": "[SEP]", "unk": "[UNK]", "pad": "[PAD]"}


def write(weights: Path, config: Path, vocabulary: Path, target: Path) -> None:
    """Write ``target``; matrices as 16-bit floats, which is what Ollama's library has of these.

    Args:
        weights: the ``model.safetensors``, of 32-bit floats.
        config: the ``config.json``.
        vocabulary: the ``vocab.txt``: WordPiece's words, one a line.
        target: the GGUF file.
    """
    facts = json.loads(config.read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(facts.get("_name_or_path") or "bert")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(facts["num_hidden_layers"])
    writer.add_context_length(facts["max_position_embeddings"])
    writer.add_embedding_length(facts["hidden_size"])
    writer.add_feed_forward_length(facts["intermediate_size"])
    writer.add_head_count(facts["num_attention_heads"])
    writer.add_layer_norm_eps(facts["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(facts["type_vocab_size"])
    _add_vocabulary(writer, vocabulary.read_text(encoding="utf-8").splitlines())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, facts["num_hidden_layers"])
    for name, numbers in _tensors(weights).items():
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None or name.startswith("pooler."):  # a head that sentence embeddings lack
            continue
        # Vectors, and the small tables that are added up once for a text, stay as they are.
        small = numbers.ndim == 1 or ours.startswith(("position_embd", "token_types"))
        writer.add_tensor(ours, numbers if small else numbers.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    def spelled(word: str) -> str:
        """WordPiece marks what continues a word, llama.cpp what begins one."""
        if word.startswith("[") and word.endswith("]"):
            return word
        return word[2:] if word.startswith("##") else "▁" + word

    special = {*_SPECIAL.values(), "[MASK]"}
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("bert-bge")
    writer.add_token_list([spelled(word) for word in words])
    writer.add_token_types([control if word in special else normal for word in words])
    for name, word in _SPECIAL.items():
        getattr(writer, f"add_{name}_token_id")(words.index(word))


def _tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a safetensors file, mapped (https://github.com/huggingface/safetensors)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, mode="r", offset=8 + length)
    header.pop("__metadata__", None)
    return {
        name: data[slice(*one["data_offsets"])].view("<f4").reshape(one["shape"])
        for name, one in header.items()
        if one["dtype"] == "F32"
    }

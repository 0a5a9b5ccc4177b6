"""BERT's own tokenizer (WordPiece), for the texts that a BERT encoder embeds.

llama.cpp has one too, which falls short of it: it leaves Korean syllables whole, drops the vowel
signs of Indian scripts, and cuts up what is longer than any word. The vectors of such texts would
be those of something else (a cosine of 0.2 to 0.95 to the makers'), without a word said.
"""

from __future__ import annotations

import functools
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from slmlab.engines.embedded import gguf_header

_UNKNOWN = "[UNK]"
_SPECIAL = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


def encode(file: Path, texts: list[str]) -> list[list[int]]:
    """The tokens of each text, with the two that mark its beginning and its end.

    Args:
        file: the GGUF file of the model, whose vocabulary counts; in lower case and without
            accents, as llama.cpp takes each.
        texts: of any length.
    """
    return [one.ids for one in _tokenizer(file).encode_batch(texts)]


@functools.lru_cache(maxsize=4)
def _tokenizer(file: Path) -> tokenizers.Tokenizer:
    words = {
        _spelled(word): number for number, word in enumerate(gguf_header.read_vocabulary(file))
    }
    tokenizer = tokenizers.Tokenizer(models.WordPiece(words, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", words["[SEP]"]), ("[CLS]", words["[CLS]"])
    )
    tokenizer.add_special_tokens([word for word in _SPECIAL if word in words])
    return tokenizer


def _spelled(word: str) -> str:
    """WordPiece marks what goes on with a word, llama.cpp what begins one."""
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[1:] if word.startswith("▁") else f"##{word}"

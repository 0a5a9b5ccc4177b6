"""A Llama-type transformer in plain numpy: its tensors, its tokenizer, its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from slmlab.errors import ModelError

if TYPE_CHECKING:
    import gguf
    from tokenizers import Tokenizer


Array = npt.NDArray[np.float32]
# A block's output (tokens, embedding length) from its input and its tensors, by BLOCK_TENSORS.
Block = Callable[[Array, Mapping[str, Array]], Array]
# The keys and values of each block for all tokens that were read, (tokens, KV heads, head size).
KVCache = dict[int, tuple[Array, Array]]
Floats = TypeVar("Floats", bound=np.floating[Any])
BLOCK_TENSORS = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)
FEED_FORWARD_LENGTH = "llama.feed_forward_length"


@dataclass(frozen=True)
class Transformer:
    """A Llama-type model in memory.

    ``tensors`` maps a name such as ``blk.0.ffn_up.weight`` (block 0, the feed-forward network's
    first matrix) to an array of 32-bit floats, rows first: a matrix of shape (outputs, inputs).
    ``tensor_types`` gives the format of each in the file (``F32``, ``Q4_0``, …), and ``metadata``
    is that of the file.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Array]
    tensor_types: dict[str, str]
    reader: gguf.GGUFReader = field(repr=False)

    @property
    def layers(self) -> int:
        """The number of transformer blocks."""
        return int(self.metadata["llama.block_count"])

    def matrices(self, part: str = "") -> list[str]:
        """The names of the blocks' weight matrices; only those that contain ``part``."""
        return [
            name
            for name, array in self.tensors.items()
            if name.startswith("blk.") and array.ndim == 2 and part in name
        ]

    def with_tensors(self, changed: Mapping[str, Array]) -> Transformer:
        """The same model with some tensors changed; the others are shared, not copied.

        Raises:
            ModelError: the model has no tensor of that name, or it has another shape.
        """
        for name, array in changed.items():
            if name not in self.tensors:
                raise ModelError(f"The model has no tensor {name!r}; look at model.tensors.")
            if array.shape != self.tensors[name].shape:
                raise ModelError(
                    f"{name} has the shape {self.tensors[name].shape}; got {array.shape}."
                )
        return replace(self, tensors=self.tensors | dict(changed))


def tokenizer(model: Transformer) -> Tokenizer:
    """The model's own tokenizer: ``.encode(text).ids``, ``.decode(ids)``.

    Examples:
        >>> tokenizer = slmlab.weights.tokenizer(slmlab.weights.read())
        >>> tokenizer.encode("A cat sat").tokens
        ['A', 'Ġcat', 'Ġsat']
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    tokens = model.metadata["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in model.metadata["tokenizer.ggml.merges"]]
    made = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    # SmolLM splits texts as GPT-2 does, but digits one by one.
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    token_types = model.metadata["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, token_types, strict=True) if kind == 3]
    made.add_special_tokens([AddedToken(token, special=True) for token in control])
    return made


def chat_text(model: Transformer, prompt: str) -> str:
    """A prompt as the model's chat template puts it before the answer, control tokens and all.

    Raises:
        ModelError: a base model, which has no chat template.

    Examples:
        >>> slmlab.weights.chat_text(slmlab.weights.read(), "Hi").split()[-1]
        '<|im_start|>assistant'
    """
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = model.metadata.get("tokenizer.chat_template")
    if not template:
        raise ModelError(f"{model.path.name} is a base model: it has no chat template.")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": prompt}]
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def forward(
    model: Transformer, tokens: Sequence[int] | Array, cache: KVCache | None = None
) -> Array:
    """The forward pass: logits for the next token after each token, (tokens, vocabulary).

    A complete Llama-type transformer: embeddings; in each block causal attention and a feed-forward
    network, each added to its input (the residual stream); at the end a logit for each token of the
    vocabulary. https://arxiv.org/abs/2302.13971, with grouped-query attention
    (https://arxiv.org/abs/2305.13245).

    It computes with numpy, or, where the model's tensors are JAX's, with JAX, which can also give
    the gradients of what is computed from its result (``slmlab.finetuning``).

    Args:
        model: the model.
        tokens: what it reads.
        cache: a KV cache, ``{}`` at first. It keeps the keys and values of all tokens that are read
            with it, so that the next call has to read only the tokens that follow.

    Examples:
        >>> model = slmlab.weights.read()
        >>> tokens = slmlab.weights.tokenizer(model).encode("A cat sat").ids
        >>> slmlab.weights.forward(model, tokens).shape  # tokens × vocabulary
        (3, 49152)
    """
    weight = model.tensors
    # A model without an output matrix reuses its embeddings (tied embeddings).
    unembedding = weight.get("output.weight", weight["token_embd.weight"])
    return cast(Array, hidden_states(model, tokens, cache=cache) @ unembedding.T)


def hidden_states(
    model: Transformer,
    tokens: Sequence[int] | npt.NDArray[Any],
    through: Callable[[Block, Array], Array] | None = None,
    cache: KVCache | None = None,
    tree: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
) -> Array:
    """What the last block hands on for each token, (tokens, embedding length), normalized.

    Args:
        model: the model.
        tokens: what it reads.
        through: takes a block and its first input through all layers, in place of one after the
            other with the model's tensors; ``slmlab.finetuning`` compiles one block for all.
        cache: as for ``forward``; not with ``through``.
        tree: where the tokens are several texts, each token's position in its text, and for each
            token (rows) which ones it sees (columns): those of its text up to itself.
    """
    hyperparameters, weight = model.metadata, model.tensors
    heads = int(hyperparameters["llama.attention.head_count"])
    kv_heads = int(hyperparameters["llama.attention.head_count_kv"])
    head_size = int(hyperparameters["llama.embedding_length"]) // heads
    epsilon = float(hyperparameters["llama.attention.layer_norm_rms_epsilon"])
    embeddings = weight["token_embd.weight"]
    xp = array_module(embeddings)
    n, before = len(tokens), len(cache[0][0]) if cache else 0
    base = float(hyperparameters["llama.rope.freq_base"])
    positions, seen = tree or (np.arange(before, before + n), np.tri(n, before + n, before))
    angles = xp.asarray(rope_angles(before + n, head_size, base))[positions]
    mask = xp.where(seen, np.float32(0), np.float32(-np.inf))

    def block(x: Array, w: Mapping[str, Array], layer: int = 0) -> Array:
        h = rms_norm(x, w["attn_norm"], epsilon)
        queries = apply_rope((h @ w["attn_q"].T).reshape(n, heads, head_size), angles)
        keys = apply_rope((h @ w["attn_k"].T).reshape(n, kv_heads, head_size), angles)
        values = (h @ w["attn_v"].T).reshape(n, kv_heads, head_size)
        if cache is not None:
            if before:
                keys, values = map(np.concatenate, zip(cache[layer], (keys, values), strict=True))
            cache[layer] = keys, values
        # Grouped-query attention: several query heads share a key head and a value head.
        keys, values = (xp.repeat(one, heads // kv_heads, axis=1) for one in (keys, values))
        scores = queries.transpose(1, 0, 2) @ keys.transpose(1, 2, 0) / head_size**0.5
        attention = softmax(scores + mask)
        attended = (attention @ values.transpose(1, 0, 2)).transpose(1, 0, 2).reshape(n, -1)
        x = x + attended @ w["attn_output"].T
        h = rms_norm(x, w["ffn_norm"], epsilon)
        gated = silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)
        return cast(Array, x + gated @ w["ffn_down"].T)

    x = embeddings[xp.asarray(tokens)]
    if through:
        x = through(block, x)
    else:
        for layer in range(model.layers):
            of_layer = {part: weight[f"blk.{layer}.{part}.weight"] for part in BLOCK_TENSORS}
            x = block(x, of_layer, layer)
    return rms_norm(x, weight["output_norm.weight"], epsilon)


def array_module(array: Any) -> Any:
    """numpy, or for an array of JAX's ``jax.numpy``: they have the same functions."""
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def softmax(logits: npt.NDArray[Floats], temperature: float = 1.0) -> npt.NDArray[Floats]:
    """Logits as probabilities, over the last axis; a higher temperature makes them more even.

    Examples:
        >>> import numpy as np
        >>> slmlab.weights.softmax(np.array([0.0, 0.0]))
        array([0.5, 0.5])
    """
    scaled = logits / temperature
    exponentials = array_module(logits).exp(scaled - scaled.max(axis=-1, keepdims=True))
    return cast("npt.NDArray[Floats]", exponentials / exponentials.sum(axis=-1, keepdims=True))


def log_softmax(logits: npt.NDArray[Floats]) -> npt.NDArray[Floats]:
    """The natural logarithm of ``softmax(logits)``, accurate even for tiny probabilities."""
    xp = array_module(logits)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalizer = xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    return cast("npt.NDArray[Floats]", shifted - normalizer)


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    """Root-mean-square layer normalization, https://arxiv.org/abs/1910.07467."""
    mean_square = (x * x).mean(axis=-1, keepdims=True)
    return cast(Array, x / array_module(x).sqrt(mean_square + epsilon) * weight)


def silu(x: Array) -> Array:
    """The sigmoid linear unit, x × sigmoid(x); gates the feed-forward network (SwiGLU)."""
    return cast(Array, x / (1 + array_module(x).exp(-x)))


def rope_angles(n: int, head_size: int, base: float) -> npt.NDArray[np.float64]:
    """The angles of the rotary position embedding (RoPE) for n positions: (n, head_size / 2).

    Pair i of a head's dimensions is rotated by position × base^(-2i / head_size), in radians;
    https://arxiv.org/abs/2104.09864.
    """
    frequencies = base ** (-np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    return np.outer(np.arange(n), frequencies)


def apply_rope(x: Array, angles: npt.NDArray[np.float64]) -> Array:
    """Rotate queries or keys (n, heads, head_size) by the angles of their positions.

    GGUF files of this architecture store the two numbers that are rotated together side by side.
    """
    xp = array_module(angles)
    cos, sin = (part.astype(np.float32)[:, None, :] for part in (xp.cos(angles), xp.sin(angles)))
    first, second = x[..., 0::2], x[..., 1::2]
    pairs = (first * cos - second * sin, first * sin + second * cos)
    return cast(Array, array_module(x).stack(pairs, axis=-1).reshape(x.shape))

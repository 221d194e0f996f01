"""The text encoders of BERT, XLM-R and SONAR in NumPy: a query is embedded before torch would be imported.

    pre-norm (SONAR, M2M100):  x + attention(norm(x)), then x + ffn(norm(x)), and a norm at the end
    post-norm (BERT, XLM-R):   norm(x + attention(x)), then norm(x + ffn(x))

Texts of one batch have as many tokens each, so that there is no padding and no mask. Weights are mapped into
memory: of the embeddings only the rows of the tokens are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from audio_common.sizes import read_safetensors_header

Activation = Literal["gelu", "relu"]


@dataclass(frozen=True, kw_only=True)
class Names:
    """What an architecture calls its weights; `{}` is a layer's number."""

    words: str
    query: str
    key: str
    value: str
    mixed: str
    """Of attention's output."""
    attention_norm: str
    up: str
    down: str
    ffn_norm: str


BERT = Names(
    words="embeddings.word_embeddings.weight",
    query="encoder.layer.{}.attention.self.query",
    key="encoder.layer.{}.attention.self.key",
    value="encoder.layer.{}.attention.self.value",
    mixed="encoder.layer.{}.attention.output.dense",
    attention_norm="encoder.layer.{}.attention.output.LayerNorm",
    up="encoder.layer.{}.intermediate.dense",
    down="encoder.layer.{}.output.dense",
    ffn_norm="encoder.layer.{}.output.LayerNorm",
)
M2M100 = Names(
    words="embed_tokens.weight",
    query="layers.{}.self_attn.q_proj",
    key="layers.{}.self_attn.k_proj",
    value="layers.{}.self_attn.v_proj",
    mixed="layers.{}.self_attn.out_proj",
    attention_norm="layers.{}.self_attn_layer_norm",
    up="layers.{}.fc1",
    down="layers.{}.fc2",
    ffn_norm="layers.{}.final_layer_norm",
)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How an encoder computes, as its `config.json` says."""

    names: Names
    is_pre_norm: bool
    num_layers: int
    num_heads: int
    eps: float
    """Of its layer norms."""
    activation: Activation
    first_position: int
    """Of a text's first token."""
    word_scale: bool = False
    """Whether word embeddings are multiplied by the root of their width."""


class Weights:
    """The float32 tensors of a `.safetensors` file whose names begin with a prefix, mapped into memory.

    Args:
        path: The file.
        prefix: Left out of the names.

    Raises:
        ValueError: A tensor is of another kind than float32, or the file is damaged.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        header, start = read_safetensors_header(path)
        self._bytes = np.memmap(path, np.uint8, "r", offset=start)
        self._entries = {
            name.removeprefix(prefix): entry for name, entry in header.items() if name.startswith(prefix)
        }
        if other := {entry["dtype"] for entry in self._entries.values()} - {"F32"}:
            raise ValueError(f"{path}: {', '.join(sorted(other))}")

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a tensor."""
        return name in self._entries

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a tensor."""
        entry = self._entries[name]
        first, last = entry["data_offsets"]
        return self._bytes[first:last].view(np.float32).reshape(entry["shape"])

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        """Apply a linear layer to `(..., inputs)`."""
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, x: np.ndarray, name: str, eps: float) -> np.ndarray:
        """Apply a layer norm to `(..., dim)`."""
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(eps))
        return centred / scale * self[f"{name}.weight"] + self[f"{name}.bias"]


def find_architecture(config: Mapping[str, Any]) -> Architecture | None:
    """Return what a `config.json` of transformers describes; None where it is not known here.

    A setting that the file lacks has the default of transformers.
    """
    kind, pad = config.get("model_type"), config.get("pad_token_id", 1)
    if kind == "m2m_100":
        found = Architecture(
            names=M2M100,
            is_pre_norm=True,
            num_layers=config.get("encoder_layers", 12),
            num_heads=config.get("encoder_attention_heads", 16),
            eps=1e-5,
            activation=config.get("activation_function", "relu"),
            first_position=pad + 1,
            word_scale=config.get("scale_embedding", True),
        )
    elif kind in ("bert", "xlm-roberta", "roberta"):
        found = Architecture(
            names=BERT,
            is_pre_norm=False,
            num_layers=config.get("num_hidden_layers", 12),
            num_heads=config.get("num_attention_heads", 12),
            eps=config.get("layer_norm_eps", 1e-12),
            activation=config.get("hidden_act", "gelu"),
            first_position=0 if kind == "bert" else pad + 1,
        )
        if config.get("position_embedding_type", "absolute") != "absolute":
            return None
    else:
        return None
    return found if found.activation in ("gelu", "relu") else None


def encode_tokens(weights: Weights, how: Architecture, ids: np.ndarray) -> np.ndarray:
    """Return sentence vectors `(texts, dim)`, means over the tokens of `ids` `(texts, length)`."""
    x = _embed(weights, how, ids)
    for number in range(how.num_layers):
        names = replace(how.names, **{key: name.format(number) for key, name in vars(how.names).items()})
        if how.is_pre_norm:
            x = x + _attend(weights, names, how.num_heads, weights.norm(x, names.attention_norm, how.eps))
            x = x + _feed(weights, names, how.activation, weights.norm(x, names.ffn_norm, how.eps))
        else:
            x = weights.norm(x + _attend(weights, names, how.num_heads, x), names.attention_norm, how.eps)
            x = weights.norm(x + _feed(weights, names, how.activation, x), names.ffn_norm, how.eps)
    return (weights.norm(x, "layer_norm", how.eps) if how.is_pre_norm else x).mean(axis=1)


def _embed(weights: Weights, how: Architecture, ids: np.ndarray) -> np.ndarray:
    """Return what goes into the first layer: `(texts, length, dim)`."""
    words = weights[how.names.words][ids]
    places = np.arange(how.first_position, how.first_position + ids.shape[1])
    if how.is_pre_norm:
        scale = math.sqrt(words.shape[-1]) if how.word_scale else 1.0
        return words * np.float32(scale) + sinusoids(places, words.shape[-1])
    x = words + weights["embeddings.position_embeddings.weight"][places]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    return weights.norm(x, "embeddings.LayerNorm", how.eps)


def sinusoids(places: np.ndarray, dim: int) -> np.ndarray:
    """Return M2M100's embeddings of positions, `(positions, dim)`: all sines, then all cosines."""
    half = dim // 2
    rates = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1)))
    angles = places.astype(np.float32)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _attend(weights: Weights, names: Names, num_heads: int, x: np.ndarray) -> np.ndarray:
    texts, length, dim = x.shape

    def heads(name: str) -> np.ndarray:  # (texts, heads, length, width)
        return weights.linear(x, name).reshape(texts, length, num_heads, -1).transpose(0, 2, 1, 3)

    scores = heads(names.query) @ heads(names.key).swapaxes(2, 3) / np.float32(math.sqrt(dim // num_heads))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = scores / scores.sum(axis=-1, keepdims=True) @ heads(names.value)
    return weights.linear(mixed.transpose(0, 2, 1, 3).reshape(texts, length, dim), names.mixed)


def _feed(weights: Weights, names: Names, activation: Activation, x: np.ndarray) -> np.ndarray:
    inner = weights.linear(x, names.up)
    return weights.linear(np.maximum(inner, 0) if activation == "relu" else gelu(inner), names.down)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x times the normal distribution's integral, with erf from Abramowitz and Stegun, 7.1.26.

    NumPy has no erf; this one is off by 1.5e-7 at most.
    """
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = np.float32(1.061405429) * t
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = (tail + np.float32(factor)) * t
    tail *= np.exp(-z * z)  # 1 - erf(z)
    return x * np.where(x < 0, tail / 2, 1 - tail / 2)

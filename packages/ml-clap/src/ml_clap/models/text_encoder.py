"""Text encoders of ML-CLAP: SONAR by either backend, or any text encoder of transformers with mean pooling.

A text encoder is a module with `dim`, `tokenizer` and `forward(ids, mask) -> (batch, dim)`; languages may be
mixed in a batch, for a text's language is its first token. `ml_clap.models.text_source` says what can
be loaded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from ml_clap.data.languages import LANGUAGES
from ml_clap.models.sonar import SonarTextEncoder, load_card, m2m100_config
from ml_clap.models.text_source import WEIGHTS_FILE, TextSource, naming, read_text_source, without_pooler
from ml_clap.models.text_training import merged_state
from ml_clap.models.tokenizer import SonarTokenizer, Tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Backend = Literal["transformers", "sonar"]
Module = TypeVar("Module", bound=nn.Module)


def build_empty(build: Callable[[], Module], check: Callable[[Module], None] | None = None) -> Module:
    """Build a model whose parameters hold whatever memory held: for weights that are loaded next.

    Buffers are as `build` made them, since not all are loaded. No random numbers are drawn. `check` is asked
    before memory is taken, and raises where those weights do not fit.
    """
    with init_empty_weights(include_buffers=False):
        model = build()
    if check is not None:
        check(model)
    return model._apply(lambda tensor: torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor)


class TransformersTextEncoder(nn.Module):
    """A text encoder of transformers, mean-pooled over its tokens (special ones included, as SONAR does).

    Args:
        config: Its configuration; `m2m_100` makes SONAR.
        tokenizer: Its tokenizer.
    """

    def __init__(self, config: PretrainedConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.dim: int = config.hidden_size
        self.encoder: Any = _build_encoder(config)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return sentence vectors `(batch, dim)` of `ids` and `mask`, both `(batch, length)`."""
        tokens = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask.to(tokens.dtype)[..., None]
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    def export_state(self) -> dict[str, Tensor]:
        """Return the weights under transformers' names, adapters merged."""
        return merged_state(self.encoder)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under transformers' names, strictly."""
        self.encoder.load_state_dict(state, strict=True)

    def save_config(self, folder: Path) -> None:
        """Write `config.json` and the tokenizer's files."""
        self.config.save_pretrained(folder)
        self.tokenizer.save(folder)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer's activations in the backward pass."""
        self.encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


TextEncoder = TransformersTextEncoder | SonarTextEncoder


def load_text_encoder(
    source: str | Path, *, backend: Backend = "transformers", max_tokens: int = 128
) -> TextEncoder:
    """Build the text encoder that `source` names, with its weights.

    Args:
        source: What `read_text_source` reads; for the backend `sonar` also the name of a fairseq2 card.
        backend: Which library runs it.
        max_tokens: Longer texts are cut.

    Raises:
        ValueError: The source is not found, lacks a file, or does not fit the backend.
    """
    if backend == "sonar" and _is_card_name(source):
        config, state, tokenizer = load_card(str(source), max_tokens=max_tokens)
        parts = TextSource(config, tokenizer, state)
    else:
        parts = read_text_source(source, max_tokens=max_tokens)
    if parts.state is None:
        raise ValueError(f"{source} has no {WEIGHTS_FILE}")
    with naming(Path(source)):
        encoder = build_empty(lambda: build_text_encoder(parts, backend=backend))
        encoder.load_state(parts.state)
    return encoder


def build_text_encoder(parts: TextSource, *, backend: Backend) -> TextEncoder:
    """Build an encoder of the given parts with random weights."""
    config, tokenizer = parts.config, parts.tokenizer
    if isinstance(tokenizer, SonarTokenizer) and tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the encoder embeds {config.vocab_size}: "
            "they do not belong together"
        )
    if backend == "transformers":
        return TransformersTextEncoder(config, tokenizer)
    if not isinstance(tokenizer, SonarTokenizer):
        raise ValueError(
            f"text_backend: sonar runs SONAR only, and this encoder is a {config.model_type}; "
            "use text_backend: transformers"
        )
    return SonarTextEncoder(config, tokenizer)  # type: ignore[arg-type]


def create_small_text_encoder(
    folder: str | Path,
    texts: Sequence[str],
    *,
    vocab_size: int = 2000,
    dim: int = 256,
    layers: int = 4,
    heads: int = 4,
    languages: Sequence[str] = LANGUAGES,
    pieces: Literal["unigram", "bpe"] = "unigram",
    dropout: float = 0.1,
    seed: int = 0,
) -> Path:
    """Write a small random encoder of SONAR's architecture, with a tokenizer trained on `texts`.

    The folder can be `ModelConfig.text_encoder`. The same arguments write the same bytes.

    Args:
        folder: Made if missing.
        texts: Captions in every language to come; each of their characters gets a piece.
        vocab_size: Sentencepiece pieces at most; few texts give fewer.
        dim: Width.
        layers: Transformer layers (feed-forward width 4 x `dim`).
        heads: Attention heads; must divide `dim`.
        languages: FLORES-200 codes the tokenizer shall know.
        pieces: How sentencepiece chooses them: `unigram`, SONAR's way, or `bpe`, which of few texts makes
            whole words where `unigram` cuts them up.
        dropout: Of all dropout layers; SONAR has 0.1.
        seed: Seed for the random weights.

    Returns:
        The folder.
    """
    folder = Path(folder)
    encoder = make_small_text_encoder(
        texts,
        vocab_size=vocab_size,
        dim=dim,
        layers=layers,
        heads=heads,
        languages=languages,
        pieces=pieces,
        dropout=dropout,
        seed=seed,
    )
    encoder.save_config(folder)
    save_file(encoder.export_state(), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def make_small_text_encoder(
    texts: Sequence[str],
    *,
    vocab_size: int,
    dim: int,
    layers: int,
    heads: int,
    languages: Sequence[str],
    max_tokens: int = 512,
    pieces: Literal["unigram", "bpe"] = "unigram",
    dropout: float = 0.1,
    seed: int = 0,
) -> TransformersTextEncoder:
    """Return the encoder that `create_small_text_encoder` writes; texts longer than `max_tokens` are cut."""
    model = _train_sentencepiece(texts, vocab_size, pieces)
    tokenizer = SonarTokenizer(model, languages=languages, max_tokens=max_tokens)
    config = m2m100_config(
        vocab_size=tokenizer.vocab_size, dim=dim, layers=layers, heads=heads, ffn_dim=4 * dim
    )
    config.dropout = config.attention_dropout = config.activation_dropout = dropout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformersTextEncoder(config, tokenizer)


def _train_sentencepiece(texts: Sequence[str], vocab_size: int, pieces: str) -> bytes:
    import sentencepiece

    if not any(text.strip() for text in texts):
        raise ValueError("a tokenizer cannot be trained without text: give some captions")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type=pieces,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def _build_encoder(config: PretrainedConfig) -> nn.Module:
    if config.model_type == "m2m_100":
        # Not exported at the top of the library, in 4.57 as in 5.x.
        from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder

        return M2M100Encoder(config)  # type: ignore[arg-type]
    from transformers import AutoModel

    return without_pooler(AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False))


def _is_card_name(source: str | Path) -> bool:
    return not Path(source).exists() and "/" not in str(source) and Path(source).suffix != ".pt"

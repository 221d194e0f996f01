"""Text encoders of ML-CLAP: SONAR by either backend, or any text encoder of transformers with mean pooling.

A text encoder is a module with `dim`, `tokenizer` and `forward(ids, mask) -> (batch, dim)`; languages may be
mixed in a batch, for a text's language is its first token. Sources:

- a hub id or folder with `config.json` and `model.safetensors`: SONAR where the config says M2M100 (then also
  `sentencepiece.bpe.model`), else whatever `AutoModel` makes of it;
- SONAR's published `.pt`, with its `sentencepiece*.model` in the same folder;
- for the backend `sonar`, the name of a fairseq2 card.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ml_clap.config import LANGUAGES
from ml_clap.sonar import SonarTextEncoder, load_card, m2m100_config, sonar_config, to_our_layout
from ml_clap.tokenizer import HFTokenizer, SonarTokenizer, Tokenizer, find_sentencepiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Backend = Literal["transformers", "sonar"]
WEIGHTS_FILE = "model.safetensors"
_RANDOM = {"normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"}
_HUB_FILES = [
    "config.json",
    WEIGHTS_FILE,
    "*.model",
    "*tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
]


class SkipRandomInit(TorchFunctionMode):
    """Within it new modules keep whatever memory held: for weights that are loaded next, seconds saved."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # By name: both Tensor.normal_ and torch.nn.init.normal_.
        if getattr(func, "__name__", "") in _RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass(frozen=True)
class TextSource:
    """What a text encoder is made of; `state` in the layout of transformers, None where only a config is."""

    config: PretrainedConfig
    tokenizer: Tokenizer
    state: dict[str, Tensor] | None


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
        """Sentence vectors `(batch, dim)` of `ids` and `mask`, both `(batch, length)`."""
        tokens = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask.to(tokens.dtype)[..., None]
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    def export_state(self) -> dict[str, Tensor]:
        """Weights under transformers' names."""
        return dict(self.encoder.state_dict())

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
    """Build the text encoder that `source` names (see the module's docstring), with its weights.

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
    with SkipRandomInit():
        encoder = build_text_encoder(parts, backend=backend)
    encoder.load_state(parts.state)
    return encoder


def build_text_encoder(parts: TextSource, *, backend: Backend) -> TextEncoder:
    """An encoder of the given parts with random weights."""
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


def read_text_source(source: str | Path, *, max_tokens: int) -> TextSource:
    """Read configuration, tokenizer and weights of a hub id, a folder or a published `.pt`."""
    if Path(source).suffix == ".pt":
        return _read_published(Path(source), max_tokens)
    folder = _local_folder(source)
    config = _read_config(folder)
    if config.model_type == "m2m_100":
        return _read_sonar_folder(folder, config, max_tokens)
    from transformers import AutoTokenizer

    tokenizer = HFTokenizer(AutoTokenizer.from_pretrained(folder), max_tokens=max_tokens)
    has_weights = any(folder.glob("*.safetensors")) or (folder / "pytorch_model.bin").is_file()
    return TextSource(config, tokenizer, _read_auto_state(folder) if has_weights else None)


def load_pt(path: Path) -> dict[str, Any]:
    """A `.pt` file of tensors, flat or below `model` (the first fairseq: `model` or `state_dict`)."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as e:
        raise ValueError(f"{path} cannot be read as weights: {e}") from e
    for key in ("model", "state_dict"):
        state = state[key] if isinstance(state.get(key), Mapping) else state
    return dict(state)


def create_small_text_encoder(
    folder: str | Path,
    texts: Sequence[str],
    *,
    vocab_size: int = 2000,
    dim: int = 256,
    layers: int = 4,
    heads: int = 4,
    languages: Sequence[str] = LANGUAGES,
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
        seed: Of the random weights.

    Returns:
        The folder.
    """
    folder = Path(folder)
    tokenizer = SonarTokenizer(_train_sentencepiece(texts, vocab_size), languages=languages)
    tokenizer.save(folder)
    config = m2m100_config(
        vocab_size=tokenizer.vocab_size, dim=dim, layers=layers, heads=heads, ffn_dim=4 * dim
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TransformersTextEncoder(config, tokenizer)
    config.save_pretrained(folder)
    save_file(encoder.export_state(), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    return folder


def _train_sentencepiece(texts: Sequence[str], vocab_size: int) -> bytes:
    import sentencepiece

    if not any(text.strip() for text in texts):
        raise ValueError("a tokenizer cannot be trained without text: give some captions")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="unigram",
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

    return _without_pooler(AutoModel.from_config(config, dtype=torch.float32))


def _without_pooler(model: Any) -> Any:
    """Mean pooling leaves BERT's pooler without a gradient, which distributed training refuses."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def _read_auto_state(folder: Path) -> dict[str, Tensor]:
    from transformers import AutoModel
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a missing pooler is no news: it is not used; all else is checked below
    try:
        model, info = AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    finally:
        logging.set_verbosity(verbosity)
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        names = ", ".join(sorted(missing)[:5])
        raise ValueError(f"{folder} lacks weights of its {type(model).__name__}: {names}")
    return dict(_without_pooler(model).state_dict())


def _read_config(folder: Path) -> PretrainedConfig:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    if config.model_type == "m2m_100":
        # SONAR has no layer drop, and a skipped layer would have no gradient.
        config.encoder_layerdrop = 0.0
    elif config.is_encoder_decoder:
        raise ValueError(
            f"{folder} holds an encoder with a decoder ({config.model_type}); a text encoder alone is "
            "needed, such as SONAR, BERT, XLM-R or e5"
        )
    return config


def _read_sonar_folder(folder: Path, config: PretrainedConfig, max_tokens: int) -> TextSource:
    tokenizer = SonarTokenizer.from_folder(folder, max_tokens=max_tokens)
    weights = folder / WEIGHTS_FILE
    state = to_our_layout(load_file(weights)) if weights.is_file() else None
    return TextSource(config, tokenizer, state)


def _read_published(path: Path, max_tokens: int) -> TextSource:
    state = to_our_layout(load_pt(path))
    tokenizer = SonarTokenizer(find_sentencepiece(path.parent), max_tokens=max_tokens)
    return TextSource(sonar_config(state), tokenizer, state)


def _local_folder(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path) or source.count("/") != 1:
        raise ValueError(
            f"text_encoder: {source} is neither a folder, nor a hub id (owner/name), nor a .pt file"
        )
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, allow_patterns=_HUB_FILES))


def _is_card_name(source: str | Path) -> bool:
    return not Path(source).exists() and "/" not in str(source) and Path(source).suffix != ".pt"

"""SONAR's text encoder: its weight layouts, and the authors' own implementation (the extra `sonar`).

Weights come in three layouts: fairseq2's (the published encoder and the ML-CLAP checkpoints), that of the
first fairseq, and transformers' M2M100 encoder. The last one is the package's own: everything is saved in it,
so a model trained with one backend loads in the other.

fairseq2's layout has `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3, the two others `<s>` 0, `<pad>` 1, `</s>` 2,
`<unk>` 3: rows of the embedding and token ids change places, in nothing else do they differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ml_clap.models.tokenizer import SonarTokenizer

if TYPE_CHECKING:
    from transformers import M2M100Config

FAIRSEQ2_EMBEDDING = "encoder_frontend.embed.weight"
EMBEDDING = "embed_tokens.weight"
_FAIRSEQ2_ROWS = (1, 3, 0, 2)
"""Row of our layout that is row 0, 1, 2, 3 of fairseq2's."""
_OUR_ROWS = (2, 0, 3, 1)
"""Row of fairseq2's layout that is row 0, 1, 2, 3 of ours."""
_NAMES = (
    (r"^encoder\.layers\.", "layers."),
    (r"\.self_attn\.output_proj\.", ".self_attn.out_proj."),
    (r"\.ffn\.inner_proj\.", ".fc1."),
    (r"\.ffn\.output_proj\.", ".fc2."),
    (r"\.ffn_layer_norm\.", ".final_layer_norm."),
    (r"^encoder_frontend\.embed\.", "embed_tokens."),
)
_NAMES_BACK = (
    (r"^layers\.", "encoder.layers."),
    (r"\.self_attn\.out_proj\.", ".self_attn.output_proj."),
    (r"\.fc1\.", ".ffn.inner_proj."),
    (r"\.fc2\.", ".ffn.output_proj."),
    (r"\.final_layer_norm\.", ".ffn_layer_norm."),
    (r"^embed_tokens\.", "encoder_frontend.embed."),
)
_PREFIXES = ("model.encoder.", "encoder.")


def to_our_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return SONAR's text encoder in transformers' layout, from any published one.

    Accepts fairseq2's names, the first fairseq's (with its `version` and position entries) and transformers',
    the latter also with `encoder.` before each name and the embedding called `shared`.

    Raises:
        ValueError: It is another model.
    """
    if FAIRSEQ2_EMBEDDING in state:
        return _reorder_embedding(_rename(state, _NAMES), _OUR_ROWS)
    prefix = next((prefix for prefix in _PREFIXES if f"{prefix}layer_norm.weight" in state), "")
    kept = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(tuple(prefix + part for part in ("layers.", "layer_norm.", "embed_tokens.")))
    }
    shared = next((state[name] for name in ("shared.weight", "model.shared.weight") if name in state), None)
    if EMBEDDING not in kept and shared is not None:
        kept[EMBEDDING] = shared
    if EMBEDDING not in kept:
        raise ValueError(
            f"not the weights of SONAR's text encoder: they begin with {', '.join(list(state)[:3])}"
        )
    return kept


def to_fairseq2_layout(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of our layout under fairseq2's names: the inverse of `to_our_layout`."""
    return _reorder_embedding(_rename(state, _NAMES_BACK), _FAIRSEQ2_ROWS)


def to_fairseq2_ids(ids: Tensor) -> Tensor:
    """Renumber token ids of our layout as fairseq2's."""
    return torch.tensor(_OUR_ROWS_INVERSE, device=ids.device)[ids.clamp(max=3)].where(ids < 4, ids)


_OUR_ROWS_INVERSE = tuple(_FAIRSEQ2_ROWS.index(row) for row in range(4))


def sonar_config(state: Mapping[str, Tensor], *, head_width: int = 64) -> M2M100Config:
    """Return the architecture that a state dict in our layout has.

    `head_width`, the width of one attention head, shows in no tensor's shape; SONAR's is 64.
    """
    vocab_size, dim = state[EMBEDDING].shape
    return m2m100_config(
        vocab_size=vocab_size,
        dim=dim,
        layers=len({name.split(".")[1] for name in state if name.startswith("layers.")}),
        heads=max(dim // head_width, 1),
        ffn_dim=len(state["layers.0.fc1.bias"]),
    )


def m2m100_config(*, vocab_size: int, dim: int, layers: int, heads: int, ffn_dim: int) -> M2M100Config:
    """Return SONAR's architecture in transformers' terms, with its dropout rates and 512 positions."""
    from transformers import M2M100Config

    return M2M100Config(
        vocab_size=vocab_size,
        d_model=dim,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=ffn_dim,
        decoder_layers=0,
        activation_function="relu",
        max_position_embeddings=512,
        scale_embedding=True,
        encoder_layerdrop=0.0,
        dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )


class SonarTextEncoder(nn.Module):
    """SONAR's text encoder as its authors run it, mean-pooled.

    Token ids are the package's own (see `ml_clap.models.tokenizer`) and are renumbered for fairseq2 inside.

    Args:
        config: Architecture, in transformers' terms.
        tokenizer: Its tokenizer.

    Raises:
        ImportError: The extra `sonar` is not installed.
    """

    def __init__(self, config: M2M100Config, tokenizer: SonarTokenizer) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.dim = config.d_model
        self.encoder: Any = _build_fairseq2_model(config)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return sentence vectors `(batch, dim)` of `ids` and `mask` `(batch, length)`, right-padded."""
        from fairseq2.nn import BatchLayout

        layout = BatchLayout.of(ids, mask.sum(dim=1).tolist())
        return self.encoder(to_fairseq2_ids(ids), layout).sentence_embeddings

    def export_state(self) -> dict[str, Tensor]:
        """Return the weights in our layout."""
        return to_our_layout(self.encoder.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights of our layout, strictly."""
        self.encoder.load_state_dict(to_fairseq2_layout(state), strict=True)

    def save_config(self, folder: Path) -> None:
        """Write `config.json` and the tokenizer's files."""
        self.config.save_pretrained(folder)
        self.tokenizer.save(folder)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer's activations in the backward pass."""
        from fairseq2.models.utils.ac import apply_layerwise_ac

        apply_layerwise_ac(self.encoder.encoder.layers, every_nth_layer=1)


def _build_fairseq2_model(config: M2M100Config) -> nn.Module:
    import_sonar()
    from fairseq2.data.tokenizers import VocabularyInfo
    from sonar.models.sonar_text import SonarTextEncoderConfig, SonarTextEncoderFactory

    settings = SonarTextEncoderConfig(
        model_dim=config.d_model,
        max_seq_len=config.max_position_embeddings,
        # The published checkpoint is built with 1 as its padding index, though the tokenizer pads with 0.
        vocab_info=VocabularyInfo(size=config.vocab_size, unk_idx=1, bos_idx=2, eos_idx=3, pad_idx=1),
        num_encoder_layers=config.encoder_layers,
        num_decoder_layers=config.encoder_layers,
        num_encoder_attn_heads=config.encoder_attention_heads,
        num_decoder_attn_heads=config.encoder_attention_heads,
        ffn_inner_dim=config.encoder_ffn_dim,
        pooling="mean",
        no_scale_embedding=not config.scale_embedding,
        emb_dropout_p=config.dropout,
        attention_dropout_p=config.attention_dropout,
        activation_dropout_p=config.activation_dropout,
        _from_fairseq=True,
    )
    return SonarTextEncoderFactory(settings).create_model()


def has_sonar() -> bool:
    """Whether the extra `sonar` is installed."""
    return find_spec("fairseq2") is not None and find_spec("sonar") is not None


def import_sonar() -> None:
    """Import fairseq2 and sonar, or say how to get them or do without."""
    try:
        # In this order: soundfile's wheel brings the libsndfile that fairseq2 looks for.
        for module in ("soundfile", "fairseq2", "sonar"):
            import_module(module)
    except (ImportError, OSError) as e:
        raise ImportError(
            "text_backend: sonar needs SONAR's own library, which does not import here: "
            'pip install "ml-clap[sonar]" (Python 3.11 or 3.12, on Linux x86-64 or Apple silicon). '
            f"text_backend: transformers runs the same encoder everywhere ({e})"
        ) from e


def load_card(name: str, *, max_tokens: int) -> tuple[M2M100Config, dict[str, Tensor], SonarTokenizer]:
    """Load architecture, weights (our layout) and tokenizer of one of fairseq2's asset cards.

    fairseq2 downloads what its cache lacks; `text_sonar_basic_encoder` is the published SONAR.
    """
    import_sonar()
    from fairseq2.assets import AssetDownloadManager, get_asset_store
    from fairseq2.models.nllb import get_nllb_tokenizer_hub
    from fairseq2.runtime.dependency import get_dependency_resolver
    from sonar.models.sonar_text import get_sonar_text_encoder_hub

    card = get_asset_store().retrieve_card(name)
    hub = get_sonar_text_encoder_hub()
    settings: Any = hub.get_model_config(card)
    model: Any = hub.load_model(card, device=torch.device("cpu"), dtype=torch.float32)
    downloads: Any = get_dependency_resolver().resolve(AssetDownloadManager)  # type: ignore[type-abstract]
    pieces = downloads.download_tokenizer(card.field("tokenizer").as_uri(), name)
    languages = get_nllb_tokenizer_hub().get_tokenizer_config(card).langs
    state = to_our_layout(model.state_dict())
    config = sonar_config(state, head_width=settings.model_dim // settings.num_encoder_attn_heads)
    return config, state, SonarTokenizer(pieces, languages=languages, max_tokens=max_tokens)


def _rename(state: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _reorder_embedding(state: dict[str, Tensor], rows: tuple[int, ...]) -> dict[str, Tensor]:
    name = EMBEDDING if EMBEDDING in state else FAIRSEQ2_EMBEDDING
    weight = state[name].clone()
    weight[: len(rows)] = state[name][list(rows)]
    return {**state, name: weight}

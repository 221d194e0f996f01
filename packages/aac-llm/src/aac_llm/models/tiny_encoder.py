"""A small text encoder with random weights and its own tokenizer, made of the texts it is to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def create_tiny_encoder(
    texts: Iterable[str],
    *,
    vocab_size: int = 4096,
    hidden_size: int = 128,
    num_layers: int = 4,
    num_heads: int = 4,
    max_tokens: int = 64,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Return a BERT with random weights, and a WordPiece tokenizer trained on `texts`.

    Args:
        texts: what the tokenizer learns from.
        vocab_size: most tokens that it learns.
        hidden_size: width of the encoder; a multiple of `num_heads`.
        num_layers: its depth.
        num_heads: attention heads of a layer.
        max_tokens: longest text.
        seed: of the weights.
    """
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = _train_tokenizer(texts, vocab_size, max_tokens)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=max_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    # The caller's own draws must not depend on this model.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertModel(config), tokenizer


def _train_tokenizer(texts: Iterable[str], vocab_size: int, max_tokens: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    places = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=places)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        clean_up_tokenization_spaces=False,
    )

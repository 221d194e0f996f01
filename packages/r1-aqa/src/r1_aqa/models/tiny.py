"""Make a small Qwen2-Audio with random weights, for the quickstart and the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")


def create_tiny_audio_llm(
    folder: str | Path,
    texts: Iterable[str],
    *,
    vocab_size: int = 512,
    width: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    encoder_width: int = 64,
    encoder_layers: int = 2,
    num_mel_bins: int = 40,
    max_seconds: int = 4,
    tags: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write a model and its processor in `folder`, in the layout of the published ones.

    Args:
        folder: where to write it.
        texts: what the tokenizer is trained on: questions, options and answers.
        vocab_size: tokens of the byte-level BPE, special ones included.
        width: width of the language model, whose feed-forward layers are twice as wide.
        num_layers: layers of the language model.
        num_heads: attention heads of language model and encoder.
        encoder_width: width of the audio encoder.
        encoder_layers: layers of the audio encoder.
        num_mel_bins: mel bins of the features.
        max_seconds: longest audio; all audio is padded to it, as the family does to 30 s.
        tags: texts that are a token each, such as those around an answer.
        seed: seed for the weights.
    """
    processor = Qwen2AudioProcessor(
        WhisperFeatureExtractor(
            feature_size=num_mel_bins,
            chunk_length=max_seconds,
            sampling_rate=16_000,
            return_attention_mask=True,
        ),
        train_tokenizer(texts, vocab_size, tags),
    )
    tokenizer = processor.tokenizer
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": num_mel_bins,
            "d_model": encoder_width,
            "encoder_layers": encoder_layers,
            "encoder_attention_heads": num_heads,
            "encoder_ffn_dim": 2 * encoder_width,
            # 100 frames a second, halved by a convolution.
            "max_source_positions": 50 * max_seconds,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": num_layers,
            "num_attention_heads": num_heads,
            "num_key_value_heads": num_heads,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, tags: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE with the family's special tokens and `tags`, padding on the left."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        # All bytes, so that no text is unknown.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(list(tags))  # not special: they stay in the text that is decoded
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        padding_side="left",
        # Without it transformers 4.57 adds token types, which generation refuses.
        model_input_names=["input_ids", "attention_mask"],
    )

"""A small random language model with its own tokenizer, made on the spot for tests and the quickstart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

BOS, EOS = "<s>", "</s>"


def create_tiny_decoder(
    folder: str | Path,
    texts: Iterable[str],
    *,
    vocab_size: int = 2048,
    hidden_size: int = 128,
    num_layers: int = 2,
    num_heads: int = 4,
    seed: int = 0,
) -> Path:
    """Write a Llama with random weights and a byte-pair tokenizer trained on `texts` into `folder`.

    The tokenizer pads with EOS, as those of many published models do.

    Args:
        folder: where `AutoModelForCausalLM.from_pretrained` then finds both.
        texts: what the tokenizer learns from, the prompt among them.
        vocab_size: most tokens that it learns.
        hidden_size: width of the model; a multiple of `num_heads`.
        num_layers: its depth.
        num_heads: attention heads of a layer.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        ValueError: `num_heads` does not divide `hidden_size`.
    """
    if hidden_size % num_heads:
        raise ValueError(f"hidden_size must be a multiple of num_heads, got {hidden_size} and {num_heads}")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _train_tokenizer(texts, vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    # The caller's own draws must not depend on this model.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _train_tokenizer(texts: Iterable[str], vocab_size: int):  # type: ignore[no-untyped-def]  # lazy import
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # Byte-level, so that any caption can be written, whatever it was trained on.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        clean_up_tokenization_spaces=False,
    )

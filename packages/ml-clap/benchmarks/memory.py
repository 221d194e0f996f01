"""Whether ml-clap's bulk verbs hold memory in proportion to the clips: the same commands on 1,000 and 10,000.

    python packages/ml-clap/benchmarks/memory.py

Clips are half a second of noise with one caption; models are random and tiny, so that what grows is not
hidden behind weights. A sound of half a second takes 32 kB once decoded.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from commands import add_flags, compare, make_sounds, write_rows

LANGUAGES = ("eng_Latn", "fra_Latn")
WORDS = ("dog", "rain", "bell", "door", "bird", "horn", "wind", "clock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_flags(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(options.folder or Path(name), jobs, options)


def jobs(folder: Path, count: int) -> dict[str, list[str]]:
    """Make the clips and the models, and return the commands."""
    captions = [caption(number) for number in range(count)]
    sounds = make_sounds(folder / "sounds", count)
    rows = (
        {"id": path.stem, "audio": str(path), "captions": {"eng_Latn": [text]}}
        for path, text in zip(sounds, captions, strict=True)
    )
    manifest = str(write_rows(folder / "manifest.jsonl", rows))
    model = make_model(folder, captions[:100])
    translator = make_translator(folder / "translator", captions[:100])
    index, translated = str(folder / "index"), str(folder / "translated")
    return {
        "index": ["ml_clap", "index", manifest, "--model", model, "--out", index],
        "search": ["ml_clap", "search", "a dog", "--index", index],
        "evaluate": ["ml_clap", "evaluate", manifest, "--model", model],
        "translate": [
            *("ml_clap", "translate", manifest, "--languages", "fra_Latn", "--translator", translator),
            *("--out", translated, "--max_tokens", "4"),
        ],
    }


def caption(number: int) -> str:
    """Return a caption that no other clip has."""
    return f"a {WORDS[number % 8]} and a {WORDS[number // 8 % 8]}, number {number}"


def make_model(folder: Path, captions: list[str]) -> str:
    from audio_common.config import CEDConfig
    from ml_clap.config.model import ModelConfig
    from ml_clap.models.ml_clap import MLCLAP
    from ml_clap.models.text_encoder import create_small_text_encoder

    text = create_small_text_encoder(
        folder / "text", captions, vocab_size=100, dim=16, layers=1, heads=2, languages=LANGUAGES
    )
    audio = CEDConfig(embed_dim=64, num_heads=1, depth=1)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(text), embed_dim=256)).save_pretrained(folder / "model")
    return str(folder / "model")


def make_translator(folder: Path, captions: list[str]) -> str:
    """Save a random M2M100 with NLLB's kind of tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import M2M100Config, M2M100ForConditionalGeneration, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=300, special_tokens=special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(LANGUAGES),
    )
    fast.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(fast),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=128,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlanguage: multilingual\nlicense: cc0-1.0\n---\n")
    return str(folder)


if __name__ == "__main__":
    main()

"""Whether aac-llm's bulk verbs hold memory in proportion to the clips: the same commands on 1,000 and 10,000.

    python packages/aac-llm/benchmarks/memory.py

Clips are half a second of noise; models are random and tiny, so that what grows is not hidden behind weights.
One caption in twenty is broken, so that `correct` asks its language model about it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from commands import add_flags, compare, make_sounds, write_rows

TEXT = "a dog barks while rain falls"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_flags(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(options.folder or Path(name), jobs, options)


def jobs(folder: Path, count: int) -> dict[str, list[str]]:
    """Make the clips, the captions and the models, and return the commands."""
    from aac_llm.models.tiny import create_tiny_decoder

    sounds = make_sounds(folder / "sounds", count)
    captions = (TEXT if number % 20 else "a dog dog dog barks and and" for number in range(count))
    rows = (
        {"id": path.stem, "audio": str(path), "caption": text, "score": -1.0}
        for path, text in zip(sounds, captions, strict=True)
    )
    written = str(write_rows(folder / "written.jsonl", rows))
    decoder = str(create_tiny_decoder(folder / "decoder", [TEXT], hidden_size=16, num_layers=1, num_heads=2))
    model = make_model(folder, decoder)
    return {
        "caption": [
            *("aac_llm", "caption", str(folder / "sounds"), "--model", model, "--num_beams", "1"),
            *("--max_new_tokens", "4", "--out", str(folder / "captions.jsonl")),
        ],
        "correct": [
            "aac_llm",
            "correct",
            written,
            "--llm",
            decoder,
            "--out",
            str(folder / "corrected.jsonl"),
        ],
    }


def make_model(folder: Path, decoder: str) -> str:
    from aac_llm.config.model import BridgeConfig, ModelConfig
    from aac_llm.models.captioner_model import CaptionModel
    from audio_common.config import CEDConfig

    config = ModelConfig(
        decoder=decoder,
        decoder_dtype="float32",
        encoder=CEDConfig(embed_dim=64, num_heads=1, depth=1),
        bridge=BridgeConfig(hidden_size=16, num_heads=2, intermediate_size=32),
    )
    CaptionModel.from_config(config).save_pretrained(folder / "model")
    return str(folder / "model")


if __name__ == "__main__":
    main()

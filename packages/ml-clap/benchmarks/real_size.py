"""CED-base and a text encoder of SONAR's size (766 M) on one GPU: training steps, and clips encoded a second.

    python packages/ml-clap/benchmarks/real_size.py --json real_size.json
    python packages/ml-clap/benchmarks/real_size.py --tiny    # the same of small encoders, to try it

The paper's architecture with random weights: the text encoder is frozen but for its projection, the audio
encoder is trained, in bfloat16. Clips are noise of 2 to 10 s, captions ten words. A batch beyond
`--gradient_cache` pairs is encoded in parts of so many, with the gradients of the whole
(`trainers/gradient_caching.py`). The authors' way pads clips with zeros, which are sound to the encoder, and
encodes a batch at once; for retrieval it encodes a clip once for each of its five captions, in file order.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from gradient_caching import update
from measurement import DEVICE, Measured, Sheet, add_flags, timed
from ml_clap.config.model import ModelConfig
from ml_clap.config.train import AugmentConfig, DataConfig, TrainConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.sonar import m2m100_config
from ml_clap.models.text_encoder import TransformersTextEncoder, make_small_text_encoder
from ml_clap.trainers.objective import Inputs, Towers

SONAR = {"vocab_size": 256_206, "dim": 1024, "layers": 24, "heads": 16, "ffn_dim": 8192}
SMALL = {"vocab_size": 2_000, "dim": 64, "layers": 2, "heads": 4, "ffn_dim": 256}
RATE = 16_000
NUM_CAPTIONS = 5
WORDS = "a dog barks and birds sing in the quiet garden"


def main(words: list[str] | None = None) -> int:
    """Measure all; return the exit code."""
    options = read_options(words)
    sheet = Sheet("ml-clap at real size", options)
    model = make_model(options)
    sheet.facts = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
    for way in ("ours", "authors"):
        model.audio_encoder = make_encoder(way, options, model.audio_encoder)
        for size in options.batch_sizes:
            sheet.add(f"training, {size} pairs", way, partial(train, model, size, way, options))
        sheet.add("clips for retrieval", way, partial(encode, model, way, options))
    return sheet.finish()


def read_options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--gradient_cache", type=int, default=128, help="pairs that are encoded at once")
    parser.add_argument("--max_seconds", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=3, help="to time, after one that is not timed")
    add_flags(parser)
    return parser.parse_args(words)


def make_model(options: argparse.Namespace) -> MLCLAP:
    """Make all on the device; of the small text encoder only the tokenizer is used."""
    sizes = SMALL if options.tiny else SONAR
    tokenizer = make_small_text_encoder(
        [WORDS], vocab_size=200, dim=8, layers=1, heads=1, languages=("eng_Latn",)
    ).tokenizer
    preset = CED_PRESETS["ced-tiny" if options.tiny else "ced-base"]
    torch.manual_seed(0)
    with torch.device(DEVICE):
        text = TransformersTextEncoder(m2m100_config(**sizes), tokenizer)
    config = ModelConfig(audio=preset, text_encoder="random", embed_dim=1024)
    return MLCLAP(config, audio_encoder=CED(preset), text_encoder=text).to(DEVICE).train()


def make_encoder(way: str, options: argparse.Namespace, like: CED) -> CED:
    """Return an encoder with the same weights that treats padding as the way does."""
    encoder = CED(replace(like.config, mode="masked" if way == "ours" else "reference"))
    encoder.load_state_dict(like.state_dict())
    return encoder.to(DEVICE)


def make_inputs(model: MLCLAP, count: int, max_seconds: float) -> Inputs:
    """Make pairs in the order of a shuffled file: lengths of 2 to `max_seconds`, padded to the longest."""
    waveforms = 0.1 * torch.randn(count, round(RATE * max_seconds), device=DEVICE)
    ids, mask = model.tokenize([WORDS] * count)
    shuffle = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    lengths = (torch.linspace(2.0, max_seconds, count) * RATE).long()[shuffle]
    return Inputs(waveforms, lengths, ids.to(DEVICE), mask.to(DEVICE), None)


def train(model: MLCLAP, size: int, way: str, options: argparse.Namespace) -> Measured:
    """Update the model with batches of `size` pairs."""
    model.audio_encoder.freeze_batch_norm()
    towers = Towers(model.train(), AugmentConfig())
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-5)
    inputs = make_inputs(model, size, options.max_seconds)
    config = TrainConfig(out=Path("unused"), data=DataConfig(train=(Path("unused"),)))
    at_once = options.gradient_cache if way == "ours" else size

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            update(towers, inputs, at_once, config)
        optimizer.step()
        optimizer.zero_grad()

    return timed(step, times=options.steps, amount=size, unit="pairs")


@torch.inference_mode()
def encode(model: MLCLAP, way: str, options: argparse.Namespace) -> Measured:
    """Encode the sounds of a test set, 128 rows at once."""
    model.eval()
    count = options.batch_sizes[0]
    inputs = make_inputs(model, count, options.max_seconds)
    order = inputs.lengths.argsort() if way == "ours" else torch.arange(count).repeat_interleave(NUM_CAPTIONS)

    def sounds() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            for rows in order.split(128):
                lengths = inputs.lengths[rows]
                model.embed_audio(inputs.waveforms[rows, : int(lengths.max())], lengths)

    return timed(sounds, times=options.steps, amount=count, unit="clips")


if __name__ == "__main__":
    raise SystemExit(main())

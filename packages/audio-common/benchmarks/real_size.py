"""CED-base on one device: clips a second of equal and of mixed lengths, in each number format, and compiled.

    python packages/audio-common/benchmarks/real_size.py --json real_size.json
    python packages/audio-common/benchmarks/real_size.py --tiny    # a small encoder, to try it

Random weights: they do not change the work. Clips are noise, of ten seconds or of 1 to 30. The other way is
the authors' (see `authors_way.py`) in the same number format: zeros up to the longest clip, attention with
its map in memory. int8 is for a CPU. Tests marked `gpu` run apart: `pytest -m gpu packages/audio-common`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from audio_common.ced import CED
from audio_common.config import CEDConfig
from authors_way import as_the_authors
from measurement import DEVICE, Measured, Sheet, add_flags, timed
from torch import Tensor, nn

RATE = 16_000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3}


def main() -> int:
    options = read_options()
    sheet = Sheet("CED-base, real size", options)
    sheet.facts["parameters"] = sum(p.numel() for p in CED(config_of(options)).parameters())
    with torch.inference_mode():
        for kind in ("equal", "mixed"):
            clips = make_clips(kind, options)
            for precision in ("fp32", "bf16"):
                sheet.add(f"{kind} {precision}", "ours", ours(clips, precision, options))
                sheet.add(f"{kind} {precision}", "authors", authors(clips, precision, options))
            if DEVICE == "cpu":
                sheet.add(f"{kind} int8", "ours", ours(clips, "int8", options))
                sheet.add(f"{kind} int8", "fp32", ours(clips, "fp32", options))
            else:
                sheet.add(f"{kind} bf16 compiled", "ours", compiled(clips, options))
                sheet.add(f"{kind} bf16 compiled", "eager", ours(clips, "bf16", options))
    return sheet.finish()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_flags(parser)
    parser.add_argument("--clips", type=int, help="encoded at once (default: 64 on a GPU, else 8; 2 if tiny)")
    parser.add_argument("--repeats", type=int, default=3, help="to time, after one that is not timed")
    options = parser.parse_args()
    options.clips = options.clips or (2 if options.tiny else 64 if DEVICE == "cuda" else 8)
    return options


def config_of(options: argparse.Namespace) -> CEDConfig:
    return CEDConfig(**SMALL) if options.tiny else CEDConfig()


def make_clips(kind: str, options: argparse.Namespace) -> list[Tensor]:
    longest = 3.0 if options.tiny else 30.0
    equal = [longest / 3] * options.clips
    seconds = equal if kind == "equal" else torch.linspace(1.0, longest, options.clips).tolist()
    return [0.1 * torch.randn(round(RATE * each), device=DEVICE) for each in seconds]


def ours(clips: list[Tensor], precision: str, options: argparse.Namespace) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = CED(config_of(options)).eval().to(DEVICE).set_precision(precision)
        return encode(model, clips, precision, options)

    return measure


def authors(clips: list[Tensor], precision: str, options: argparse.Namespace) -> Callable[[], Measured]:
    def measure() -> Measured:
        model = as_the_authors("ced-base", **(SMALL if options.tiny else {}))
        return encode(model.to(DEVICE, DTYPES[precision]), clips, precision, options)

    return measure


def compiled(clips: list[Tensor], options: argparse.Namespace) -> Callable[[], Measured]:
    """Blocks compiled; the time of compiling is in the run that is not timed."""

    def measure() -> Measured:
        model = CED(config_of(options)).eval().to(DEVICE).set_precision("bf16")
        model.attention = "padded"  # static shapes
        for block in model.blocks:
            block.compile()
        return encode(model, clips, "bf16", options)

    return measure


def encode(model: CED, clips: list[Tensor], precision: str, options: argparse.Namespace) -> Measured:
    waveforms, lengths = nn.utils.rnn.pad_sequence(clips, batch_first=True), [len(clip) for clip in clips]
    dtype = "bfloat16" if precision == "bf16" else "float32"

    def run() -> object:
        return model(waveforms, lengths, classify=True)

    return timed(run, times=options.repeats, amount=len(clips), unit="clips", dtype=dtype)


if __name__ == "__main__":
    sys.exit(main())

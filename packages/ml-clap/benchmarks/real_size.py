"""CED-base and a text encoder of SONAR's size (766 M) on one GPU: training steps, and clips encoded a second.

    python packages/ml-clap/benchmarks/real_size.py --json real_size.json
    python packages/ml-clap/benchmarks/real_size.py --tiny    # the same of small encoders, to try it

The paper's architecture with random weights: the text encoder is frozen but for its projection, the audio
encoder is trained, in bfloat16. Clips are ten seconds of noise, captions ten words. A batch beyond
`--gradient_cache` pairs is encoded in parts of so many, with the gradients of the whole
(`trainers/gradient_caching.py`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from gradient_caching import update
from ml_clap.config.model import ModelConfig
from ml_clap.config.train import AugmentConfig, DataConfig, TrainConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.sonar import m2m100_config
from ml_clap.models.text_encoder import TransformersTextEncoder, make_small_text_encoder
from ml_clap.trainers.objective import Inputs, Towers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SONAR = {"vocab_size": 256_206, "dim": 1024, "layers": 24, "heads": 16, "ffn_dim": 8192}
SMALL = {"vocab_size": 2_000, "dim": 64, "layers": 2, "heads": 4, "ffn_dim": 256}
SECONDS, RATE = 10, 16_000
WORDS = "a dog barks and birds sing in the quiet garden"


def main() -> None:
    options = read_options()
    model = make_model(options)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rows = [{"device": name(), "parameters": sum(p.numel() for p in model.parameters()), "trained": trained}]
    rows += [train(model, size, options) for size in options.batch_sizes]
    rows.append(encode(model, options))
    for row in rows:
        print(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--gradient_cache", type=int, default=128, help="pairs that are encoded at once")
    parser.add_argument("--steps", type=int, default=3, help="to time, after one that is not timed")
    parser.add_argument("--tiny", action="store_true", help="small encoders, on whatever device there is")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


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


def make_inputs(model: MLCLAP, count: int) -> Inputs:
    waveforms = 0.1 * torch.randn(count, RATE * SECONDS, device=DEVICE)
    ids, mask = model.tokenize([WORDS] * count)
    lengths = torch.full((count,), waveforms.shape[1])
    return Inputs(waveforms, lengths, ids.to(DEVICE), mask.to(DEVICE), None)


def train(model: MLCLAP, size: int, options: argparse.Namespace) -> dict[str, float]:
    model.audio_encoder.freeze_batch_norm()
    towers = Towers(model.train(), AugmentConfig())
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-5)
    inputs = make_inputs(model, size)
    config = TrainConfig(out=Path("unused"), data=DataConfig(train=(Path("unused"),)))

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            update(towers, inputs, options.gradient_cache, config)
        optimizer.step()
        optimizer.zero_grad()

    reset_peak()
    seconds = mean_seconds(step, options.steps)
    return {
        "batch_size": size,
        "encoded_at_once": min(size, options.gradient_cache),
        "step_seconds": seconds,
        "clips_per_second": size / seconds,
        "peak_gigabytes": peak(),
    }


@torch.inference_mode()
def encode(model: MLCLAP, options: argparse.Namespace) -> dict[str, float]:
    model.eval()
    inputs = make_inputs(model, options.batch_sizes[0])

    def sounds() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            model.embed_audio(inputs.waveforms, inputs.lengths)

    reset_peak()
    seconds = mean_seconds(sounds, options.steps)
    return {"clips_encoded_per_second": len(inputs.waveforms) / seconds, "peak_gigabytes": peak()}


def mean_seconds(run: Callable[[], None], times: int) -> float:
    run()
    synchronize()
    started = time.perf_counter()
    for _ in range(times):
        run()
    synchronize()
    return (time.perf_counter() - started) / times


def name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


if __name__ == "__main__":
    main()

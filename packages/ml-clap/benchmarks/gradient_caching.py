"""Memory and time of an update with the batch encoded at once and in chunks (gradient caching).

    python packages/ml-clap/benchmarks/gradient_caching.py --batch_size 1024 --chunks 256 64

Each setting runs in a process of its own, whose peak of resident memory is its own too; what the process
takes before the update (the libraries, the model, the waveforms) is measured and told apart. One update of a
small batch comes first, to warm up. Sounds are noise, captions random words: neither changes what it costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from audio_common.config import CEDConfig
from ml_clap.config.model import ModelConfig
from ml_clap.config.train import AugmentConfig, DataConfig, TrainConfig
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.trainers.gradient_caching import backward_in_chunks
from ml_clap.trainers.objective import Inputs, Towers, batch_loss


def make_towers(folder: Path) -> Towers:
    """A small model, as the quickstart's."""
    texts = [f"word{number} of a caption with some more words" for number in range(200)]
    encoder = create_small_text_encoder(folder, texts, vocab_size=300, dim=128, layers=1)
    audio = CEDConfig(embed_dim=128, num_heads=2, depth=4)
    model = MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=128))
    model.audio_encoder.freeze_batch_norm()
    return Towers(model.train(), AugmentConfig())


def make_inputs(towers: Towers, count: int, seconds: float) -> Inputs:
    waveforms = 0.1 * torch.randn(count, round(16_000 * seconds))
    texts = [f"word{number % 200} of a caption with some more words" for number in range(count)]
    ids, mask = towers.model.tokenize(texts)
    return Inputs(waveforms, torch.full((count,), waveforms.shape[1]), ids, mask, None)


def update(towers: Towers, inputs: Inputs, chunk: int, config: TrainConfig) -> float:
    """Add the gradients of a batch to the weights'; return the loss."""
    ids = torch.arange(len(inputs.waveforms), device=inputs.waveforms.device)

    def loss_of(audio: torch.Tensor, texts: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        return batch_loss(config, audio, texts, scales, ids)

    if chunk >= len(ids):
        loss = loss_of(*towers(*inputs))
        loss.backward()
        return loss.item()
    return backward_in_chunks(
        lambda part: towers(*part),
        inputs.split(chunk),
        loss_of,
        lambda each: each.backward(),
        lambda _: nullcontext(),
    ).item()


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(batch_size: int, chunk: int, seconds: float) -> dict[str, float]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        towers = make_towers(Path(folder))
    config = TrainConfig(out=Path("unused"), data=DataConfig(train=(Path("unused"),)))
    update(towers, make_inputs(towers, 4, seconds), 4, config)
    towers.zero_grad()
    inputs = make_inputs(towers, batch_size, seconds)
    before, start, clock = peak_megabytes(), time.process_time(), time.perf_counter()
    loss = update(towers, inputs, chunk, config)
    norm = torch.cat([each.grad.flatten() for each in towers.parameters() if each.grad is not None]).norm()
    return {
        "batch": batch_size,
        "chunk": chunk,
        "cpu_seconds": time.process_time() - start,
        "seconds": time.perf_counter() - clock,
        "megabytes_before": before,
        "megabytes_of_update": peak_megabytes() - before,
        "loss": loss,
        "gradient_norm": norm.item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--chunks", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a sound")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.batch_size, args.one, args.seconds)))
        return
    rows = []
    for chunk in (args.batch_size, *args.chunks):
        words = ["--one", str(chunk), "--batch_size", str(args.batch_size), "--seconds", str(args.seconds)]
        command = [sys.executable, __file__, *words]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    whole = rows[0]
    print("chunk  MB of the update  ratio  CPU s  ratio  loss")
    for row in rows:
        memory = row["megabytes_of_update"] / whole["megabytes_of_update"]
        seconds = row["cpu_seconds"] / whole["cpu_seconds"]
        update = f"{row['chunk']:5d}  {row['megabytes_of_update']:16.0f}  {memory:5.2f}"
        print(f"{update}  {row['cpu_seconds']:5.1f}  {seconds:5.2f}  {row['loss']:.4f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()

"""Training steps a second with and without batches of like length, in one run.

    python packages/ml-clap/benchmarks/training.py --preset ced-tiny --json training.json

Sounds of 1 to 30 seconds (white noise, in memory) and captions of about twenty words; a step is a batch,
the loss, its gradients and an AdamW update. Four settings take turns, epoch by epoch, so that a busy machine
slows all of them: batches of like length (`LengthBucketSampler`) or of any, and the encoder of the package
(`masked`, which computes on sound alone) or as the authors' (`reference`, which computes on the padding too).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from audio_common.ced import CED
from audio_common.config import CED_PRESETS
from ml_clap.config.model import ModelConfig
from ml_clap.data.batches import Batch
from ml_clap.data.enhancement import Sample, epoch_captions
from ml_clap.data.loader import CaptionLoader, make_loader
from ml_clap.data.manifest import Clip
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.trainers.loss import contrastive_loss

MAX_SECONDS = 30.0
CAPTION = "a sound of the kind number {} with another one of the kind number {} in the distance"


@dataclass(frozen=True)
class Row:
    """One setting."""

    mode: str
    bucketed: bool
    steps_per_second: float
    """Of the fastest epoch."""
    steps_per_cpu_second: float | None
    """The same by the processor's time, which other programs do not slow; None on a GPU."""
    sound_per_second: float
    """Seconds of sound, padding not counted, in a second."""
    padding: float
    """Share of the batches' samples that is padding."""


def make_clips(folder: Path, count: int) -> list[Clip]:
    """Noises of 1 to 30 seconds."""
    generator = np.random.default_rng(0)
    clips = []
    for number, seconds in enumerate(generator.uniform(1.0, MAX_SECONDS, count)):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * generator.standard_normal(round(seconds * 16000)), 16000)
        caption = CAPTION.format(number, number // 2)
        clips.append(Clip(str(number), path, {"eng_Latn": (caption,)}, duration=float(seconds)))
    return clips


def loader_of(clips: list[Clip], model: MLCLAP, batch_size: int, bucketed: bool) -> CaptionLoader:
    """A loader; told that all clips are equally long, it cannot sort them."""
    told = clips if bucketed else [replace(clip, duration=MAX_SECONDS) for clip in clips]
    samples = partial(samples_of_epoch, told)
    return make_loader(told, samples, model.prepare_text, batch_size=batch_size, drop_last=True)


def samples_of_epoch(clips: list[Clip], epoch: int) -> list[Sample]:
    return epoch_captions(clips, epoch=epoch)


class Setting:
    """A model and its batches."""

    def __init__(
        self, mode: Literal["masked", "reference"], bucketed: bool, model: MLCLAP, loader: CaptionLoader
    ):
        self.mode, self.bucketed, self.model, self.loader = mode, bucketed, model, loader
        self.optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-5)
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.steps = self.samples = self.padded = 0

    def run_epoch(self, epoch: int, device: str, measured: bool) -> None:
        self.loader.set_epoch(epoch)
        batches = [batch.to(device) for batch in self.loader]
        began, cpu_began = time.perf_counter(), time.process_time()
        for batch in batches:
            self._step(batch)
        if device != "cpu":
            torch.cuda.synchronize()
        if measured:
            self.seconds.append((time.perf_counter() - began) / len(batches))
            self.cpu_seconds.append((time.process_time() - cpu_began) / len(batches))
            self.steps += len(batches)
            self.samples += sum(int(batch.lengths.sum()) for batch in batches)
            self.padded += sum(batch.waveforms.numel() for batch in batches)

    def _step(self, batch: Batch) -> None:
        audio, text = self.model(batch.waveforms, batch.lengths, batch.text_ids, batch.text_mask)
        contrastive_loss(audio, text, self.model.temperature, batch.clip_ids).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def row(self) -> Row:
        """What was measured."""
        steps_per_second = 1 / min(self.seconds)
        is_cpu = self.model.device.type == "cpu"
        sound = steps_per_second * self.samples / self.steps / 16000
        return Row(
            self.mode,
            self.bucketed,
            steps_per_second,
            1 / min(self.cpu_seconds) if is_cpu else None,
            sound,
            1 - self.samples / self.padded,
        )


def make_settings(folder: Path, arguments: argparse.Namespace) -> list[Setting]:
    clips = make_clips(folder, arguments.clips)
    texts = [text for clip in clips for text in clip.captions["eng_Latn"]]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=200, dim=128, layers=2)
    settings = []
    modes: tuple[Literal["masked", "reference"], ...] = ("masked", "reference")
    for mode in modes:
        for bucketed in (True, False):
            audio = CED(replace(CED_PRESETS[arguments.preset], mode=mode))
            config = ModelConfig(audio=audio.config, text_encoder=str(encoder), embed_dim=256)
            model = MLCLAP(config, audio_encoder=audio).to(arguments.device).train()
            loader = loader_of(clips, model, arguments.batch_size, bucketed)
            settings.append(Setting(mode, bucketed, model, loader))
    return settings


def print_rows(rows: list[Row]) -> None:
    """A table in Markdown; the ratio is to the last row, the authors' way, by CPU time if known."""
    print("| encoder | batches | steps/s | steps/CPU s | x | sound/s | padding |")
    print("|---|---|--:|--:|--:|--:|--:|")
    speeds = [row.steps_per_cpu_second or row.steps_per_second for row in rows]
    for row, speed in zip(rows, speeds, strict=True):
        batches = "of like length" if row.bucketed else "of any length"
        print(
            f"| {row.mode} | {batches} | {row.steps_per_second:.2f} | {speed:.2f} | {speed / speeds[-1]:.2f} "
            f"| {row.sound_per_second:.0f} | {100 * row.padding:.0f} % |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=list(CED_PRESETS), default="ced-tiny")
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        settings = make_settings(Path(folder), arguments)
        for epoch in range(arguments.epochs + 1):  # the first one warms up
            for setting in settings:
                setting.run_epoch(epoch, arguments.device, measured=epoch > 0)
    rows = [setting.row() for setting in settings]
    print_rows(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()

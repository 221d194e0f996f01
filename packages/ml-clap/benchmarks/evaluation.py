"""Time to encode a test set of clips with five captions each, as the authors' evaluation does it and as ours.

    python packages/ml-clap/benchmarks/evaluation.py --json evaluation.json
    python packages/ml-clap/benchmarks/evaluation.py --full

The sizes are Clotho's (1,045 clips of 15 to 30 s, five captions) with fewer clips. `--scale` makes them
shorter, which changes the ratio too: the authors pad to whole chunks of 10.12 s, so 6 to 12 s count as 20 s.
They encode a clip once for each of its captions, in batches of 128 rows in file order, zero-padded to the
longest; the time of the same batches with every clip once shows how much of it is repetition. Sounds are
noise, weights random: neither changes the time. Processor time counts all threads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from audio_common.audio import load_audio
from audio_common.batch import pad_waveforms
from audio_common.config import CED_PRESETS
from audio_common.prefetch import AudioSpan
from audio_common.scenes.scene import random_scene
from audio_common.scenes.text import caption
from ml_clap.config.model import ModelConfig
from ml_clap.evaluators.captions import reference_batches
from ml_clap.models.encoding import encode_files, encode_texts
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

RATE = 16_000
NUM_CAPTIONS = 5


@dataclass(frozen=True)
class Row:
    """One way of encoding."""

    name: str
    seconds: float
    """Wall clock."""
    processor_seconds: float


def make_clips(folder: Path, clips: int, scale: float) -> tuple[list[Path], list[str]]:
    """Noise of 15 to 30 s times `scale`, and five captions a clip."""
    generator = np.random.default_rng(0)
    paths: list[Path] = []
    captions: list[str] = []
    for number in range(clips):
        samples = int(generator.uniform(15, 30) * scale * RATE)
        path = folder / f"{number:04d}.wav"
        soundfile.write(path, 0.1 * generator.standard_normal(samples, np.float32), RATE, subtype="PCM_16")
        paths.append(path)
        scenes = (random_scene(NUM_CAPTIONS * number + part) for part in range(NUM_CAPTIONS))
        captions += [caption(scene, "eng_Latn", variant=0) for scene in scenes]
    return paths, captions


def make_model(folder: Path, captions: Sequence[str], preset: str) -> Path:
    """A CED of that size and a small text encoder, with random weights."""
    encoder = create_small_text_encoder(folder / "text", captions, vocab_size=500, dim=128, layers=2, heads=4)
    config = ModelConfig(audio=CED_PRESETS[preset], text_encoder=str(encoder))
    MLCLAP(config).save_pretrained(folder / "model")
    return folder / "model"


@torch.inference_mode()
def encode_as_reference(model: MLCLAP, paths: Sequence[Path], batches: Sequence[Sequence[int]]) -> None:
    """Rows in file order; each file is decoded once, its row repeated."""
    for rows in batches:
        loaded = {clip: load_audio(paths[clip]) for clip in dict.fromkeys(rows)}
        model.embed_audio(*pad_waveforms([loaded[clip] for clip in rows])).cpu()


@torch.inference_mode()
def encode_texts_as_reference(model: MLCLAP, captions: Sequence[str], batch_size: int) -> None:
    for first in range(0, len(captions), batch_size):
        model.embed_text(captions[first : first + batch_size], "eng_Latn").cpu()


def measure(name: str, work: Callable[[], object]) -> Row:
    start, processor = time.perf_counter(), time.process_time()
    work()
    row = Row(name, time.perf_counter() - start, time.process_time() - processor)
    print(f"{name:45} {row.seconds:8.1f} s {row.processor_seconds:8.1f} s of processor", flush=True)
    return row


def run(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    paths, captions = make_clips(folder, options.clips, options.scale)
    saved = make_model(folder, captions, options.preset)
    masked, reference = (
        MLCLAP.from_pretrained(saved, device=options.device, mode=mode) for mode in ("masked", "reference")
    )
    rows = [clip for clip in range(len(paths)) for _ in range(NUM_CAPTIONS)]
    repeated = [rows[first : first + options.batch_size] for first in range(0, len(rows), options.batch_size)]
    once = reference_batches(rows, range(len(paths)), options.batch_size)
    spans = [AudioSpan(path) for path in paths]
    for model in (masked, reference):  # first-use costs are not what is measured
        encode_files(model, spans[:2])
    audio = [
        measure(
            "audio, as the authors (once per caption)",
            lambda: encode_as_reference(reference, paths, repeated),
        ),
        measure(
            "audio, the authors' batches, each clip once", lambda: encode_as_reference(reference, paths, once)
        ),
        measure("audio, ours", lambda: encode_files(masked, spans)),
    ]
    text = [
        measure(
            "text, as the authors (file order)",
            lambda: encode_texts_as_reference(reference, captions, options.batch_size),
        ),
        measure("text, ours", lambda: encode_texts(masked, captions, "eng_Latn")),
    ]
    ratios = {
        "audio": audio[0].seconds / audio[2].seconds,
        "audio_processor": audio[0].processor_seconds / audio[2].processor_seconds,
        "audio_repetition": audio[0].processor_seconds / audio[1].processor_seconds,
        "text_processor": text[0].processor_seconds / text[1].processor_seconds,
    }
    print(
        f"audio: {ratios['audio']:.1f} times as fast as the authors' way ({ratios['audio_processor']:.1f} by "
        f"processor time, {ratios['audio_repetition']:.1f} of it repetition); "
        f"text: {ratios['text_processor']:.1f} by processor time"
    )
    seconds = sum(soundfile.info(path).duration for path in paths)
    return {
        "options": {name: str(value) for name, value in vars(options).items()},
        "audio_seconds": seconds,
        "rows": [asdict(row) for row in audio + text],
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=52, help="number of clips (default: 52)")
    parser.add_argument("--scale", type=float, default=1.0, help="of 15 to 30 s (default: 1)")
    parser.add_argument("--full", action="store_true", help="1,045 clips of 15 to 30 s")
    parser.add_argument("--preset", choices=CED_PRESETS, default="ced-tiny", help="size of the audio encoder")
    parser.add_argument(
        "--batch-size", type=int, default=128, help="the authors' rows per batch (default: 128)"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.full:
        options.clips, options.scale = 1045, 1.0
    with tempfile.TemporaryDirectory() as folder:
        record = run(Path(folder), options)
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Training steps: this package against the authors' way of a step, on the same clips in one run.

    python packages/aac-llm/benchmarks/training.py --decoder runs/models/smollm2

The authors' way: float32, every clip padded with zeros to `max_seconds` (10 s in pretraining), logits of
the whole sequence. Ours: the decoder's frozen weights in bfloat16, clips of like length together and padded
to the longest of them, logits of the caption's tokens alone. Encoder, bridge, adapters, clips, captions and
optimizer are the same. CPU seconds, because the machine may be busy; the peak of memory is the process's own,
so each way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from aac_llm.config.model import BridgeConfig, ModelConfig
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.prompt import IGNORED
from aac_llm.models.tiny import create_tiny_decoder
from audio_common import CEDConfig, LengthBucketSampler, pad_waveforms
from audio_common.scenes.scene import random_scene, render
from audio_common.scenes.text import caption
from torch import Tensor

SAMPLE_RATE = 16_000


def main() -> None:
    options = read_options()
    if options.way:
        print(json.dumps(measure(options)))
        return
    words = [sys.executable, __file__, *sys.argv[1:]]
    rows = {way: json.loads(run([*words, "--way", way])) for way in ("authors", "ours")}
    for way, row in rows.items():
        print(f"{way:8} {row['seconds']:6.2f} CPU s a step, peak {row['megabytes']:6.0f} MB")
    print(
        f"steps per CPU second: {rows['authors']['seconds'] / rows['ours']['seconds']:.2f} times the authors'"
    )
    print(f"peak memory: {rows['ours']['megabytes'] / rows['authors']['megabytes']:.2f} of the authors'")


def run(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--decoder", type=Path, help="folder of the language model (none: a random tiny one)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--max_seconds", type=float, default=10.0)
    parser.add_argument("--way", choices=("authors", "ours"))
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    clips = make_clips(options)
    with tempfile.TemporaryDirectory() as folder:
        decoder = options.decoder or create_tiny_decoder(folder, [text for _, text in clips])
        model = make_model(str(decoder), ours=options.way == "ours")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    batches = make_batches(clips, options)
    step(model, optimizer, batches[0], options)  # the first step also reserves memory
    before = time.process_time()
    for batch in batches:
        step(model, optimizer, batch, options)
    seconds = (time.process_time() - before) / len(batches)
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def make_clips(options: argparse.Namespace) -> list[tuple[Tensor, str]]:
    """Scenes of 2 s to `max_seconds` with captions."""
    count, clips = options.steps * options.batch_size, []
    for seed in range(count):
        seconds = 2 + (options.max_seconds - 2) * seed / count
        scene = random_scene(seed, num_events=1, seconds=seconds)
        clips.append((torch.as_tensor(render(scene)), caption(scene, "eng_Latn")))
    return clips


def make_model(decoder: str, *, ours: bool) -> CaptionModel:
    config = ModelConfig(
        decoder=decoder,
        decoder_dtype="bfloat16" if ours else "float32",
        encoder=CEDConfig(embed_dim=384, num_heads=6),
        bridge=BridgeConfig(hidden_size=384, num_heads=6, intermediate_size=1536),
    )
    return CaptionModel.from_config(config).train()


def make_batches(
    clips: list[tuple[Tensor, str]], options: argparse.Namespace
) -> list[list[tuple[Tensor, str]]]:
    if options.way == "ours":
        lengths = [len(sound) / SAMPLE_RATE for sound, _ in clips]
        order = list(LengthBucketSampler(lengths, batch_size=options.batch_size, seed=0))
    else:
        numbers = torch.randperm(len(clips)).tolist()
        order = [
            numbers[start : start + options.batch_size] for start in range(0, len(clips), options.batch_size)
        ]
    return [[clips[index] for index in batch] for batch in order]


def step(
    model: CaptionModel,
    optimizer: torch.optim.Optimizer,
    batch: list[tuple[Tensor, str]],
    options: argparse.Namespace,
) -> None:
    sounds = [sound for sound, _ in batch]
    labels = model.tokenize_captions([text for _, text in batch])
    if options.way == "ours":
        waveforms, lengths = pad_waveforms(sounds)
        loss = model(waveforms, lengths, labels).loss
    else:
        size = int(options.max_seconds * SAMPLE_RATE)
        waveforms = torch.stack([F.pad(sound[:size], (0, max(0, size - len(sound)))) for sound in sounds])
        loss = authors_loss(model, waveforms, labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def authors_loss(model: CaptionModel, waveforms: Tensor, labels: Tensor) -> Tensor:
    """Zeros are sound, and the head works on prompt and sound, too."""
    sequences = model.assemble(model.encode_audio(waveforms), labels)
    logits = model.decoder(
        inputs_embeds=sequences.embeddings, attention_mask=sequences.mask, position_ids=sequences.positions
    ).logits
    targets = torch.full(logits.shape[:2], IGNORED, device=logits.device)
    for row, label in zip(targets, labels, strict=True):
        kept = label[label != IGNORED]
        row[len(row) - len(kept) :] = kept
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten(), ignore_index=IGNORED
    )


if __name__ == "__main__":
    main()

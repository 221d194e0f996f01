"""What learning times costs and gives in the quickstart: plain captions with and without, and events in time.

    python packages/aac-llm/benchmarks/timestamps.py compare runs/times --seeds '[0,1,2]'
    python packages/aac-llm/benchmarks/timestamps.py add_negatives runs/times/seed-0

`compare` trains the quickstart's captioner for each seed twice, with and without times (same clips, order,
crops  segment-based F1 of the timed ones, and the share of sounds without a known event (silence, noise,
chords) of which events are written; the model alone is asked, so silence is no case apart, as it is for
`aac-llm caption`. One line a run in OUT/results.jsonl; runs that are there are not repeated.

`add_negatives` trains one of these captioners a little further, with clips of noise and sweeps beside the
scenes, of which the manifest says that there is no event (`"timestamps": []`), and scores it again; there are
no chords among them.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from aac_llm import quickstart
from aac_llm.config.caption import GenerationConfig
from aac_llm.config.quickstart import QuickstartConfig
from aac_llm.data.manifest import Clip, read_manifest, write_manifest
from aac_llm.data.timestamps import count_marks, parse_timed
from aac_llm.metrics.events import event_scores
from aac_llm.metrics.score import score_captions
from aac_llm.metrics.timestamps import timestamp_scores
from aac_llm.models.captioner_model import SAMPLE_RATE, CaptionModel
from aac_llm.models.inference import caption_batch, load_for_inference
from aac_llm.trainers.train import train
from audio_common import load_audio
from jsonargparse import auto_cli

BATCH = 50


def compare(out: Path, seeds: tuple[int, ...] = (0, 1, 2), clips: int = 2500, steps: int = 1600) -> None:
    """Train with and without times, and score both.

    Args:
        out: folder of everything.
        seeds: of data and training.
        clips: training scenes.
        steps: updates.
    """
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    done = {(row["seed"], row["share"]) for row in _rows(results)}
    for seed in seeds:
        for share in (quickstart.TIMED_SHARE, 0.0):
            if (seed, share) not in done:
                row = {"seed": seed, "share": share} | run(out, seed, share, clips, steps)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def add_negatives(run_folder: Path, share: float = 0.1, steps: int = 200) -> None:
    """Train the timed captioner of a seed further, some clips having no event, and print scores of it.

    Args:
        run_folder: OUT/seed-N of `compare`.
        share: clips without an event to the training scenes.
        steps: updates.
    """
    torch.set_num_threads(1)
    manifest = run_folder / "data" / "manifest.jsonl"
    scenes = read_manifest(manifest)
    number = round(share * sum(clip.split == "train" for clip in scenes))
    folder = run_folder / "negatives"
    folder.mkdir(exist_ok=True)
    clips = [_write_negative(folder, index, np.random.default_rng((7, index))) for index in range(number)]
    write_manifest(folder / "manifest.jsonl", clips)
    settings = quickstart.training_settings(QuickstartConfig(out=run_folder, steps=steps), manifest)
    settings = replace(
        settings,
        out=run_folder / "model-negatives",
        init_from=str(run_folder / f"model-{quickstart.TIMED_SHARE}"),
        data=replace(settings.data, train=(manifest, folder / "manifest.jsonl")),
        learning_rate=settings.learning_rate / 4,
    )
    model = load_for_inference(train(settings).out / "last", device="cpu")
    test = [clip for clip in scenes if clip.split == "test"]
    print(json.dumps(plain_scores(model, test) | timed_scores(model, test)))


def _write_negative(folder: Path, index: int, rng: np.random.Generator) -> Clip:
    """Write noise of some colour, or a sine that rises or falls, at a level of -70 to -30 dB."""
    seconds = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    if index % 2:
        low, high = rng.uniform(100, 3000, 2)
        sound = np.sin(2 * np.pi * (low + (high - low) * seconds / 6) * seconds)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(len(seconds)))
        sound = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** rng.uniform(0, 1))
    path = folder / f"negative-{index:04d}.wav"
    sound *= 10 ** (rng.uniform(-70, -30) / 20) / np.sqrt(np.mean(sound**2))
    soundfile.write(path, np.clip(sound, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    return Clip(
        id=path.stem,
        audio=path,
        captions=("There is no known sound.",),
        split="train",
        duration=3.0,
        timestamps=(),
    )


def run(out: Path, seed: int, share: float, clips: int, steps: int) -> dict[str, Any]:
    """Train one captioner, and return its scores and the processor's seconds of the training."""
    config = QuickstartConfig(out=out / f"seed-{seed}", clips=clips, steps=steps, seed=seed)
    manifest = config.out / "data" / "manifest.jsonl"
    if not manifest.exists():
        quickstart.make_scenes(manifest.parent, clips=clips, seed=seed)
    settings = quickstart.training_settings(config, manifest)
    settings = replace(
        settings,
        out=config.out / f"model-{share}",
        data=replace(settings.data, timestamps=share),
    )
    start = time.process_time()
    trained = train(settings)
    seconds = time.process_time() - start
    model = load_for_inference(trained.model, device="cpu")
    test = read_manifest(manifest, split="test")
    scores = {"train_cpu_seconds": round(seconds, 1), **plain_scores(model, test)}
    return scores | (timed_scores(model, test) if share else {})


def plain_scores(model: CaptionModel, clips: list[Clip]) -> dict[str, float]:
    """Score plain captions."""
    texts = caption(model, [load_audio(clip.audio) for clip in clips], GenerationConfig())
    references = [clip.captions for clip in clips]
    events = event_scores(texts, references)
    return {
        "cider_d": score_captions(texts, references, metrics=("cider",)).corpus["cider_d"],
        "caption_event_f1": events.f1,
    }


def timed_scores(model: CaptionModel, clips: list[Clip]) -> dict[str, Any]:
    """Score events with their times, and count those written of sounds without any."""
    config = GenerationConfig(timestamps=True)
    texts = caption(model, [load_audio(clip.audio) for clip in clips], config)
    events = [parse_timed(text, clip.duration) for text, clip in zip(texts, clips, strict=True)]
    found = timestamp_scores(events, [clip.timestamps or () for clip in clips])
    others = {}
    for name, sounds in strange_sounds().items():
        written = [parse_timed(text) for text in caption(model, sounds, config)]
        others[f"events_of_{name}"] = float(np.mean([bool(one) for one in written]))
    return {
        "event_f1": found.event_f1,
        "onset_f1": found.onset_f1,
        "segment_f1": found.segment_f1,
        "hallucination": found.hallucination,
        "unreadable_events": 1 - sum(map(len, events)) / max(1, sum(map(count_marks, texts))),
        **others,
    }


def strange_sounds(number: int = 20) -> dict[str, list[torch.Tensor]]:
    """Return sounds of 3 s that no training scene has: silence, noise, and chords of sines."""
    rng = np.random.default_rng(0)
    seconds = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    noise = [rng.standard_normal(len(seconds)) * 10 ** (-rng.uniform(40, 70) / 20) for _ in range(number)]
    chords = [
        sum(np.sin(2 * np.pi * rng.uniform(100, 3000) * seconds) for _ in range(4)) * 0.05
        for _ in range(number)
    ]
    made = {"silence": [np.zeros(len(seconds))], "noise": noise, "chords": chords}
    return {name: [torch.from_numpy(one).float() for one in sounds] for name, sounds in made.items()}


def caption(model: CaptionModel, sounds: list[torch.Tensor], config: GenerationConfig) -> list[str]:
    """Caption sounds, the most probable text of each."""
    return [
        candidates[0].text
        for start in range(0, len(sounds), BATCH)
        for candidates in caption_batch(model, sounds[start : start + BATCH], config)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    auto_cli([compare, add_negatives], as_positional=True)

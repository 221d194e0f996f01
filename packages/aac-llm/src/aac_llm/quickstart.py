"""The whole path in a few minutes, with no data and no weights: `aac-llm quickstart`.

Sound scenes are synthesised with captions; a small CED, Q-Former and Llama are trained on them from random
weights by the same `train` as any other model, and caption scenes that they have not heard by the same
`caption` and `evaluate`. Only the data and the sizes are particular. The control is the same captions, each
given to another clip: what a captioner scores that writes well and does not listen.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
import torch
from audio_common.config import CEDConfig
from audio_common.scenes.scene import Event, Scene, random_scene, render
from audio_common.scenes.text import NUM_VARIANTS, TRAINING_VARIANTS
from audio_common.scenes.text import caption as describe

from aac_llm.captioning.caption import caption_sources
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.evaluate import EvaluateConfig
from aac_llm.config.model import ACOUSTIC_TOKENS, BridgeConfig, ModelConfig
from aac_llm.config.quickstart import QuickstartConfig
from aac_llm.config.train import DataConfig, TrainConfig, ValidationConfig
from aac_llm.data.manifest import Clip, read_manifest, write_manifest
from aac_llm.data.predictions import Prediction, write_predictions
from aac_llm.data.timestamps import TimedEvent, write_timed
from aac_llm.evaluators.evaluate import Evaluation, evaluate
from aac_llm.files import remove_leftovers
from aac_llm.lock import sole_writer
from aac_llm.models.tiny import create_tiny_decoder
from aac_llm.output import printable, progress
from aac_llm.trainers.run_folder import CURVES
from aac_llm.trainers.train import TrainResult, train

logger = logging.getLogger(__name__)

SECONDS = 3.0
NUM_EVENTS = (1, 2)
"""Events of the scenes, in turn; two follow one another or sound at the same time."""
METRICS = ("bleu", "rouge", "cider", "events", "diversity")
NUM_SAMPLES = 5
TIMED_SHARE = 0.5
"""Share of the examples of which events with their times are learned as well."""


@dataclass(frozen=True)
class QuickstartResult:
    """Results of the quickstart."""

    training: TrainResult
    evaluation: Evaluation
    """Scores of the test scenes, compared with the control."""
    page: Path
    """Page to listen to them, worst first."""


def quickstart(config: QuickstartConfig) -> QuickstartResult:
    """Synthesise, train, caption, score; prints each step and where its files are."""
    with sole_writer(config.out, folder=True):
        remove_leftovers(config.out)
        return _quickstart(config)


def _quickstart(config: QuickstartConfig) -> QuickstartResult:
    out = config.out
    choose_threads()
    _say(1, f"synthesising {config.clips} training scenes with {len(TRAINING_VARIANTS)} captions each")
    manifest = make_scenes(out / "data", clips=config.clips, seed=config.seed)
    _say(2, f"training a small captioner from random weights for {config.steps} steps")
    training = train(training_settings(config, manifest))
    model = str(training.model)
    _say(3, "captioning scenes that were not in training, and scoring the captions")
    evaluation, page = score(out, manifest, model)
    print_control(evaluation)
    _say(4, "what it says of them")
    print_samples(evaluation)
    _say_what_next(out, page)
    return QuickstartResult(training=training, evaluation=evaluation, page=page)


def choose_threads() -> None:
    """Take one thread unless OMP_NUM_THREADS says otherwise.

    The tensors are so small that threads spend their time waiting for each other: two on a busy machine took
    four times as long as one.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(1)
    logger.info(
        "one thread, which is the fastest for a model this small; OMP_NUM_THREADS sets another number"
    )


def make_scenes(folder: Path, *, clips: int, seed: int) -> Path:
    """Synthesise training, validation and test scenes, and write them with their manifest.

    Test scenes have all paraphrases as references, the sentence pattern that training leaves out included.

    Returns:
        The manifest.
    """
    sizes = {"train": clips, "validation": clips // 10, "test": clips // 10}
    drawn = [(split, *named) for split, size in sizes.items() for named in _draw(seed, split, size)]
    made = [
        _write_scene(folder, scene, split, name)
        for split, name, scene in progress(drawn, "Synthesising sounds")
    ]
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, made)
    return manifest


def training_settings(config: QuickstartConfig, manifest: Path) -> TrainConfig:
    """Return the settings of the training; makes its decoder, with a tokenizer of the captions' words."""
    # Of training captions alone: the tokenizer must not have seen the test's words.
    texts = [text for clip in read_manifest(manifest, split="train") for text in clip.captions]
    decoder = create_tiny_decoder(
        config.out / "decoder",
        texts,
        vocab_size=600,
        hidden_size=96,
        num_layers=2,
        num_heads=4,
        seed=config.seed,
    )
    # Four validations are enough to see a curve.
    quarter = max(1, config.steps // 4)
    return TrainConfig(
        out=config.out / "model",
        model=ModelConfig(
            decoder=str(decoder),
            decoder_strategy="full",
            decoder_dtype="float32",
            encoder=CEDConfig(embed_dim=96, num_heads=2, depth=4),
            encoder_strategy="full",
            bridge=BridgeConfig(window=8, hidden_size=96, num_heads=4, intermediate_size=384),
            prompt=ACOUSTIC_TOKENS,
        ),
        data=DataConfig(train=(manifest,), validation=(manifest,), num_workers=0, timestamps=TIMED_SHARE),
        batch_size=16,
        epochs=config.steps,  # more than enough: max_steps ends the run
        max_steps=config.steps,
        learning_rate=2e-3,
        weight_decay=0.05,
        warmup_ratio=0.1,
        validation=ValidationConfig(batch_size=64),
        eval_steps=quarter,
        save_steps=quarter,
        logging_steps=max(1, config.steps // 20),
        device="cpu",
        seed=config.seed,
    )


def score(out: Path, manifest: Path, model: str) -> tuple[Evaluation, Path]:
    """Caption the test scenes and compare the captions with the control; writes page and numbers."""
    captions, page = out / "captions.jsonl", out / "page.html"
    settings = CaptionConfig(
        files=(manifest,), split="test", model=model, out=captions, overwrite=True, device="cpu"
    )
    predictions = caption_sources(settings).predictions
    timed = caption_sources(replace(settings, out=out / "timed.jsonl", timestamps=True)).predictions
    # A caption is a sentence; its events with their times are another text of the same sound.
    events = {prediction.id: prediction.timestamps for prediction in timed}
    predictions = [replace(one, timestamps=events.get(one.id, ())) for one in predictions]
    write_predictions(captions, predictions)
    control = out / "control.jsonl"
    write_predictions(control, shift_captions(predictions))
    evaluation = evaluate(
        EvaluateConfig(
            data=captions,
            references=manifest,
            split="test",
            # A captioner of a few updates writes no event.
            metrics=(*METRICS, "timestamps") if any(events.values()) else METRICS,
            compare=control,
            json=out / "scores.json",
            page=page,
        )
    )
    return evaluation, page


def shift_captions(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Give each caption, and its events in time, to the next clip, the last one's to the first."""
    others = [*predictions[-1:], *predictions[:-1]]
    return [
        replace(prediction, caption=other.caption, timestamps=other.timestamps, candidates=())
        for prediction, other in zip(predictions, others, strict=True)
    ]


def print_control(evaluation: Evaluation) -> None:
    """Print how well events are named, beside what the same captions score on other clips."""
    values = {
        name: (evaluation.corpus[f"event_{name}"], evaluation.comparison[f"event_{name}"].other)
        for name in ("precision", "recall")
    }
    shares = ", ".join(f"{name} {mine:.2f} (chance {other:.2f})" for name, (mine, other) in values.items())
    print(f"Sound events named: {shares}. Chance: the same captions, each given to another clip.", flush=True)
    if "timed_event_f1" in evaluation.corpus:
        mine, other = evaluation.corpus["timed_event_f1"], evaluation.comparison.get("timed_event_f1")
        chance = f" (chance {other.other:.2f})" if other else ""
        print(f"Sound events named and found in time, to 0.2 s: F1 {mine:.2f}{chance}.", flush=True)


def print_samples(evaluation: Evaluation) -> None:
    """Print the first test clips' captions, right and wrong as they come."""
    for clip in evaluation.clips[:NUM_SAMPLES]:
        print(f"{clip.id}\n  caption    {printable(clip.caption)}\n  reference  {clip.references[0]}")
        if clip.timestamps:
            print(f"  in time    {printable(write_timed(clip.timestamps))}")
            print(f"  reference  {write_timed(clip.reference_timestamps)}")


def _draw(seed: int, split: str, size: int) -> Iterator[tuple[str, Scene]]:
    # Different scenes for every split.
    first = seed * 3_000_000 + {"train": 0, "validation": 1_000_000, "test": 2_000_000}[split]
    for number in range(size):
        num_events = NUM_EVENTS[number % len(NUM_EVENTS)]
        yield f"{split}-{number:05d}", random_scene(first + number, num_events=num_events, seconds=SECONDS)


def _write_scene(folder: Path, scene: Scene, split: str, name: str) -> Clip:
    path = folder / "audio" / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, render(scene), 16_000, subtype="PCM_16")
    variants = TRAINING_VARIANTS if split == "train" else range(NUM_VARIANTS)
    captions = tuple(describe(scene, "eng_Latn", variant=variant) for variant in variants)
    return Clip(
        id=name,
        audio=path,
        captions=captions,
        split=split,
        duration=scene.seconds,
        timestamps=tuple(_time_event(event) for event in scene.events),
    )


def _time_event(event: Event) -> TimedEvent:
    """Return an event of a scene in the words of the caption that it has by itself."""
    alone = Scene(events=(event,), seconds=event.end)
    words = describe(alone, "eng_Latn", variant=0).rstrip(".")
    return TimedEvent(words[0].lower() + words[1:], event.onset, event.end)


def _say(step: int, what: str) -> None:
    sys.stdout.flush()  # in the order of events also where both streams go to one file
    logger.info("\n[%d/4] %s", step, what)


def _say_what_next(out: Path, page: Path) -> None:
    run, data = str(out / "model"), out / "data"
    one = ["aac-llm", "caption", str(data / "audio" / "test-00001.wav"), "--model", run]
    folder = ["aac-llm", "caption", str(data / "audio"), "--model", run, "--out", str(out / "all.jsonl")]
    timed = [*one, "--timestamps"]
    scores = ["aac-llm", "evaluate", str(data / "manifest.jsonl"), "--split", "test", "--model", run]
    print(f"""
Page, all captions to listen to, worst first: {page}
Picture, loss and scores of the training: {run}/{CURVES}
Numbers: {out / "scores.json"}; captions: {out / "captions.jsonl"}; sounds: {data / "audio"}

The same captioner for one sound, with its events in time, for all sounds of a folder (your own, too), and
scored again:

  {shlex.join(one)}
  {shlex.join(timed)}
  {shlex.join(folder)}
  {shlex.join(scores)}

It knows only the synthesised sounds; the section "Train" of aac-llm's README goes on to real ones.
"aac-llm: command not found"? in the clone, `uv tool install ./packages/aac-llm`, then
`uv tool update-shell`.""")

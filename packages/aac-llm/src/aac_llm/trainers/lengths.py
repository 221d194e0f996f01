"""Lengths of clips against what a training takes: refused, or cropped and counted, never cut silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aac_llm.config.caption import GenerationConfig
from aac_llm.config.train import TrainConfig
from aac_llm.data.dataset import SAMPLE_RATE, CaptionDataset
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.inference import longest_seconds
from aac_llm.trainers.finite import MAX_NAMED


def check_lengths(config: TrainConfig, model: CaptionModel, dataset: CaptionDataset) -> None:
    """Refuse sounds that do not fit into the decoder's context together with a caption.

    Raises:
        ValueError: with the longest that fit.
    """
    written = GenerationConfig(timestamps=bool(dataset.timestamps))
    longest, fits = max(dataset.durations), longest_seconds(model, written)
    if longest > fits:
        raise ValueError(
            f"data.max_seconds: there are sounds of {longest:.1f} s, and {fits:g} s fit into the decoder's "
            f"context with a caption; set --data.max_seconds {fits:g}"
        )


def check_timestamps(config: TrainConfig, dataset: CaptionDataset) -> None:
    """Refuse to learn times where no clip has any.

    Raises:
        ValueError: with what a manifest must have.
    """
    if config.data.timestamps and all(clip.timestamps is None for clip in dataset.clips):
        raise ValueError(
            f"data.timestamps {config.data.timestamps:g}: no training clip has times; a manifest's row has "
            'them under "timestamps": [{"text": "a dog barks", "onset": 0.0, "offset": 1.5}, ...]'
        )


def check_captions(model: CaptionModel, dataset: CaptionDataset) -> None:
    """Refuse captions that do not fit into the decoder's context after their sound.

    Raises:
        ValueError: names the first such clips.
    """
    context = getattr(model.decoder.config, "max_position_embeddings", None)
    if context is None:
        return
    longest = dict(zip((number for number, _ in dataset.pairs), dataset.durations, strict=True))
    room = context - len(model.prompt)
    least = room - model.token_budget(max(dataset.durations))
    found: dict[str, int] = {}
    for number, clip in enumerate(dataset.clips):
        # No tokenizer makes two tokens of a byte: nearly all captions need not be tokenized here.
        suspects = [text for text in clip.captions if 2 * len(text.encode()) >= least]
        if suspects:
            most = model.tokenize_captions(suspects).shape[1]  # EOS included
            if most > room - model.token_budget(longest[number]):
                found[clip.id] = most
        if dataset.timestamps and clip.timestamps is not None:
            most, seconds = model.tokenize_timed([clip.timestamps]).shape[1], longest[number]
            if most > room - model.token_budget(seconds, timestamps=True):
                found[clip.id] = most
    if found:
        kinds = "the captions or timestamps" if dataset.timestamps else "the captions"
        some = ", ".join(f"{id} ({count} tokens)" for id, count in list(found.items())[:MAX_NAMED])
        raise ValueError(
            f"{kinds} of {len(found)} clips do not fit into the decoder's context of {context} tokens "
            f"after their sound: {some}; take them out, or lower --data.max_seconds"
        )


def crop_note(dataset: CaptionDataset, seconds: float) -> str:
    """Say how many clips are cropped, where, and what to do."""
    kind, part = ("training", "a random part") if dataset.random else ("validation", "the beginning")
    return (
        f"{dataset.num_cropped:,} of {len(dataset.clips):,} {kind} clips are longer than {seconds:g} s, of "
        f"which only {part} is heard at a time; --data.max_seconds takes more"
    )


def make_report(datasets: Sequence[CaptionDataset]) -> dict[str, Any]:
    """Return what became of the clips: how many there were, were cropped, and could not be decoded."""
    return {
        "training" if data.random else "validation": {
            "clips": len(data.clips),
            "cropped": data.num_cropped,
            "max_seconds": data.max_samples / SAMPLE_RATE,
            "bad_clips": bad_files(data),
        }
        for data in datasets
    }


def bad_files(dataset: CaptionDataset) -> dict[str, str]:
    """Return the files that could not be decoded, and why."""
    return {str(dataset.clips[number].audio): why for number, why in dataset.found_out().bad.items()}

"""Scores of validation clips during training: the loss of their captions, and CIDEr-D of generated ones."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from audio_common import pad_waveforms
from torch import Tensor

from aac_llm.data.dataset import CaptionDataset, Example
from aac_llm.data.manifest import Clip
from aac_llm.data.predictions import Candidate
from aac_llm.metrics import bootstrap_interval, score_captions
from aac_llm.metrics.events import sound_events
from aac_llm.models.bridge import AcousticTokens
from aac_llm.models.captioner_model import CaptionModel
from aac_llm.models.prompt import IGNORED
from aac_llm.trainers.finite import WHAT_TO_DO, TrainingError, name_some

INTERVALS = ("_low", "_high")
"""Endings of the names of a score's 95 % interval, beside the score's own name."""


def describe_scores(scores: Mapping[str, float]) -> str:
    """Write scores as a text, intervals behind their score.

    >>> describe_scores({"loss": 1.5, "cider_d": 0.5, "cider_d_low": 0.25, "cider_d_high": 0.75})
    'loss 1.500, cider_d 0.500 (0.250 to 0.750)'
    """
    parts = []
    for name, value in scores.items():
        if name.endswith(INTERVALS):
            continue
        ends = [scores.get(f"{name}{ending}") for ending in INTERVALS]
        interval = "" if None in ends else f" ({ends[0]:.3f} to {ends[1]:.3f})"
        parts.append(f"{name} {value:.3f}{interval}")
    return ", ".join(parts)


@dataclass(frozen=True)
class ValidationClip:
    """Loss and caption of one clip."""

    index: int
    """Its place in the data set."""
    loss: float
    """Cross-entropy of its first caption, summed over the tokens."""
    tokens: int
    """Tokens of that caption."""
    caption: str | None
    """The generated caption; None: it was not captioned."""
    unfinished: bool = False
    """Whether the caption was stopped at its limit of tokens."""
    timed_loss: float = 0.0
    """Cross-entropy of its events with their times, summed over the tokens."""
    timed_tokens: int = 0
    """Tokens of these events; 0: they are not learned, or not known of this clip."""


def draw_clips(clips: Sequence[Clip], seconds: Sequence[float], count: int, *, seed: int) -> list[int]:
    """Draw clips of every kind, in proportion: which to caption where captioning all takes too long.

    The clips are sorted by data set, by how many sound events the first caption names, and by length; of each
    of `count` equal parts of that order one clip is drawn. The first clips of a manifest would be of one
    kind: manifests are written data set by data set, and compositions after single sounds.

    Args:
        clips: to draw from.
        seconds: length of each.
        count: how many to draw, at most.
        seed: of the draw.

    Returns:
        Places in `clips`, ascending; all of them if there are no more than `count`.
    """
    if count >= len(clips):
        return list(range(len(clips)))
    draw = random.Random(seed)
    kinds = [
        (clip.dataset or "", len(sound_events(clip.captions[0])), length)
        for clip, length in zip(clips, seconds, strict=True)
    ]
    # Shuffled first, so that clips of one kind and length are in no order of their own.
    order = sorted(draw.sample(range(len(clips)), len(clips)), key=kinds.__getitem__)
    parts = ((number * len(clips) // count, (number + 1) * len(clips) // count) for number in range(count))
    return sorted(order[draw.randrange(start, end)] for start, end in parts)


@torch.no_grad()
def validate_clips(
    model: CaptionModel,
    dataset: CaptionDataset,
    indices: Sequence[int],
    *,
    captioned: Collection[int],
    num_beams: int = 1,
    batch_size: int = 16,
) -> list[ValidationClip]:
    """Compute the loss of the clips `indices`, and caption those in `captioned`; each is encoded once.

    Clips are taken longest first in batches of like length; the model should be in evaluation mode.
    """
    lengths = dataset.durations
    order = sorted(indices, key=lambda index: -lengths[index])  # what does not fit shows at once
    found: list[ValidationClip] = []
    for start in range(0, len(order), batch_size):
        found += _validate_batch(model, dataset, order[start : start + batch_size], captioned, num_beams)
    return found


def summarize(found: Sequence[ValidationClip], clips: Sequence[Clip]) -> dict[str, float]:
    """Return `loss` per token; of captions `cider_d` against all references, and the share `unfinished`.

    `cider_d_low` and `cider_d_high` are the ends of its 95 % interval over the clips.
    Where events with their times are learned `timed_loss` per token of these, too.

    Raises:
        TrainingError: there is no clip, or the loss of some is not finite; it names them.
    """
    unique = {clip.index: clip for clip in found}  # ranks may have shared a clip to fill up
    if not unique:
        raise TrainingError("no validation clip can be decoded (named above): check data.validation")
    # Never the best model, and no JSON could hold it.
    broken = [clips[index].id for index, clip in sorted(unique.items()) if not math.isfinite(clip.loss)]
    if broken:
        raise TrainingError(
            f"the validation loss is not finite, with the clips {name_some(broken)}. {WHAT_TO_DO}"
        )
    scores = {
        "loss": sum(clip.loss for clip in unique.values()) / sum(clip.tokens for clip in unique.values())
    }
    if timed_tokens := sum(clip.timed_tokens for clip in unique.values()):
        scores["timed_loss"] = sum(clip.timed_loss for clip in unique.values()) / timed_tokens
    captioned = [clip for _, clip in sorted(unique.items()) if clip.caption is not None]
    if captioned:
        references = [clips[clip.index].captions for clip in captioned]
        captions = [clip.caption or "" for clip in captioned]
        found_scores = score_captions(captions, references, metrics=("cider",))
        interval = bootstrap_interval(found_scores.clips["cider_d"])
        scores |= {"cider_d": interval.value, "cider_d_low": interval.low, "cider_d_high": interval.high}
        scores["unfinished"] = sum(clip.unfinished for clip in captioned) / len(captioned)
    return scores


def _validate_batch(
    model: CaptionModel,
    dataset: CaptionDataset,
    batch: Sequence[int],
    captioned: Collection[int],
    num_beams: int,
) -> list[ValidationClip]:
    batch = [index for index in batch if dataset.can_read(index)]
    if not batch:
        return []
    examples = [dataset[index] for index in batch]
    waveforms, lengths = pad_waveforms([example.waveform for example in examples])
    acoustic = model.encode_audio(waveforms.to(model.device), lengths)
    # Of a validation clip always the first caption, so that losses compare between epochs.
    labels = model.tokenize_captions([example.caption for example in examples]).to(model.device)
    logits = model.caption_logits(acoustic, labels)
    losses = _summed_losses(logits, labels)
    # The sounds are encoded once, for the loss; captions take them from there.
    # What has no finite loss cannot be captioned: `summarize` names it.
    finite = losses.isfinite().tolist()
    chosen = [place for place, index in enumerate(batch) if index in captioned and finite[place]]
    captions: dict[int, Candidate] = {}
    if chosen:
        made = model.generate(acoustic=acoustic[chosen], num_beams=num_beams)
        captions = {place: candidates[0] for place, candidates in zip(chosen, made, strict=True)}
    counts = (labels != IGNORED).sum(1).tolist()
    timed, timed_counts = _timed_losses(model, acoustic, examples)
    found = []
    for place, (index, loss, count) in enumerate(zip(batch, losses.tolist(), counts, strict=True)):
        made_one = captions.get(place)
        text, unfinished = (None, False) if made_one is None else (made_one.text, made_one.unfinished)
        found.append(ValidationClip(index, loss, count, text, unfinished, timed[place], timed_counts[place]))
    return found


def _timed_losses(
    model: CaptionModel, acoustic: AcousticTokens, examples: Sequence[Example]
) -> tuple[list[float], list[int]]:
    """Return the loss and the tokens of each example's events with their times; 0 where there are none."""
    rows = [place for place, example in enumerate(examples) if example.timestamps is not None]
    losses, counts = [0.0] * len(examples), [0] * len(examples)
    if rows:
        labels = model.tokenize_timed([examples[row].timestamps for row in rows]).to(model.device)
        logits = model.caption_logits(acoustic[rows], labels, timestamps=True)
        for row, loss, count in zip(
            rows, _summed_losses(logits, labels), (labels != IGNORED).sum(1).tolist(), strict=True
        ):
            losses[row], counts[row] = float(loss), count
    return losses, counts


def _summed_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each row `(batch,)` of labels `(batch, length)`, summed over its tokens."""
    return torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    ).sum(1)

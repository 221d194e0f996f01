"""What a captioning takes: the model, what chooses among its candidates, and what repairs captions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from audio_common.prefetch import BatchLimits
from audio_common.workers import DecodeLimits

from aac_llm.config.caption import CaptionConfig
from aac_llm.models.licence import licence_of_weights, say_licence_of_weights

if TYPE_CHECKING:
    from aac_llm.captioning.captioner import Captioner
    from aac_llm.captioning.rerank import Similarity
    from aac_llm.correction.corrector import Corrector

logger = logging.getLogger(__name__)


def warn_of_length(config: CaptionConfig, trained_seconds: float | None) -> None:
    """Say where sounds are heard in pieces longer than those that the model learned from."""
    from aac_llm.models.long_sound import TOLERANCE

    asked = config.window_seconds if config.segments else config.max_seconds
    if trained_seconds is not None and asked is not None and asked > TOLERANCE * trained_seconds:
        flag = "--window_seconds" if config.segments else "--max_seconds"
        logger.warning(
            "%s is %g s, but the model was trained on sounds of at most %g s: captions of longer ones are "
            "often wrong",
            flag,
            asked,
            trained_seconds,
        )


def load_captioner(config: CaptionConfig) -> Captioner:
    """Load the model and what chooses among its candidates."""
    import torch

    from aac_llm.captioning.captioner import Captioner

    # Sampling draws from torch's own generator.
    torch.manual_seed(config.seed)
    return Captioner.from_pretrained(
        config.model,
        device=config.device,
        dtype=config.dtype,
        decoder=config.decoder,
        quantization=config.quantization,
        channel=config.channel,
        limits=BatchLimits(config.seconds_per_batch, config.batch_size),
        num_workers=config.num_workers,
        decode_limits=DecodeLimits(config.decode_seconds, config.decode_megabytes),
        similarity=load_similarity(config),
        max_seconds=config.max_seconds,
    )


def load_similarity(config: CaptionConfig) -> Similarity | None:
    """Load what candidates are compared with, by `config.rerank`; None: their scores decide."""
    if config.rerank == "cider":
        from aac_llm.captioning.rerank import cider_similarity

        return cider_similarity(_references(config.cider_captions, config.language))
    if config.rerank == "sentence":
        from aac_llm.captioning.rerank import sentence_similarity
        from aac_llm.metrics.sentence import SentenceEncoder

        say_licence_of_weights(config.sentence_encoder, licence_of_weights(config.sentence_encoder))
        return sentence_similarity(SentenceEncoder.from_pretrained(config.sentence_encoder))
    return None


def load_corrector(config: CaptionConfig) -> Corrector | None:
    """Make what repairs captions, if they are to be."""
    if not config.correct:
        return None
    from aac_llm.correction.corrector import Corrector

    return Corrector(config.correction)


def _references(manifest: Path | None, language: str) -> list[tuple[str, ...]] | None:
    """Read the training captions of a manifest, by clip; of all clips if none is for training."""
    if manifest is None:
        return None
    from aac_llm.data.manifest import read_manifest

    clips = read_manifest(manifest, language=language)
    # Test captions must not say how common a phrase is.
    chosen = [clip for clip in clips if clip.split == "train"] or clips
    return [tuple(clip.captions) for clip in chosen if clip.captions]

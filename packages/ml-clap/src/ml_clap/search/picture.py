"""A hit as a page shows it: its spectrogram, bright where the hit is, with a strip of likeness below."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from audio_common.reader import AudioError

from ml_clap.search.audio_index import Hit
from ml_clap.search.explain import ExplainError, explain, hear
from ml_clap.search.hit_list import Picture
from ml_clap.search.spectrogram import data_url, draw, spectrogram, to_png

if TYPE_CHECKING:
    from audio_common.config import Channel
    from audio_common.workers import DecodePool

    from ml_clap.models.dual_encoder import DualEncoder

logger = logging.getLogger(__name__)


def take_picture(
    model: DualEncoder, query: np.ndarray, hit: Hit, channel: Channel, pool: DecodePool
) -> Picture | None:
    """Return a hit's spectrogram, and how like the query each moment is where the model can say it.

    Args:
        model: of the index.
        query: its vector (dim,).
        hit: what was found.
        channel: what is made of several channels.
        pool: processes that decode.

    Returns:
        None where the file is gone or cannot be read any more.
    """
    try:
        heard = hear(hit, model, channel, pool)
    except AudioError as e:
        logger.warning("%s; the page shows no picture of it", e)
        return None
    try:
        found = explain(model, query, hit, heard)
    except ExplainError:
        found = None
    shown = (heard.first, heard.last)
    likeness = None if found is None else (found.times, found.similarity)
    picture = draw(spectrogram(heard.waveform, heard.rate), shown, (hit.start, hit.end), likeness)
    return Picture(data_url(to_png(picture)), shown, None if found is None else found.best_time)

"""The pairs of sound and caption that training draws: decoded, cropped, kept in memory.

A file that cannot be read does not end a run. The next clip with a caption in the same language takes its
place, so that batches keep their size on every process, and the item names the file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from audio_common.audio import AudioError, load_audio, measure_audio
from audio_common.config import Channel
from torch import Tensor
from torch.utils.data import Dataset

from ml_clap.data.batches import BadClip, Draw, Item
from ml_clap.data.enhancement import texts_of
from ml_clap.data.manifest import Clip

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Hz, of every model here."""
LONG_SECONDS = 120.0
"""Files longer than this are not kept in memory; each time only the crop is decoded."""
MAX_BAD_IN_A_ROW = 20
"""Number of unreadable files in a row that means that the data is gone, not that a file is bad."""

Crop = Literal["random", "center", "start"]


class CaptionDataset(Dataset[Item]):
    """Reads the pair of a `Draw`; each clip is decoded once in a process while the cache's budget lasts.

    Args:
        clips: The clips that `Sample.clip` numbers.
        max_seconds: Longer clips are cropped.
        crop: Where: at random (training), in the middle, or at the start.
        channel: What is made of several channels.
        seed: Seed for random crops.
        cache_gigabytes: Decoded audio kept in this process. A clip that is kept stays: every epoch asks for
            all clips, and dropping the oldest would drop each just before its next use.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        max_seconds: float = 30.0,
        crop: Crop = "random",
        channel: Channel = "mean",
        seed: int = 0,
        cache_gigabytes: float = 2.0,
    ) -> None:
        self.clips = clips
        self.max_seconds = max_seconds
        self.crop = crop
        self.channel = channel
        self.seed = seed
        self._room = int(cache_gigabytes * 1e9)  # bytes
        self._cache: dict[int, Tensor] = {}
        self._bad: dict[int, str] = {}
        self._measured: dict[int, float] = {}

    def __getitem__(self, draw: Draw) -> Item:
        """Return the drawn pair, or the next one that can be read.

        Raises:
            AudioError: many files in a row, or all that have a caption in this language, cannot be read.
        """
        first, language = draw.sample.clip, draw.sample.language
        bad: list[BadClip] = []
        # Onward from the bad clip, round the list: every process finds the same substitute.
        for number in range(first, first + len(self.clips)):
            clip = number % len(self.clips)
            texts = texts_of(self.clips[clip], draw.sample)
            if texts is None:
                continue
            try:
                waveform = self.read(clip, draw)
            except AudioError as e:
                bad.append(BadClip(clip, str(e)))
                if len(bad) == MAX_BAD_IN_A_ROW:
                    break
            else:
                return Item(waveform, *texts[0], clip, draw.repeat, tuple(bad), tuple(texts[1:]))
        raise AudioError(
            f"none of {len(bad)} clips with captions in {language} can be read; is the folder of the audio "
            f"still there? The last: {bad[-1].reason}"
        )

    def read(self, clip: int, draw: Draw) -> Tensor:
        """Return the cropped clip, `(samples,)`; a clip that failed once is not tried again.

        Raises:
            AudioError: it cannot be read.
        """
        if clip in self._bad:
            raise AudioError(self._bad[clip])
        share = crop_share(self.crop, (self.seed, draw.epoch, draw.place, 4))
        try:
            return self._crop_of_file(clip, share)
        except (AudioError, OSError) as e:
            self._bad[clip] = str(e)
            raise AudioError(str(e)) from e

    def _crop_of_file(self, clip: int, share: float) -> Tensor:
        read = partial(load_audio, self.clips[clip].audio, sample_rate=SAMPLE_RATE, channel=self.channel)
        seconds = self._seconds(clip)
        if seconds > max(LONG_SECONDS, self.max_seconds):
            # A minute-long decode for a crop of seconds: seek instead, and keep nothing.
            return read(offset=share * (seconds - self.max_seconds), duration=self.max_seconds)
        waveform = self._cache.get(clip)
        if waveform is None:
            # It may be hours longer than its manifest or header says: what lies beyond is not heard.
            waveform = read(duration=max(LONG_SECONDS, self.max_seconds))
            self._keep(clip, waveform)
        return cut_crop(waveform, share, self.max_seconds)

    def _seconds(self, clip: int) -> float:
        """Return a clip's length; of a long one what can be decoded, whatever its manifest says."""
        told = self.clips[clip].duration or 0.0
        if told > max(LONG_SECONDS, self.max_seconds) and clip not in self._measured:
            self._measured[clip] = measure_audio(self.clips[clip].audio).duration or 0.0
        return self._measured.get(clip, told)

    def _keep(self, clip: int, waveform: Tensor) -> None:
        size = waveform.nbytes
        if size <= self._room:
            self._cache[clip] = waveform
            self._room -= size


def crop_share(crop: Crop, seed: tuple[int, ...]) -> float:
    """Return where a crop begins, as a share in [0, 1) of the places where it can begin."""
    if crop == "random":
        return float(np.random.default_rng(seed).random())
    return 0.5 if crop == "center" else 0.0


def cut_crop(waveform: Tensor, share: float, max_seconds: float) -> Tensor:
    """Return at most so many seconds of a waveform `(samples,)`; `share` as `crop_share` gives it."""
    length = max(1, round(max_seconds * SAMPLE_RATE))
    start = int(share * (max(0, len(waveform) - length) + 1))
    return waveform[start : start + length]


def clip_seconds(clips: Sequence[Clip], *, unknown: float) -> list[float]:
    """Return the length of each clip: the manifest's, else what its file has, else `unknown`."""
    missing = sum(clip.duration is None for clip in clips)
    if missing:
        logger.warning("%d clips have no duration in the manifest: measuring them", missing)
    return [max(_file_seconds(clip) or unknown, 1 / SAMPLE_RATE) for clip in clips]


def _file_seconds(clip: Clip) -> float | None:
    if clip.duration is not None:
        return clip.duration
    try:
        return measure_audio(clip.audio).duration
    except (AudioError, OSError):
        return None  # reported when training reads it

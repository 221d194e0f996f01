"""The pairs of a `StreamBatch`: their sounds fetched from shards a pool at a time, decoded and cropped.

A sound that cannot be read is replaced by the next one of its pool with a caption in the same language, and
named. Where nothing of a pool can be read, because a shard is gone, the first clips of other shards take
the place. What takes whose place depends on the data alone: a resumed run finds the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from audio_common.audio import AudioError, load_audio
from torch import Tensor
from torch.utils.data import Dataset

from ml_clap.bulk.places import written
from ml_clap.data.batches import BadClip, Draw, Item
from ml_clap.data.dataset import (
    LONG_SECONDS,
    MAX_BAD_IN_A_ROW,
    SAMPLE_RATE,
    CaptionDataset,
    crop_share,
    cut_crop,
)
from ml_clap.data.enhancement import texts_of
from ml_clap.data.manifest import Clip
from ml_clap.data.shards.reading import Fetched, Place, ShardReader
from ml_clap.data.stream import Pool, StreamBatch

logger = logging.getLogger(__name__)


class StreamDataset(Dataset[Item]):
    """Reads the pairs of a `StreamBatch`; of each stream it holds a pool, and fetches the next one.

    Args:
        clips: the clips that `Sample.clip` numbers.
        places: clip -> where its sound is, of those in shards.
        files: reads the others.
    """

    def __init__(self, clips: Sequence[Clip], places: Mapping[int, Place], files: CaptionDataset) -> None:
        self.clips = clips
        self.places = places
        self.files = files
        self._shards = list({place.shard: clip for clip, place in reversed(list(places.items()))}.values())
        """The first clip of each shard."""
        self._readers: dict[int, ShardReader] = {}
        self._held: dict[int, tuple[Pool, Fetched]] = {}
        self._coming: dict[int, tuple[Pool, Future[Fetched]]] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._bad: dict[int, str] = {}

    def __getitems__(self, batch: StreamBatch) -> list[Item]:
        """Return the pairs of a batch.

        Raises:
            AudioError: many sounds in a row cannot be read.
        """
        fetched = self._fetched(batch.pool)
        stream = batch.pool.name[1]
        if batch.following is not None and stream not in self._coming:
            self._start(batch.following)
        return [self._item(draw, batch.pool, fetched) for draw in batch.draws]

    # Pools

    def _fetched(self, pool: Pool) -> Fetched:
        epoch, stream, _ = pool.name
        if any(held.name[0] != epoch for held, _ in (*self._held.values(), *self._coming.values())):
            # Another epoch: this process may have other streams in it.
            for _, future in self._coming.values():
                future.result()
            self._held.clear()
            self._coming.clear()
        if stream in self._held and self._held[stream][0].name == pool.name:
            return self._held[stream][1]
        self._held.pop(stream, None)
        coming = self._coming.pop(stream, None)
        if coming is None or coming[0].name != pool.name:
            if coming is not None:
                coming[1].result()  # its reader is not to be used by two at once
            fetched = self._fetch(pool)
        else:
            fetched = coming[1].result()
        self._held[stream] = (pool, fetched)
        return fetched

    def _start(self, pool: Pool) -> None:
        if self._threads is None:  # in the worker: threads do not survive the fork
            self._threads = ThreadPoolExecutor(thread_name_prefix="shards")
        self._coming[pool.name[1]] = (pool, self._threads.submit(self._fetch, pool))

    def _fetch(self, pool: Pool) -> Fetched:
        reader = self._readers.setdefault(pool.name[1], ShardReader())
        return reader.fetch([(clip, self.places[clip]) for clip in pool.clips if clip in self.places])

    # Pairs

    def _item(self, draw: Draw, pool: Pool, fetched: Fetched) -> Item:
        bad: list[BadClip] = []
        language = draw.sample.language
        for clip in self._candidates(draw.sample.clip, pool):
            texts = texts_of(self.clips[clip], draw.sample)
            if texts is None:
                continue
            try:
                waveform = self._sound(clip, draw, fetched)
            except AudioError as e:
                bad.append(BadClip(clip, str(e)))
            else:
                return Item(waveform, *texts[0], clip, draw.repeat, tuple(bad), tuple(texts[1:]))
        raise AudioError(
            f"none of {len(bad)} clips with captions in {language} can be read; are the shards still there? "
            f"The last: {bad[-1].reason}"
        )

    def _candidates(self, first: int, pool: Pool) -> Iterator[int]:
        """Give the clip, those after it in its pool, and the first ones of the shards after its own."""
        place = pool.clips.index(first)
        yield from (*pool.clips[place:], *pool.clips[:place])
        start = sum(clip <= first for clip in self._shards)
        others = (*self._shards[start:], *self._shards[:start])
        yield from (clip for clip in others[:MAX_BAD_IN_A_ROW] if clip not in pool.clips)

    def _sound(self, clip: int, draw: Draw, fetched: Fetched) -> Tensor:
        """Return the cropped sound, `(samples,)`; one that failed once is not tried again."""
        if clip not in self.places:
            return self.files.read(clip, draw)
        if clip in self._bad:
            raise AudioError(self._bad[clip])
        if clip not in fetched.sounds and clip not in fetched.faults:  # of another pool
            fetched = ShardReader().fetch([(clip, self.places[clip])])
        try:
            if clip in fetched.faults:
                raise AudioError(fetched.faults[clip])
            return self._crop(clip, fetched.sounds[clip], draw)
        except AudioError as e:
            reason = str(e) if clip in fetched.faults else f"{written(self.clips[clip].audio)}: {e}"
            self._bad[clip] = reason
            raise AudioError(reason) from e

    def _crop(self, clip: int, sound: bytes, draw: Draw) -> Tensor:
        files = self.files
        share = crop_share(files.crop, (files.seed, draw.epoch, draw.place, 4))
        seconds, longest = self.clips[clip].duration or 0.0, max(LONG_SECONDS, files.max_seconds)
        if seconds > longest:  # only the crop is decoded
            offset = share * (seconds - files.max_seconds)
            return load_audio(
                sound,
                sample_rate=SAMPLE_RATE,
                channel=files.channel,
                offset=offset,
                duration=files.max_seconds,
            )
        waveform = load_audio(sound, sample_rate=SAMPLE_RATE, channel=files.channel, duration=longest)
        return cut_crop(waveform, share, files.max_seconds)

"""Decode sounds that are in shards or behind URLs: each is brought here for as long as it is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audio_common import AudioError

from r1_aqa.bulk.places import written
from r1_aqa.data.members import local_sounds
from r1_aqa.data.shard_names import needs_fetching
from r1_aqa.data.shards import Place


class AnywhereDecoder:
    """A decoder of files, members of shards and URLs.

    Args:
        decoder: `audio_common`, or a `DecodePool` with its limits; decodes what is here.
        places: where members of shards are.
    """

    def __init__(self, decoder: Any, places: Mapping[str, Place]) -> None:
        self.decoder = decoder
        self.places = places

    def load_audio(self, path: str | Path, *, complaints: list[str] | None = None, **options: Any) -> Any:
        """As `audio_common.load_audio`."""
        odd: list[str] = []
        with self._here(path) as copy:
            samples = self.decoder.load_audio(copy, complaints=odd, **options)
        if complaints is not None:
            complaints += [text.replace(str(copy), written(path)) for text in odd]
        return samples

    def stream_audio(self, path: str | Path, **options: Any) -> Iterator[Any]:
        """As `audio_common.stream_audio`."""
        with self._here(path) as copy:
            yield from self.decoder.stream_audio(copy, **options)

    def audio_info(self, path: str | Path) -> Any:
        """As `audio_common.audio_info`."""
        with self._here(path) as copy:
            return self.decoder.audio_info(copy)

    def measure_audio(self, path: str | Path) -> Any:
        """As `audio_common.measure_audio`."""
        with self._here(path) as copy:
            return self.decoder.measure_audio(copy)

    @contextmanager
    def _here(self, path: str | Path) -> Iterator[str | Path]:
        name = written(path)
        if name not in self.places and not needs_fetching(name):
            yield path
            return
        with local_sounds([name], self.places) as (copy,):
            if isinstance(copy, OSError):
                raise AudioError(str(copy))
            try:
                yield copy
            except AudioError as error:
                raise AudioError(str(error).replace(str(copy), name)) from error

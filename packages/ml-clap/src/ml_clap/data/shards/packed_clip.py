"""A clip as it goes into a shard: decoded whole, its sound encoded anew, and its members of the tar."""

from __future__ import annotations

import gzip
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from audio_common.audio import AudioError
from audio_common.workers import DecodePool

from ml_clap.config.shards import PrepareShardsConfig
from ml_clap.data.manifest import KEYS, Clip
from ml_clap.files import to_json

SAMPLE_RATE = 16_000
"""Hz, of every model here."""


@dataclass(frozen=True)
class PackedClip:
    """A clip as it goes into a tar, or why it does not."""

    clip: Clip
    audio: bytes = b""
    ending: str = ""
    seconds: float = 0.0
    is_clipped: bool = False
    fault: str | None = None


def _float_wav(waveform: np.ndarray) -> bytes:
    """Return a wav file of floats; libsndfile's has the time of writing in it, and no two are equal."""
    data = waveform.astype("<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, SAMPLE_RATE, 4 * SAMPLE_RATE, 4, 32)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + form
        + struct.pack("<4sI", b"data", len(data))
        + data
    )


def pack_clip(clip: Clip, config: PrepareShardsConfig, pool: DecodePool) -> PackedClip:
    """Decode a clip whole, and return it with its bytes for the tar, or with its fault."""
    import soundfile

    try:
        waveform = pool.load_audio(clip.audio, sample_rate=SAMPLE_RATE, channel=config.channel).numpy()
        if config.audio == "original":
            ending = clip.audio.suffix.lower().removeprefix(".")
            return PackedClip(clip, clip.audio.read_bytes(), ending, len(waveform) / SAMPLE_RATE)
        seconds = len(waveform) / SAMPLE_RATE
        is_loud = bool(np.abs(waveform).max() > 1.0)
        if is_loud and config.layout == "ours":
            # Flac has whole numbers only: what is beyond full scale would be cut off at it.
            return PackedClip(clip, _float_wav(waveform), "wav", seconds)
        buffer = BytesIO()
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except (AudioError, OSError, soundfile.LibsndfileError) as e:
        return PackedClip(clip, fault=str(e))
    return PackedClip(clip, buffer.getvalue(), "flac", seconds, is_loud)


def members_of(item: PackedClip, number: int, config: PrepareShardsConfig) -> dict[str, Any]:
    """Return a sample as WebDataset's TarWriter takes it."""
    clip = item.clip
    captions = {language: list(texts) for language, texts in clip.captions.items()}
    if config.layout == "reference":
        # The authors draw the uuid; here it follows from the clip, so that a job can go on after a kill.
        name = clip.audio.stem.replace(".", "-")
        key = f"{name}_{uuid.uuid5(uuid.NAMESPACE_URL, f'{number}/{clip.id}')}"
        return {"__key__": key, "flac": item.audio, "json": to_json({"captions": captions})}
    told = {
        "id": clip.id,
        "captions": captions,
        "split": clip.split,
        "licence": clip.licence,
        "duration": item.seconds,
        "label": clip.label,
    }
    row = {key: value for key, value in told.items() if value is not None}
    row |= {key: value for key, value in clip.extra.items() if key not in KEYS}
    return {"__key__": f"{number:08d}", item.ending: item.audio, "json": to_json(row)}


@contextmanager
def tar_writer(file: BinaryIO, compress: bool) -> Iterator[Any]:
    """Open WebDataset's TarWriter on a file, so that the same samples make the same bytes."""
    from webdataset import TarWriter

    # mtime, and gzip's own: a job that was killed makes the same bytes again. encoder: our bytes as they are.
    settings: dict[str, Any] = {"encoder": False, "compress": False, "mtime": 0.0, "format": "PAX_FORMAT"}
    if not compress:
        with TarWriter(file, **settings) as tar:
            yield tar
        return
    packed = gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0, compresslevel=1)  # flac is dense
    with packed, TarWriter(packed, **settings) as tar:
        yield tar

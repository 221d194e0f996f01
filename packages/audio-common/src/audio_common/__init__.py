"""Audio loading and the CED audio encoder, which the audio-language packages share.

    >>> from audio_common import CED, load_audio  # doctest: +SKIP
    >>> ced = CED.from_pretrained("mispeech/ced-base")  # doctest: +SKIP

Names are imported on first use: `import audio_common.config` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_common.audio import AudioInfo, audio_info, load_audio, measure_audio, stream_audio
    from audio_common.augment import SpecAugment
    from audio_common.batch import LengthBucketSampler, pad_waveforms
    from audio_common.ced import CED
    from audio_common.check import Check, CheckMemory, check_files
    from audio_common.checkpoint import CheckpointError
    from audio_common.config import CED_PRESETS, CEDConfig, Channel
    from audio_common.files import AUDIO_SUFFIXES, AudioFolder, find_audio, is_audio, walk_files
    from audio_common.labels import AUDIOSET_LABELS
    from audio_common.output import CEDOutput
    from audio_common.prefetch import (
        AudioSpan,
        BadFile,
        BatchLimits,
        batch_ahead,
        batch_by_length,
        decode_ahead,
        load_ahead,
    )
    from audio_common.reader import AudioError
    from audio_common.waveform import as_waveform, one_or_many
    from audio_common.workers import DecodeLimits, DecodePool

_NAMES = {
    "audio": ("AudioInfo", "audio_info", "load_audio", "measure_audio", "stream_audio"),
    "augment": ("SpecAugment",),
    "batch": ("LengthBucketSampler", "pad_waveforms"),
    "ced": ("CED",),
    "check": ("Check", "CheckMemory", "check_files"),
    "checkpoint": ("CheckpointError",),
    "config": ("CED_PRESETS", "CEDConfig", "Channel"),
    "files": ("AUDIO_SUFFIXES", "AudioFolder", "find_audio", "is_audio", "walk_files"),
    "labels": ("AUDIOSET_LABELS",),
    "output": ("CEDOutput",),
    "prefetch": (
        "AudioSpan",
        "BadFile",
        "BatchLimits",
        "batch_ahead",
        "batch_by_length",
        "decode_ahead",
        "load_ahead",
    ),
    "reader": ("AudioError",),
    "waveform": ("as_waveform", "one_or_many"),
    "workers": ("DecodeLimits", "DecodePool"),
}
"""Module -> its public names."""
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "AUDIOSET_LABELS",
    "AUDIO_SUFFIXES",
    "CED",
    "CED_PRESETS",
    "AudioError",
    "AudioFolder",
    "AudioInfo",
    "AudioSpan",
    "BadFile",
    "BatchLimits",
    "CEDConfig",
    "CEDOutput",
    "Channel",
    "Check",
    "CheckMemory",
    "CheckpointError",
    "DecodeLimits",
    "DecodePool",
    "LengthBucketSampler",
    "SpecAugment",
    "as_waveform",
    "audio_info",
    "batch_ahead",
    "batch_by_length",
    "check_files",
    "decode_ahead",
    "find_audio",
    "is_audio",
    "load_ahead",
    "load_audio",
    "measure_audio",
    "one_or_many",
    "pad_waveforms",
    "stream_audio",
    "walk_files",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

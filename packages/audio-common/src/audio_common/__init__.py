"""Audio loading and the CED audio encoder: what the audio-language packages share.

    >>> from audio_common import CED, load_audio  # doctest: +SKIP
    >>> ced = CED.from_pretrained("mispeech/ced-base")  # doctest: +SKIP

Names are imported on first use: `import audio_common.config` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audio_common.audio import AudioError, AudioInfo, audio_info, load_audio, stream_audio
    from audio_common.batch import LengthBucketSampler, pad_waveforms
    from audio_common.ced import CED, CEDOutput
    from audio_common.config import CED_PRESETS, CEDConfig

_HOME = {
    "AudioError": "audio",
    "AudioInfo": "audio",
    "audio_info": "audio",
    "load_audio": "audio",
    "stream_audio": "audio",
    "LengthBucketSampler": "batch",
    "pad_waveforms": "batch",
    "CED": "ced",
    "CEDOutput": "ced",
    "CED_PRESETS": "config",
    "CEDConfig": "config",
}

__all__ = [
    "CED",
    "CED_PRESETS",
    "AudioError",
    "AudioInfo",
    "CEDConfig",
    "CEDOutput",
    "LengthBucketSampler",
    "audio_info",
    "load_audio",
    "pad_waveforms",
    "stream_audio",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

"""Sounds as callers have them: a path, bytes, a file, an array or a tensor; one of them or many.

    >>> items, are_many = one_or_many("rain.wav")
    >>> items, are_many
    (['rain.wav'], False)

`as_waveform` makes the same samples of an array as `load_audio` does of a file that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audio_common.audio import load_audio
from audio_common.channels import LARGEST, check_channel, judge, refuse_values, taken
from audio_common.config import Channel
from audio_common.decoder import MAX_CHANNELS
from audio_common.decoding import resampled
from audio_common.reader import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioError

FULL_SCALE = {"uint8": 2.0**7, "int8": 2.0**7, "int16": 2.0**15, "int32": 2.0**31}
"""Integers that sound is stored in and what stands for 1.0 in them; 128 is the zero of uint8."""
SHAPES = "(samples,) or (channels, samples)"
SOUND = "a path, bytes, a binary file object, or an array or tensor of shape " + SHAPES


def as_waveform(
    sound: Any, *, sample_rate: int = 16_000, array_rate: float = 16_000, channel: Channel = "mean"
) -> Tensor:
    """Make one waveform (samples,) float32 of whatever stands for a sound; a copy, on the CPU, no gradient.

    Args:
        sound: a path, bytes or file object, as `load_audio` takes it; or an array or tensor of shape
            (samples,) or (channels, samples), of floats, or of uint8, int8, int16 or int32, which are scaled
            by full scale.
        sample_rate: rate of the result, Hz.
        array_rate: rate of arrays and tensors, Hz; files say theirs.
        channel: what is made of several channels; see `load_audio`.

    Raises:
        AudioError: it is no sound: another type or shape, empty, a value that is not finite or beyond ±1e10;
            or a rate is outside 1-768 kHz.
    """
    _check_rate("sample_rate", sample_rate)
    check_channel(channel)
    if isinstance(sound, np.ndarray | Tensor):
        _check_rate("array_rate", array_rate)
        return _from_array(sound, sample_rate, array_rate, channel)
    if isinstance(sound, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(sound, "read"):
        return _from_file(sound, sample_rate, channel)
    raise AudioError(f"expected {SOUND}, got {type(sound).__name__}{_advice(sound)}")


def one_or_many(sounds: Any) -> tuple[list[Any], bool]:
    """Return the items, and whether they are many: False for a single one, which stands alone in the list.

    A text or path, bytes, file object, array (of any shape) or tensor is one item; other iterables are many.

    >>> one_or_many(["a", "b"]), one_or_many([]), one_or_many("a")
    ((['a', 'b'], True), ([], True), (['a'], False))

    Raises:
        AudioError: it is neither, such as a dict or None.
    """
    is_one = isinstance(sounds, str | bytes | bytearray | memoryview | os.PathLike | np.ndarray | Tensor)
    if is_one or hasattr(sounds, "read"):
        return [sounds], False
    if isinstance(sounds, Mapping) or not isinstance(sounds, Iterable):
        raise AudioError(f"expected one item or a list of them, got {type(sounds).__name__}{_advice(sounds)}")
    return list(sounds), True


def _advice(sound: Any) -> str:
    if isinstance(sound, Mapping) and "array" in sound:
        return "; pass its 'array', and its 'sampling_rate' as the arrays' rate"
    if isinstance(sound, list | tuple) and sound and all(isinstance(value, int | float) for value in sound):
        return " of numbers; pass numpy.array(samples)"
    if isinstance(sound, list | tuple):
        return "; pass its items one by one"
    return ""


def _from_file(sound: Any, sample_rate: int, channel: Channel) -> Tensor:
    if isinstance(sound, str):
        _check_path(sound)
    try:
        return load_audio(sound, sample_rate=sample_rate, channel=channel)
    except AudioError:
        raise
    except (OSError, ValueError) as e:  # a text that is too long for a path, or holds a zero
        shown = repr(sound if isinstance(sound, str | os.PathLike) else type(sound).__name__)
        raise AudioError(f"{shown[:80]} cannot be opened: {e}; pass {SOUND}") from e


def _check_path(text: str) -> None:
    """Refuse texts that are no path of a sound but something else."""
    kind = ""
    if not text.strip():
        kind = "an empty text"
    elif "://" in text[:12]:
        kind = "an address; download it and pass the file"
    elif text.startswith("data:"):
        kind = "a data URL; decode it (base64) and pass the bytes"
    elif text.lstrip()[0] in "[{" and not os.path.lexists(text):
        kind = "a text that looks like JSON; decode it and pass what it holds"
    if kind:
        raise AudioError(f"expected {SOUND}, got {kind}: {text[:40]!r}")


def _check_rate(name: str, rate: Any) -> None:
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise AudioError(f"{name} must be a number of Hz, got {rate!r}")
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{name} must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {rate}")


def _from_array(
    sound: np.ndarray | Tensor, sample_rate: float, array_rate: float, channel: Channel
) -> Tensor:
    kind = "a tensor" if isinstance(sound, Tensor) else "an array"
    samples = _channels_last(_as_array(sound, kind), kind)
    if not max(samples.max(), -samples.min()) <= LARGEST:
        refuse_values(samples, kind, array_rate)
    samples = samples.astype(np.float32, copy=False)
    index = 0 if channel == "first" or samples.shape[1] == 1 else None
    if index is None:
        index = judge(samples, array_rate).chosen(channel)
    blocks = list(resampled(iter([taken(samples, index)]), array_rate, sample_rate))
    waveform = np.concatenate(blocks)
    if not len(waveform):
        raise AudioError(
            f"{kind} of {len(samples)} samples at {array_rate} Hz has none at {sample_rate} Hz; pass more"
        )
    return torch.from_numpy(waveform)


def _as_array(sound: np.ndarray | Tensor, kind: str) -> np.ndarray:
    """Floats of any width, integers scaled; (...) as it came."""
    if isinstance(sound, Tensor):
        sound = sound.detach().cpu()
        is_narrow = sound.is_floating_point() and sound.dtype != torch.float64
        sound = (sound.float() if is_narrow else sound).numpy()
    if sound.dtype.name in FULL_SCALE:
        zero = 128 if sound.dtype.name == "uint8" else 0
        return (sound.astype(np.float64) - zero) / FULL_SCALE[sound.dtype.name]
    if not np.issubdtype(sound.dtype, np.floating):
        raise AudioError(
            f"expected {kind} of floats within ±1 or of {', '.join(FULL_SCALE)}, got {sound.dtype.name}; "
            "convert it, or pass several sounds as a list"
        )
    return sound.astype(np.float32) if sound.dtype.itemsize < 4 else sound


def _channels_last(array: np.ndarray, kind: str) -> np.ndarray:
    """(samples,) or (channels, samples) to (samples, channels), not empty."""
    shape = array.shape
    if array.ndim not in (1, 2):
        advice = "; pass the sounds of a batch one by one" if array.ndim > 2 else ""
        raise AudioError(f"expected {kind} of shape {SHAPES}, got {shape}{advice}")
    if not array.size:
        raise AudioError(f"expected {kind} of at least one sample, got shape {shape}")
    if array.ndim == 1:
        return array[:, None]
    if shape[0] > shape[1]:
        raise AudioError(f"expected {kind} of shape {SHAPES}, got {shape}; transpose (samples, channels)")
    if shape[0] > MAX_CHANNELS:
        raise AudioError(
            f"expected {kind} of at most {MAX_CHANNELS} channels, got shape {shape}; pass the sounds of a "
            "batch one by one"
        )
    return array.T

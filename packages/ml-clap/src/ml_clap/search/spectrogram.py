"""Pictures of a sound: its spectrogram, the stretch that was found, and how like the query each moment is."""

from __future__ import annotations

import base64
import math
import struct
import zlib

import numpy as np

FRAME_SECONDS = 0.032
LOWEST_HZ = 50.0
RANGE_DB = 80.0
"""Darker than the loudest by so much is black."""
DIMMED = 0.4
"""Brightness of what is around the stretch that was found."""
STRIP, GAP = 14, 3
"""Rows of the strip below the spectrogram, and of the black between them."""


def spectrogram(waveform: np.ndarray, rate: int, width: int = 600, height: int = 96) -> np.ndarray:
    """Return the loudness (height, width), 0 to 1, of a sound's moments, by mel, high pitches on top.

    Args:
        waveform: (samples,) float32.
        rate: Hz.
        width: moments.
        height: bands.
    """
    size = 2 ** round(np.log2(rate * FRAME_SECONDS))
    padded = np.pad(waveform, (size // 2, size))
    starts = np.linspace(0, max(len(waveform) - 1, 0), width).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    lowest, highest = to_mel(LOWEST_HZ), to_mel(rate / 2)
    hz = 700 * (10 ** (np.linspace(lowest, highest, height) / 2595) - 1)
    rows = np.stack([np.interp(hz, np.fft.rfftfreq(size, 1 / rate), moment) for moment in power], axis=1)
    decibels = 10 * np.log10(rows + 1e-12)
    return np.clip(1 + (decibels - decibels.max()) / RANGE_DB, 0.0, 1.0)[::-1]


def to_mel(hz: float) -> float:
    """Return a frequency on the mel scale.

    >>> round(to_mel(1000.0))
    1000
    """
    return 2595 * math.log10(1 + hz / 700)


def pitch_ticks(rate: int) -> tuple[list[float], list[str]]:
    """Return where frequencies lie in a spectrogram's height, 0 to 1 from the bottom, and their kHz.

    >>> pitch_ticks(8000)[1]
    ['0.2', '0.5', '1', '2', '4']
    """
    lowest, highest = to_mel(LOWEST_HZ), to_mel(rate / 2)
    shown = [kilohertz for kilohertz in (0.2, 0.5, 1, 2, 4, 8, 16) if kilohertz <= rate / 2000]
    places = [(to_mel(1000 * kilohertz) - lowest) / (highest - lowest) for kilohertz in shown]
    return places, [f"{kilohertz:g}" for kilohertz in shown]


def draw(
    loudness: np.ndarray,
    shown: tuple[float, float],
    found: tuple[float, float],
    likeness: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return a picture (rows, width, 3) uint8: what was found is bright, what is around it dimmed.

    Args:
        loudness: see `spectrogram`.
        shown: from which second to which one it shows.
        found: from which second to which one was found.
        likeness: seconds and cosines of moments, drawn as a strip below from the least to the greatest one.
    """
    width = loudness.shape[1]
    times = shown[0] + (np.arange(width) + 0.5) * (shown[1] - shown[0]) / width
    inside = (times >= found[0]) & (times <= found[1])
    picture = _colours(loudness, "magma") * np.where(inside, 1.0, DIMMED)[None, :, None]
    if likeness is not None:
        seconds, cosines = likeness
        spread = max(float(cosines.max() - cosines.min()), 1e-6)
        nearest = np.abs(times[:, None] - seconds[None]).argmin(axis=1)
        strip = _colours((cosines[nearest] - cosines.min()) / spread, "viridis") * inside[:, None]
        rows = np.broadcast_to(strip, (STRIP, width, 3))
        picture = np.concatenate([picture, np.zeros((GAP, width, 3)), rows])
    return np.round(255 * picture).astype(np.uint8)


def _colours(values: np.ndarray, name: str) -> np.ndarray:
    from matplotlib import colormaps

    return np.asarray(colormaps[name](values))[..., :3]


def to_png(picture: np.ndarray) -> bytes:
    """Return a picture (rows, width, 3) uint8 as a PNG file."""
    height, width, _ = picture.shape
    # A row begins with the number of its filter: 0, none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def data_url(png: bytes) -> str:
    """Return a PNG file as an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()

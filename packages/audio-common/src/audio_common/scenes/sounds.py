"""How each kind of sound event is synthesised: additive, FM, modal and filtered-noise synthesis in numpy.

A synthesiser is a function `(rng, n) -> (n,) float array` at `SAMPLE_RATE`: it starts with sound at its
first sample, draws pitch, tempo and timbre from `rng` so that no two instances are alike, and leaves the
level to the caller. The techniques are textbook ones (D. Rocchesso and F. Fontana, eds., "The Sounding
Object", 2003; A. Farnell, "Designing Sound", 2010); nothing here is a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

SAMPLE_RATE = 16_000
"""Hz; every event is synthesised at this rate."""

_TABLE_LENGTH = 8192
_FFT_BLOCK = 4096  # transform lengths are its multiples: a prime length would be many times slower

Synthesiser = Callable[[Generator, int], np.ndarray]
Floats = Sequence[float] | np.ndarray


# ------------------------------------------------------------------------------------------ parts


def _samples(seconds: float) -> int:
    return max(1, round(seconds * SAMPLE_RATE))


def _curve(n: int, *values: float) -> np.ndarray:
    """Values joined by straight lines over n samples."""
    return np.interp(np.arange(n), np.linspace(0, max(n - 1, 1), len(values)), values)


def _decay(n: int, seconds: float) -> np.ndarray:
    """Exponential envelope falling by 1/e in `seconds`."""
    return np.exp(np.arange(n) * (-1.0 / (seconds * SAMPLE_RATE)))


def _fade(sound: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Raised-cosine rise and fall, in seconds; each at most half of the sound."""
    n = len(sound)
    for seconds, edge in ((attack, slice(None)), (release, slice(None, None, -1))):
        length = min(_samples(seconds), n // 2)
        sound[edge][:length] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))
    return sound


def _tone(frequency: np.ndarray, partials: Floats) -> np.ndarray:
    """Harmonic sound: `partials` are the amplitudes of 1, 2, ... times the frequency curve (n,) in Hz.

    One table look-up a sample, however many partials; those that would alias are left out.
    """
    count = max(1, min(len(partials), int(0.48 * SAMPLE_RATE / frequency.max())))
    spectrum = np.zeros(_TABLE_LENGTH // 2 + 1, dtype=complex)
    spectrum[1 : count + 1] = -0.5j * _TABLE_LENGTH * np.asarray(partials[:count])
    phase = np.cumsum(frequency) * (_TABLE_LENGTH / SAMPLE_RATE)
    return np.fft.irfft(spectrum)[phase.astype(np.int64) % _TABLE_LENGTH]


def _shape(excitation: np.ndarray, *bands: tuple[float, float, float]) -> np.ndarray:
    """Filter by the sum of bands (low Hz, high Hz, gain), with skirts of 24 dB an octave."""
    n = len(excitation)
    padded = -(-n // _FFT_BLOCK) * _FFT_BLOCK
    frequency = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE) + 1e-3
    gains = (
        gain / np.sqrt((1 + (low / frequency) ** 8) * (1 + (frequency / high) ** 8))
        for low, high, gain in bands
    )
    return np.fft.irfft(np.fft.rfft(excitation, padded) * sum(gains))[:n]


def _noise(rng: Generator, n: int, *bands: tuple[float, float, float]) -> np.ndarray:
    return _shape(rng.standard_normal(n), *bands)


def _sway(rng: Generator, n: int, rate: float, low: float, high: float) -> np.ndarray:
    """A random curve between low and high that changes direction about `rate` times a second."""
    return _curve(n, *rng.uniform(low, high, max(3, round(n / SAMPLE_RATE * rate) + 2)))


def _modes(n: int, frequencies: Floats, decays: Floats, gains: Floats) -> np.ndarray:
    """Struck object: a sum of sines (Hz) that die away (seconds to 1/e)."""
    time = np.arange(n) / SAMPLE_RATE
    sound = np.zeros(n)
    for frequency, seconds, gain in zip(frequencies, decays, gains, strict=True):
        length = min(n, _samples(7 * seconds))  # -60 dB: what follows cannot be heard
        t = time[:length]
        sound[:length] += gain * np.sin(2 * np.pi * frequency * t) * np.exp(-t / seconds)
    return sound


def _repeat(
    rng: Generator, n: int, make: Callable[[int], np.ndarray], gaps: Callable[[int], float], shortest: float
) -> np.ndarray:
    """Place make(0), make(1), ... at gaps(0), gaps(1), ... seconds from one another, each at its own level.

    A sound may ring into the next; the last starts at least `shortest` seconds before the end.
    """
    sound, start, k = np.zeros(n), 0, 0
    while k == 0 or start + _samples(shortest) <= n:
        one = make(k)[: n - start]
        sound[start : start + len(one)] += rng.uniform(0.7, 1.0) * one
        start += _samples(gaps(k))
        k += 1
    return sound


# ------------------------------------------------------------------------------------------ kinds


def _alarm(rng: Generator, n: int) -> np.ndarray:
    """Electronic beeps of one steady pitch, in groups."""
    pitch, beep = rng.uniform(1900, 3200), rng.uniform(0.07, 0.13)
    group, pause = int(rng.integers(1, 5)), rng.uniform(0.25, 0.45)
    partials = (1.0, rng.uniform(0, 0.15), rng.uniform(0.1, 0.4))

    def make(_: int) -> np.ndarray:
        return _fade(_tone(np.full(_samples(beep), pitch), partials), 0.003, 0.005)

    return _repeat(rng, n, make, lambda k: beep + (pause if k % group == group - 1 else 0.6 * beep), beep)


def _applause(rng: Generator, n: int) -> np.ndarray:
    """Hundreds of claps of many hands, each a short burst around 1-2 kHz."""
    hands = [
        _noise(rng, 400, (centre * 0.8, centre * 1.3, 1.0)) * _decay(400, rng.uniform(0.003, 0.007))
        for centre in rng.uniform(800, 2200, 12)
    ]
    count = max(8, round(n / SAMPLE_RATE * rng.uniform(70, 180)))
    starts = np.concatenate([[0, 0], rng.integers(0, n, count)])
    sound = 0.02 * _noise(rng, n, (700, 2500, 1.0))
    for start, hand, gain in zip(
        starts, rng.integers(0, 12, len(starts)), rng.exponential(1, len(starts)), strict=True
    ):
        clap = hands[hand][: n - start]
        sound[start : start + len(clap)] += (0.3 + gain) * clap
    return _fade(sound, 0.001, 0.1)


def _bell(rng: Generator, n: int) -> np.ndarray:
    """A church bell: hum, prime, minor third, fifth, octave and upper partials, each pair beating slowly."""
    prime, tempo = rng.uniform(280, 620), rng.uniform(0.8, 1.4)
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.66, 3.01, 4.17]) * rng.uniform(0.99, 1.01, 9)
    gains = np.array([0.5, 0.8, 0.8, 0.35, 1.0, 0.4, 0.35, 0.4, 0.3]) * rng.uniform(0.6, 1.3, 9)
    decays = rng.uniform(0.7, 1.1) / ratios**0.7
    ring = _modes(n, [*prime * ratios, 1.004 * prime], [*decays, decays[1]], [*gains, 0.5 * gains[1]])
    ring[:160] += _noise(rng, 160, (1500, 6000, 1.0)) * _decay(160, 0.002)
    return _fade(_repeat(rng, n, lambda _: ring, lambda _: tempo, 0.3), 0.0005, 0.08)


def _bird(rng: Generator, n: int) -> np.ndarray:
    """A motif of fast sweeps between 2.8 and 6.8 kHz, sung again and again."""
    base, length = rng.uniform(3200, 4800), int(rng.integers(2, 6))
    motif = [
        (base * rng.uniform(0.9, 1.4, 3), rng.uniform(0.04, 0.11), rng.uniform(0.03, 0.07))
        for _ in range(length)
    ]
    rest = rng.uniform(0.15, 0.4)

    def make(k: int) -> np.ndarray:
        sweep, seconds, _ = motif[k % length]
        return _fade(_tone(_curve(_samples(seconds), *sweep), (1.0, 0.06)), 0.008, 0.015)

    def gap(k: int) -> float:
        _, seconds, silence = motif[k % length]
        return seconds + (rest if k % length == length - 1 else silence)

    return _repeat(rng, n, make, gap, 0.08)


def _clock(rng: Generator, n: int) -> np.ndarray:
    """Tick and tock: very short clicks of two alternating colours at a strict tempo."""
    tempo = rng.uniform(0.24, 0.5)
    colours = [np.array([1.0, 1.52, 2.3, 2.9]) * rng.uniform(1700, 2500) for _ in range(2)]
    decays = rng.uniform(0.002, 0.005, 4)

    def make(k: int) -> np.ndarray:
        click = _modes(500, colours[k % 2], decays, (1.0, 0.8, 0.7, 0.5))
        click[:40] += 0.5 * rng.standard_normal(40) * _decay(40, 0.0008)
        return click

    return _repeat(rng, n, make, lambda _: tempo, 0.03)


def _dog(rng: Generator, n: int) -> np.ndarray:
    """Barks: a voice that leaps up and falls, with a formant near 1 kHz and a breathy burst."""
    pitch, tempo = rng.uniform(260, 560), rng.uniform(0.32, 0.6)
    formant, seconds = rng.uniform(800, 1300), rng.uniform(0.13, 0.22)
    harmonics = pitch * np.arange(1, 19)
    partials = np.exp(-(((harmonics - formant) / 450) ** 2)) + 0.25 / np.arange(1, 19)

    def make(_: int) -> np.ndarray:
        m = _samples(seconds * rng.uniform(0.85, 1.15))
        leap = pitch * rng.uniform(0.92, 1.08)
        voice = _tone(_curve(m, 0.75 * leap, 1.2 * leap, leap, 0.6 * leap), partials)
        breath = _noise(rng, m, (600, 2600, 1.2))
        return _fade((voice + rng.uniform(0.4, 0.8) * breath) * _curve(m, 0.9, 1, 0.7, 0.25), 0.006, 0.04)

    return _repeat(rng, n, make, lambda _: tempo * rng.uniform(0.85, 1.25), 0.12)


def _engine(rng: Generator, n: int) -> np.ndarray:
    """A combustion engine: a row of low harmonics whose rate wanders, and noise in the rhythm of firing."""
    rate = rng.uniform(24, 48) * _sway(rng, n, 1.5, 0.9, 1.15)
    order = np.arange(1, 25)
    partials = rng.uniform(0.4, 1.0, 24) / order**0.55
    firing = 1 + 0.9 * _tone(2 * rate, (1.0,))
    hiss = _noise(rng, n, (60, 700, 1.0)) * firing
    sound = _tone(rate, partials) + rng.uniform(0.6, 1.1) * hiss
    return _fade(sound * _sway(rng, n, 2, 0.8, 1.0), 0.01, 0.1)


def _footsteps(rng: Generator, n: int) -> np.ndarray:
    """Steps on gravel: the dull thud of a heel and, as the sole rolls, a crunch of many grains."""
    tempo, heel, crunch = rng.uniform(0.42, 0.65), rng.uniform(65, 110), rng.uniform(2200, 3600)

    def make(k: int) -> np.ndarray:
        m = _samples(rng.uniform(0.2, 0.26))
        thud = _modes(m, [heel, 1.7 * heel], [0.02, 0.012], [1.0, 0.5])
        grains = rng.standard_normal(m) * (rng.random(m) < 0.06) * _curve(m, 0.5, 1.0, 0.4, 0.8, 0.0)
        tilt = 1.15 if k % 2 else 0.9  # left and right shoe
        return _fade(thud + 2.2 * _shape(grains, (tilt * crunch * 0.5, 2 * tilt * crunch, 1.0)), 0.002, 0.04)

    return _repeat(rng, n, make, lambda _: tempo * rng.uniform(0.95, 1.05), 0.18)


def _knock(rng: Generator, n: int) -> np.ndarray:
    """Knuckles on a wooden door, in groups of two to five."""
    panel, tempo = rng.uniform(190, 340), rng.uniform(0.15, 0.24)
    group, pause = int(rng.integers(2, 6)), rng.uniform(0.35, 0.6)
    modes = panel * np.array([1.0, 1.58, 2.24, 3.1]) * rng.uniform(0.96, 1.04, 4)

    def make(_: int) -> np.ndarray:
        knock = _modes(2400, modes, [0.035, 0.025, 0.015, 0.01], rng.uniform(0.4, 1.0, 4))
        knock[:100] += 0.5 * _noise(rng, 100, (300, 2500, 1.0)) * _decay(100, 0.002)
        return knock

    return _repeat(
        rng, n, make, lambda k: pause if k % group == group - 1 else tempo * rng.uniform(0.93, 1.07), 0.1
    )


def _rain(rng: Generator, n: int) -> np.ndarray:
    """A steady hiss with no bass, and drops that patter on top of it."""
    drops = rng.choice([-1.0, 1.0], n) * (rng.random(n) < rng.uniform(0.004, 0.015))
    low = rng.uniform(1300, 3000)
    hiss = _noise(rng, n, (low, 8000, 1.0))
    patter = _shape(drops, (low * 0.8, 7000, 5.0))
    return _fade((hiss + rng.uniform(0.5, 1.2) * patter) * _sway(rng, n, 1.0, 0.85, 1.0), 0.02, 0.1)


def _siren(rng: Generator, n: int) -> np.ndarray:
    """A horn whose pitch sweeps up and down (wail, yelp) or steps between two notes."""
    low, high = rng.uniform(480, 700), rng.uniform(1050, 1500)
    style, t = rng.integers(3), np.arange(n) / SAMPLE_RATE
    period = (rng.uniform(1.6, 2.6), rng.uniform(0.3, 0.5), rng.uniform(0.9, 1.3))[style]
    cycle = (t / period + rng.uniform(0, 0.5)) % 1.0
    swing = (cycle > 0.5).astype(float) if style == 2 else 1 - np.abs(2 * cycle - 1)
    top = low * 1.4 if style == 2 else high
    partials = (1.0, rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.3), 0.12, 0.06)
    return _fade(_tone(low + (top - low) * swing, partials), 0.02, 0.06)


def _thunder(rng: Generator, n: int) -> np.ndarray:
    """A crack that tears the air, then a rumble that rolls away."""
    crack_length = min(n, _samples(rng.uniform(0.25, 0.45)))
    crack = _noise(rng, crack_length, (80, 2200, 1.0)) * _decay(crack_length, rng.uniform(0.05, 0.1))
    crack *= _sway(rng, crack_length, 60, 0.2, 1.0)
    rumble = _noise(rng, n, (25, rng.uniform(90, 150), 5.0)) * _sway(rng, n, 6, 0.15, 1.0)
    rumble *= _decay(n, rng.uniform(0.4, 0.7) * n / SAMPLE_RATE)
    rumble[:crack_length] += rng.uniform(0.7, 1.3) * crack
    return _fade(rumble, 0.002, 0.2)


def _whistle(rng: Generator, n: int) -> np.ndarray:
    """Somebody whistling: a nearly pure tone that steps from note to note, with vibrato and breath."""
    base, note = rng.uniform(850, 1500), rng.uniform(0.22, 0.42)
    scale = 2.0 ** (np.array([0, 2, 4, 5, 7, 9]) / 12)
    vibrato = rng.uniform(4.5, 6.5)
    tune = [(base * rng.choice(scale), note * rng.choice([1.0, 1.0, 2.0])) for _ in range(8)]

    def make(k: int) -> np.ndarray:
        pitch, seconds = tune[k % 8]
        m = _samples(seconds)
        wave = 1 + 0.012 * np.sin(2 * np.pi * vibrato * np.arange(m) / SAMPLE_RATE)
        tone = _tone(pitch * wave * _curve(m, 0.93, 1, 1, 1, 1, 1, 1, 0.97), (1.0, 0.04))
        return _fade(tone + 0.03 * _noise(rng, m, (pitch * 0.8, pitch * 1.5, 1.0)), 0.03, 0.04)

    return _repeat(rng, n, make, lambda k: tune[k % 8][1] + rng.uniform(0, 0.1), 0.15)


def _wind(rng: Generator, n: int) -> np.ndarray:
    """Air in gusts: three bands of noise around a low howl that wander in level against each other."""
    howl = rng.uniform(320, 480)
    bands = [(0.8 * ratio * howl, 1.2 * ratio * howl, 1.0) for ratio in (1.0, 1.5, 2.2)]
    layers = (_noise(rng, n, band) * _sway(rng, n, 2.5, 0.0, 1.0) ** 2 for band in bands)
    sound = 0.25 * _noise(rng, n, (100, 900, 1.0)) * _sway(rng, n, 1.5, 0.5, 1.0) + sum(layers)
    return _fade(sound, 0.08, 0.2)


SYNTHESISERS: dict[str, Synthesiser] = {
    "alarm": _alarm,
    "applause": _applause,
    "bell": _bell,
    "bird": _bird,
    "clock": _clock,
    "dog": _dog,
    "engine": _engine,
    "footsteps": _footsteps,
    "knock": _knock,
    "rain": _rain,
    "siren": _siren,
    "thunder": _thunder,
    "whistle": _whistle,
    "wind": _wind,
}
"""Kind of event -> its synthesiser."""

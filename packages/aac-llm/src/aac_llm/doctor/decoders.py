"""The decoders: each format is made here, of a tone, and read as every command reads sounds."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import soundfile
from audio_common import AudioError, DecodePool

from aac_llm.doctor.finding import Finding
from aac_llm.doctor.installing import install_command

SAMPLE_RATE = 16_000
FORMATS = ("WAV", "FLAC", "OGG", "MP3")
"""What libsndfile writes and reads."""


def decoder_findings(package: str) -> list[Finding]:
    """Decode a tone in each format, in a process of its own, as the commands do."""
    sounds = {name: lambda name=name: write_tone(name) for name in FORMATS}
    with DecodePool() as pool:
        found = [_try(pool, f"libsndfile {soundfile.__libsndfile_version__}", sounds, package, "soundfile")]
        if find_spec("av") is not None:
            found.append(_try(pool, f"PyAV {version('av')}", {"m4a": write_m4a}, package, "av"))
    return found


def _try(
    pool: DecodePool, name: str, sounds: Mapping[str, Callable[[], bytes]], package: str, distribution: str
) -> Finding:
    try:
        for kind, make in sounds.items():
            if len(pool.load_audio(make())) < SAMPLE_RATE // 2:
                raise AudioError(f"{kind}: a tone of a second came back shorter")
    except Exception as error:  # whatever a decoder that does not work raises is what is looked for
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        command = install_command(package, [distribution], again=True)
        return Finding("fault", "decoder", f"{name} does not decode: {why}", command)
    return Finding("ok", "decoder", f"{name} decodes {', '.join(sounds)}")


def tone() -> np.ndarray:
    """Return a tone of a second: `(samples,)` float32."""
    return (0.5 * np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 440 / SAMPLE_RATE)).astype(np.float32)


def write_tone(name: str) -> bytes:
    """Return the tone as a file of one of libsndfile's formats."""
    file = io.BytesIO()
    soundfile.write(file, tone(), SAMPLE_RATE, format=name)
    return file.getvalue()


def write_m4a() -> bytes:
    """Return the tone as aac in an m4a."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(tone()[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()

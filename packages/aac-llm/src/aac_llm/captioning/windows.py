"""The windows of sound files of any length, one after another: only some of them are held at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from audio_common.audio import AudioError, stream_audio
from audio_common.prefetch import BadFile
from audio_common.workers import DecodeLimits, DecodePool
from torch import Tensor

from aac_llm.captioning.segments import cut_windows
from aac_llm.config.sound import Channel
from aac_llm.models.captioner_model import SAMPLE_RATE

BLOCK_SECONDS = 1.0
"""Long sound decoded at a time; damage costs the block that it is in."""


def read_windows(
    paths: Sequence[Path],
    window: int,
    hop: int,
    bad_files: list[BadFile],
    complaints: list[BadFile],
    done: Mapping[int, set[float]],
    channel: Channel,
    longest: float,
    decode_limits: DecodeLimits | None,
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield, file after file: number of the file, start of the window in seconds, waveform.

    Args:
        paths: files.
        window: samples of a window.
        hop: samples from the start of one to the next.
        bad_files: gets what could not be read, or not to its end.
        complaints: gets what is odd about files that could be read.
        done: starts of the windows of a file (by its number) that are not wanted.
        channel: which of a sound's channels is heard.
        longest: seconds of a window that fit into the decoder's context.
        decode_limits: of time and memory for each file; None: it is decoded in this process.
    """
    with ExitStack() as stack:
        stream: Callable[..., Iterator[Tensor]] = stream_audio
        if decode_limits is not None:
            stream = stack.enter_context(DecodePool(decode_limits)).stream_audio
        for index, path in enumerate(paths):
            given, odd = False, list[str]()
            try:
                blocks = stream(
                    path,
                    sample_rate=SAMPLE_RATE,
                    block_seconds=BLOCK_SECONDS,
                    channel=channel,
                    complaints=odd,
                )
                for first, waveform in cut_windows(blocks, window, hop):
                    _check_fits(len(waveform) / SAMPLE_RATE, longest)
                    given = True
                    if first / SAMPLE_RATE not in done.get(index, ()):
                        yield index, first / SAMPLE_RATE, waveform
            # UnicodeError: a name that no file system takes.
            except (AudioError, OSError, UnicodeError) as e:
                bad_files.append(BadFile(path, str(e), index, partly=given))
            complaints += [BadFile(path, text, index, partly=True) for text in odd]


def _check_fits(seconds: float, longest: float) -> None:
    # Beyond its context a decoder writes nonsense, and nobody is told.
    if seconds > longest:
        raise AudioError(
            f"a window of {seconds:.1f} s is more than the {longest:.1f} s that fit into the decoder's "
            "context; choose a shorter one (--window_seconds)"
        )

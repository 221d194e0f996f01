"""Windows of a long file: where they are, and that streaming gives their very samples."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.search.windows import plan_windows, stream_windows

RATE = 16000


@settings(max_examples=50, deadline=None)
@given(duration=st.floats(0.01, 400), window=st.floats(0.5, 30), ratio=st.floats(0.1, 1.0))
def test_windows_cover_the_file_without_a_gap(duration: float, window: float, ratio: float) -> None:
    hop = window * ratio
    windows = plan_windows(duration, window, hop)
    starts, ends = zip(*windows, strict=True)
    assert starts[0] == 0.0
    assert ends[-1] == duration
    assert list(starts) == sorted(set(starts))
    assert all(later <= earlier_end + 1e-9 for earlier_end, later in zip(ends, starts[1:], strict=False))
    assert all(end - start <= window + 0.1 * hop + 1e-9 for start, end in windows)
    if duration > window:
        assert all(end - start >= window - 1e-9 for start, end in windows)


def test_a_clip_hardly_longer_than_a_window_is_one_window() -> None:
    assert plan_windows(10.02, 10.0, 10.0) == [(0.0, 10.02)]
    assert plan_windows(11.5, 10.0, 10.0) == [(0.0, 10.0), (1.5, 11.5)]


@settings(max_examples=20, deadline=None)
@given(
    seconds=st.floats(1.0, 75.0),
    window=st.floats(0.5, 40.0),
    ratio=st.floats(0.3, 1.0),
    skip=st.integers(0, 5),
)
def test_streamed_windows_are_the_files_samples(
    tmp_path_factory: pytest.TempPathFactory, seconds: float, window: float, ratio: float, skip: int
) -> None:
    path = tmp_path_factory.mktemp("stream") / "a.wav"
    samples = np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)
    soundfile.write(path, samples, RATE, "FLOAT")
    windows = plan_windows(len(samples) / RATE, window, window * ratio)[skip:]
    pieces = list(stream_windows(path, windows))
    assert len(pieces) == len(windows)
    for (start, end), piece in zip(windows, pieces, strict=True):
        torch.testing.assert_close(piece, torch.from_numpy(samples[round(start * RATE) : round(end * RATE)]))


def test_streaming_stops_where_the_file_ends(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(12 * RATE), RATE)
    pieces = list(stream_windows(tmp_path / "a.wav", plan_windows(30.0, 10.0, 10.0)))
    assert [len(piece) / RATE for piece in pieces] == [10.0, 2.0]


def test_a_fault_is_an_error_after_the_windows_before_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=40 * RATE).astype(np.float32) * 0.1
    noise[30 * RATE] = np.nan
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    pieces = stream_windows(tmp_path / "a.wav", plan_windows(40.0, 5.0, 5.0))
    assert len(next(pieces)) == 5 * RATE
    with pytest.raises(AudioError, match="nan"):
        list(pieces)

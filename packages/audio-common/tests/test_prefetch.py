"""Every sound once, in batches within their limits, not far ahead, whatever the headers say."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, load_audio
from audio_common.prefetch import (
    BATCHES_AHEAD,
    AudioSpan,
    BadFile,
    BatchLimits,
    batch_ahead,
    batch_by_length,
    decode_ahead,
    load_ahead,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 16_000
SECONDS = (0.4, 2.3, 0.05, 1.1, 1.7, 0.9, 1.1)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sounds")
    for number, seconds in enumerate(SECONDS):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, round(seconds * RATE))
        soundfile.write(folder / f"{number}.wav", noise, RATE)
    return [folder / f"{number}.wav" for number in range(len(SECONDS))]


def bad_sounds(folder: Path) -> list[Path]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "words.mp3").write_text("no sound at all")
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    return [folder / name for name in ("empty.wav", "words.mp3", "nan.wav", "missing.flac")]


@settings(max_examples=50, deadline=None)
@given(
    seconds=st.lists(st.floats(0.0, 60.0) | st.just(math.inf), max_size=40),
    limits=st.builds(BatchLimits, st.floats(0.1, 200.0), st.none() | st.integers(1, 6)),
)
def test_batches_hold_every_sound_once_within_both_limits(seconds: list[float], limits: BatchLimits) -> None:
    batches = batch_by_length(seconds, limits)
    assert sorted(index for batch in batches for index in batch) == list(range(len(seconds)))
    for batch in batches:
        assert len(batch) <= (limits.size or len(seconds))
        assert len(batch) == 1 or len(batch) * max(seconds[index] for index in batch) <= limits.seconds
    lengths = [seconds[index] for batch in batches for index in batch]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("values", [(0.0, None), (-1.0, None), (math.nan, None), (1.0, 0)])
def test_limits_that_allow_nothing_are_refused(values: tuple[float, int | None]) -> None:
    with pytest.raises(ValueError, match="of a batch must be"):
        BatchLimits(*values)


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("limits", [BatchLimits(0.01), BatchLimits(3.0), BatchLimits(size=2), BatchLimits()])
def test_every_sound_comes_once_as_it_is(sounds: list[Path], limits: BatchLimits, num_workers: int) -> None:
    found: dict[int, torch.Tensor] = {}
    for indices, waveforms in decode_ahead(sounds, limits, num_workers=num_workers):
        found |= dict(zip(indices, waveforms, strict=True))
    assert sorted(found) == list(range(len(sounds)))
    assert all(torch.equal(found[index], load_audio(path)) for index, path in enumerate(sounds))


def test_parts_of_a_file_are_those_parts(sounds: list[Path]) -> None:
    spans = [AudioSpan(sounds[1], 0.5, 1.0), AudioSpan(sounds[1], 1.5), AudioSpan(sounds[1], 0.0, 0.3)]
    ((indices, waveforms),) = decode_ahead(spans, BatchLimits())
    assert indices == [0, 1, 2]
    assert [round(len(waveform) / RATE, 3) for waveform in waveforms] == [1.0, 0.8, 0.3]
    assert torch.equal(waveforms[0], load_audio(sounds[1], offset=0.5, duration=1.0))


def test_bad_files_are_reported_and_the_others_decoded(sounds: list[Path], tmp_path: Path) -> None:
    bad_paths = bad_sounds(tmp_path)
    given = [bad_paths[0], *sounds, *bad_paths[1:]]
    bad: list[BadFile] = []
    batches = decode_ahead(given, BatchLimits(3.0), num_workers=2, bad_files=bad)
    assert sorted(index for indices, _ in batches for index in indices) == list(range(1, 8))
    assert {file.index: file.path for file in bad} == dict(zip([0, 8, 9, 10], bad_paths, strict=True))
    assert all(file.path.name in file.reason for file in bad)


def test_without_a_list_a_bad_file_is_an_error(sounds: list[Path], tmp_path: Path) -> None:
    for path in bad_sounds(tmp_path):
        with pytest.raises(AudioError, match=path.name):
            list(decode_ahead([*sounds, path], BatchLimits()))


def test_what_is_refused_by_its_header_is_not_decoded(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    monkeypatch.setattr(
        "audio_common.audio.load_audio",
        lambda path, **options: decoded.append(path) or load_audio(path, **options),
    )
    bad: list[BadFile] = []
    batches = decode_ahead(
        sounds, BatchLimits(), bad_files=bad, refuse=lambda seconds: "too long" if seconds > 1.0 else None
    )
    assert sorted(index for indices, _ in batches for index in indices) == [0, 2, 5]
    assert sorted((file.index, file.reason) for file in bad) == [(i, "too long") for i in (1, 3, 4, 6)]
    assert sorted(decoded) == [sounds[0], sounds[2], sounds[5]]


def test_headers_that_lie_do_not_make_a_batch_too_big(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say that all are of one length; two of them are refused when their true one is known."""

    class Info:
        duration = 0.5
        is_exact = False

    monkeypatch.setattr("audio_common.info.audio_info", lambda path: Info)
    bad: list[BadFile] = []
    for _, waveforms in decode_ahead(
        sounds, BatchLimits(2.5), bad_files=bad, refuse=lambda s: "too long" if s > 1.5 else None
    ):
        assert len(waveforms) == 1 or len(waveforms) * max(map(len, waveforms)) <= 2.5 * RATE
    assert sorted(file.index for file in bad) == [1, 4]


def test_an_estimate_refuses_nothing(sounds: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A header guesses an hour, or a moment: what streams decides."""

    class Info:
        is_exact = False

    monkeypatch.setattr("audio_common.info.audio_info", lambda path: Info)
    for guess in (3600.0, 0.01):
        Info.duration = guess  # type: ignore[attr-defined]
        bad: list[BadFile] = []
        found = decode_ahead(
            sounds, BatchLimits(), bad_files=bad, refuse=lambda s: None if 1 < s < 2 else "not this long"
        )
        assert sorted(index for indices, _ in found for index in indices) == [3, 4, 6]
        assert sorted(file.index for file in bad) == [0, 1, 2, 5]


def test_a_part_is_refused_by_what_there_is_of_it(sounds: list[Path]) -> None:
    spans = [AudioSpan(sounds[1], 2.0, 5.0), AudioSpan(sounds[1], 0.0, 2.0), AudioSpan(sounds[1], 0.5)]
    bad: list[BadFile] = []
    found = decode_ahead(
        spans, BatchLimits(), bad_files=bad, refuse=lambda seconds: "too long" if seconds > 1 else None
    )
    assert [indices for indices, _ in found] == [[0]]  # 0.3 s are left of the 5 s
    assert sorted(file.index for file in bad) == [1, 2]


def test_the_channel_asked_for_is_decoded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    ((_, (waveform,)),) = decode_ahead([tmp_path / "a.wav"], BatchLimits(), channel="first")
    np.testing.assert_array_equal(waveform, noise[:, 0])


def test_a_header_without_a_length_makes_a_batch_of_its_own(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Info:
        duration = None
        is_exact = False

    monkeypatch.setattr("audio_common.info.audio_info", lambda path: Info)
    refused = decode_ahead(sounds[:1], BatchLimits(), bad_files=[], refuse=lambda seconds: "any")
    assert list(refused) == []  # refused once its length is known
    assert [indices for indices, _ in decode_ahead(sounds[:3], BatchLimits())] == [[0], [1], [2]]


def test_given_batches_are_kept_in_their_order(sounds: list[Path], tmp_path: Path) -> None:
    bad: list[BadFile] = []
    spans = [*sounds, tmp_path / "missing.wav"]
    found = decode_ahead(spans, BatchLimits(0.01), bad_files=bad, batches=[[2, 1], [7], [1, 7, 0]])
    assert [indices for indices, _ in found] == [[2, 1], [1, 0]]
    assert [file.index for file in bad] == [7, 7]


def test_each_file_is_decoded_once_and_not_far_ahead(
    sounds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[Path] = Counter()
    lock = threading.Lock()

    def count(path: Path, **options: object) -> torch.Tensor:
        with lock:
            decoded[path] += 1
        return load_audio(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("audio_common.audio.load_audio", count)
    done = 0
    for indices, _ in decode_ahead(sounds * 4, BatchLimits(0.01), num_workers=4):
        done += len(indices)
        assert decoded.total() <= done + BATCHES_AHEAD
    assert decoded == dict.fromkeys(sounds, 4)


def test_who_stops_early_leaves_no_thread_behind(sounds: list[Path]) -> None:
    before = threading.active_count()
    batches = decode_ahead(sounds, BatchLimits(0.01), num_workers=2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@settings(max_examples=50, deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(0, 20), max_size=5), max_size=8),
    num_workers=st.integers(1, 4),
    batches_ahead=st.integers(0, 3),
)
def test_batches_come_in_order_with_what_failed(
    batches: list[list[int]], num_workers: int, batches_ahead: int
) -> None:
    taken = 0

    def source() -> Iterator[list[int]]:
        nonlocal taken
        for batch in batches:
            taken += 1
            yield batch

    def load(number: int) -> int:
        if number % 3 == 0:
            raise AudioError(f"bad {number}")
        return number * 10

    loading = load_ahead(source(), load, num_workers=num_workers, batches_ahead=batches_ahead)
    for place, ((loaded, failures), batch) in enumerate(zip(loading, batches, strict=True)):
        assert taken <= place + 1 + batches_ahead
        assert loaded == [(number, number * 10) for number in batch if number % 3]
        assert failures == {number: f"bad {number}" for number in batch if number % 3 == 0}


def test_other_errors_than_a_sound_s_are_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(load_ahead([[1, 0]], lambda number: 1 / number))
    with pytest.raises(ValueError, match="num_workers must be at least 1"):
        list(load_ahead([[1]], str, num_workers=0))


def test_the_next_items_are_made_while_the_caller_works() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield from range(4)
        made.set()
        yield 4

    batches = batch_ahead(items(), 2)
    assert next(batches) == [0, 1]
    assert next(batches) == [2, 3]
    assert made.wait(10)  # by the thread: nothing here has asked for the third batch
    assert list(batches) == [[4]]


def test_several_threads_decode_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    list(load_ahead([[0], [1], [2]], lambda number: together.wait(), num_workers=3))


def test_loading_and_working_overlap() -> None:
    def load(number: int) -> int:
        time.sleep(0.05)
        return number

    began = time.monotonic()
    for _ in load_ahead([[n] for n in range(8)], load):
        time.sleep(0.05)
    assert time.monotonic() - began < 0.7  # 0.8 s one after the other, 0.45 s overlapped

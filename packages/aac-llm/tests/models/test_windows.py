"""Windows of a sound: they cover it, they are those of the whole also where it comes in blocks."""

from itertools import pairwise

import pytest
import torch
from aac_llm.models.windows import cut_overlapping, cut_windows, plan_windows
from hypothesis import given, settings
from hypothesis import strategies as st

window_and_hop = st.integers(1, 40).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window)))


@settings(max_examples=50, deadline=None)
@given(num_samples=st.integers(1, 300), sizes=window_and_hop)
def test_windows_cover_the_sound_exactly(num_samples, sizes):
    window, hop = sizes
    windows = plan_windows(num_samples, window, hop)
    assert windows[0][0] == 0
    assert windows[-1][1] == num_samples
    for index, (start, end) in enumerate(windows):
        assert start == index * hop
        assert start < end <= start + window + hop // 4
    for (_, end), (start, _) in pairwise(windows):
        assert start <= end
    assert all(end - start == window for start, end in windows[:-1])


@settings(max_examples=50, deadline=None)
@given(num_samples=st.integers(1, 300), sizes=window_and_hop, block=st.integers(1, 90))
def test_windows_of_a_stream_are_those_of_the_whole_sound(num_samples, sizes, block):
    sound = torch.arange(num_samples, dtype=torch.float32)
    found = list(cut_windows(sound.split(block), *sizes))
    expected = plan_windows(num_samples, *sizes)
    assert [(start, start + len(waveform)) for start, waveform in found] == expected
    for start, waveform in found:
        assert torch.equal(waveform, sound[start : start + len(waveform)])


def test_no_more_than_a_window_and_a_block_is_read_ahead():
    taken = 0

    def blocks():
        nonlocal taken
        while True:
            taken += 5
            yield torch.zeros(5)

    stream = cut_windows(blocks(), 20, 20)
    for index in range(10):
        start, _ = next(stream)
        assert start == 20 * index
        assert taken <= start + 20 + 20 // 4 + 5


def test_sound_before_damage_is_given_before_the_error():
    def blocks():
        yield torch.ones(12)
        raise ValueError("damaged")

    stream = cut_windows(blocks(), 10, 10)
    assert [next(stream)[0]] == [0]
    with pytest.raises(ValueError, match="damaged"):
        next(stream)


def test_a_hop_beyond_the_window_is_an_error():
    with pytest.raises(ValueError, match=r"hop of 1 to window \(10\) samples, got 11"):
        plan_windows(100, 10, 11)


@settings(max_examples=80, deadline=None)
@given(num_samples=st.integers(1, 300), sizes=window_and_hop, block=st.integers(1, 90))
def test_overlapping_windows_cover_the_sound_and_none_is_longer_or_shorter(num_samples, sizes, block):
    window, hop = sizes
    sound = torch.arange(num_samples, dtype=torch.float32)
    found = list(cut_overlapping(sound.split(block), window, hop))
    spans = [(start, start + len(waveform)) for start, waveform in found]
    assert spans[0][0] == 0
    assert spans[-1][1] == num_samples
    assert {end - start for start, end in spans} == {min(window, num_samples)}
    for (start, end), (following, _) in pairwise(spans):
        assert start < following <= min(end, start + hop)
    for start, waveform in found:
        assert torch.equal(waveform, sound[start : start + len(waveform)])


def test_of_overlapping_windows_those_before_damage_are_given_too():
    def blocks():
        yield torch.ones(25)
        raise ValueError("damaged")

    stream = cut_overlapping(blocks(), 10, 8)
    assert [next(stream)[0] for _ in range(3)] == [0, 8, 15]
    with pytest.raises(ValueError, match="damaged"):
        next(stream)

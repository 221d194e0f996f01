from itertools import pairwise

import pytest
import torch
from aac_llm.captioning.segments import cut_windows, group_by_sound, merge_equal, plan_windows
from aac_llm.captioning.subtitles import to_srt, to_vtt
from aac_llm.data.predictions import Candidate, Prediction
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


def part(id, start, end, caption):
    return Prediction(id, f"{id}.wav", caption, (Candidate(caption, -1.0),), start=start, end=end)


def test_neighbours_of_one_caption_are_merged():
    merged = merge_equal(
        [
            part("a", 0, 10, "rain"),
            part("a", 10, 20, "rain"),
            part("a", 20, 30, "wind"),
            part("a", 30, 34, "rain"),
        ]
    )
    assert [(prediction.start, prediction.end, prediction.caption) for prediction in merged] == [
        (0, 20, "rain"),
        (20, 30, "wind"),
        (30, 34, "rain"),
    ]


def test_parts_of_other_sounds_and_parts_with_a_gap_are_not_merged():
    parts = [part("a", 0, 10, "rain"), part("b", 10, 20, "rain"), part("b", 25, 30, "rain")]
    assert merge_equal(parts) == parts


def test_merging_merged_parts_changes_nothing():
    once = merge_equal([part("a", n, n + 1, "rain" if n % 3 else "wind") for n in range(12)])
    assert merge_equal(once) == once


def test_subtitles_have_their_formats_times_and_escapes():
    parts = [part("a", 0.0, 9.9996, "rain\n\nfalls"), part("a", 3661.25, 3662.0, "a <b> & c")]
    assert to_srt(parts) == (
        "1\n00:00:00,000 --> 00:00:10,000\nrain falls\n\n2\n01:01:01,250 --> 01:01:02,000\na <b> & c\n"
    )
    assert to_vtt(parts) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nrain falls\n\n"
        "01:01:01.250 --> 01:01:02.000\na &lt;b&gt; &amp; c\n"
    )


def test_a_caption_without_times_makes_no_subtitle():
    with pytest.raises(ValueError, match="'a' has none: caption with segments"):
        to_srt([Prediction("a", None, "rain")])


def test_parts_are_grouped_by_sound_and_sorted():
    groups = group_by_sound([part("b", 10, 20, "x"), part("a", 0, 10, "y"), part("b", 0, 10, "z")])
    assert [[prediction.caption for prediction in group] for group in groups] == [["z", "x"], ["y"]]

from collections import Counter

import numpy as np
import pytest
import torch
from audio_common.batch import LengthBucketSampler, pad_waveforms
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

LENGTHS = st.lists(st.floats(0.02, 60.0), min_size=1, max_size=300)
SIZES = st.one_of(
    st.integers(1, 20).map(lambda size: {"batch_size": size}),
    st.floats(0.5, 300.0).map(lambda seconds: {"seconds_per_batch": seconds}),
)


def padded_seconds(lengths, batches):
    return sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SIZES, st.integers(1, 5), st.booleans(), st.integers(0, 3))
def test_every_item_comes_once_per_epoch_over_the_ranks(lengths, size, world_size, shuffle, epoch):
    ranks = []
    for rank in range(world_size):
        sampler = LengthBucketSampler(lengths, **size, shuffle=shuffle, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        ranks.append(list(sampler))
        assert len(ranks[-1]) == len(sampler)
    for step in zip(*ranks, strict=True):
        assert len({len(batch) for batch in step}) == 1
    counts = Counter(index for batches in ranks for batch in batches for index in batch)
    assert set(counts) == set(range(len(lengths)))
    assert sum(counts.values()) - len(lengths) < world_size


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SIZES, st.integers(1, 4))
def test_drop_last_leaves_disjoint_complete_batches(lengths, size, world_size):
    try:
        samplers = [
            LengthBucketSampler(lengths, **size, drop_last=True, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
    except ValueError:
        assert len(lengths) < size.get("batch_size", np.inf) * world_size
        return
    batches = [batch for sampler in samplers for batch in sampler]
    items = [index for batch in batches for index in batch]
    assert len(items) == len(set(items))
    if "batch_size" in size:
        assert {len(batch) for batch in batches} == {size["batch_size"]}
        assert len(lengths) - len(items) < size["batch_size"] * world_size


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.floats(0.5, 300.0), st.integers(1, 3))
def test_padded_seconds_stay_within_the_budget(lengths, seconds, world_size):
    for rank in range(world_size):
        for batch in LengthBucketSampler(
            lengths, seconds_per_batch=seconds, rank=rank, world_size=world_size
        ):
            assert len(batch) == 1 or padded_seconds(lengths, [batch]) <= seconds * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SIZES, st.integers(0, 5), st.integers(1, 3), st.data())
def test_resuming_goes_on_as_if_uninterrupted(lengths, size, seed, world_size, data):
    arguments = {**size, "seed": seed, "world_size": world_size, "rank": world_size - 1}
    uninterrupted = LengthBucketSampler(lengths, **arguments)
    epoch = data.draw(st.integers(0, 2))
    uninterrupted.set_epoch(epoch)
    whole = list(uninterrupted)
    uninterrupted.set_epoch(epoch + 1)
    next_epoch = list(uninterrupted)

    killed = LengthBucketSampler(lengths, **arguments)
    killed.set_epoch(epoch)
    used = data.draw(st.integers(0, len(whole)))
    iterator = iter(killed)
    before = [next(iterator) for _ in range(used)]
    resumed = LengthBucketSampler(lengths, **arguments)
    resumed.load_state_dict(killed.state_dict())
    resumed.set_epoch(epoch)  # as a training loop does at the head of each epoch
    assert before + list(resumed) == whole
    resumed.set_epoch(epoch + 1)
    assert list(resumed) == next_epoch


def test_resuming_counts_used_batches_where_workers_fetch_ahead():
    lengths = np.linspace(1, 9, 40).tolist()
    whole = list(LengthBucketSampler(lengths, batch_size=4))
    sampler = LengthBucketSampler(lengths, batch_size=4)
    loader = DataLoader(range(40), batch_sampler=sampler, num_workers=1, collate_fn=list)
    iterator = iter(loader)
    assert [next(iterator) for _ in range(3)] == whole[:3]
    assert sampler.state_dict()["num_batches"] > 3
    resumed = LengthBucketSampler(lengths, batch_size=4)
    resumed.load_state_dict(sampler.state_dict(num_batches=3))
    assert list(resumed) == whole[3:]
    assert list(resumed) == whole  # only the first iteration after loading is cut


def test_an_abandoned_iteration_does_not_shorten_the_next():
    sampler = LengthBucketSampler([1.0] * 10, batch_size=2)
    next(iter(sampler))
    assert len(list(sampler)) == 5


def test_resuming_with_other_data_or_settings_is_refused():
    state = LengthBucketSampler([1.0, 2.0, 3.0], batch_size=2).state_dict()
    with pytest.raises(ValueError, match="batch_size 2 -> 3"):
        LengthBucketSampler([1.0, 2.0, 3.0], batch_size=3).load_state_dict(state)
    with pytest.raises(ValueError, match="lengths_crc32"):
        LengthBucketSampler([1.0, 2.0, 3.5], batch_size=2).load_state_dict(state)


def test_state_is_plain_data_and_the_same_on_every_rank():
    states = [
        LengthBucketSampler([1.0] * 9, batch_size=2, rank=rank, world_size=3).state_dict()
        for rank in range(3)
    ]
    assert states[0] == states[1] == states[2]
    assert torch.tensor(states[0]["num_batches"]).item() == 0


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).uniform(1, 10, 200).tolist()

    def order(seed, epoch):
        sampler = LengthBucketSampler(lengths, batch_size=8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert sorted(map(sorted, order(0, 0))) != sorted(map(sorted, order(0, 1)))  # batches mix anew


@pytest.mark.parametrize("drop_last", [False, True])
def test_global_batches_do_not_depend_on_the_number_of_ranks(drop_last):
    lengths = np.random.default_rng(0).uniform(1, 10, 203).tolist()
    one = list(LengthBucketSampler(lengths, batch_size=8, drop_last=drop_last))
    two = [
        list(LengthBucketSampler(lengths, batch_size=4, rank=rank, world_size=2, drop_last=drop_last))
        for rank in range(2)
    ]
    assert [set(batch) for batch in one] == [set(a) | set(b) for a, b in zip(*two, strict=True)]


@pytest.mark.parametrize("size", [{"batch_size": 16}, {"seconds_per_batch": 100.0}])
def test_bucketing_wastes_far_less_padding_than_random_batches(size):
    generator = np.random.default_rng(0)
    lengths = generator.uniform(1, 10, 2000).tolist()
    batches = list(LengthBucketSampler(lengths, **size))
    order = generator.permutation(2000).tolist()
    random_batches = [order[start : start + 16] for start in range(0, 2000, 16)]
    waste = padded_seconds(lengths, batches) / sum(lengths) - 1
    assert waste < 0.1
    assert padded_seconds(lengths, random_batches) / sum(lengths) - 1 > 5 * waste


def test_without_shuffling_the_longest_batch_comes_first():
    assert list(LengthBucketSampler([1.0, 3.0, 2.0, 4.0, 0.5], batch_size=2, shuffle=False)) == [
        [3, 1],
        [2, 0],
        [4],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either batch_size or seconds_per_batch"),
        ({"batch_size": 1, "seconds_per_batch": 1.0}, "either batch_size or seconds_per_batch"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seconds_per_batch": -1.0}, "seconds_per_batch must be positive, got -1.0"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "got 2 of 2"),
        ({"batch_size": 9, "drop_last": True}, "drop_last leaves no batch of 2 items"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LengthBucketSampler([1.0, 2.0], **arguments)


@pytest.mark.parametrize(
    ("lengths", "message"), [([], "shape"), ([1.0, 0.0], "item 1"), ([np.nan], "item 0")]
)
def test_impossible_lengths_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        LengthBucketSampler(lengths, batch_size=1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=8))
def test_padding_keeps_each_waveform_and_fills_with_zeros(lengths):
    waveforms = [torch.rand(length) + 0.1 for length in lengths]
    padded, got = pad_waveforms(waveforms)
    assert padded.shape == (len(lengths), max(lengths))
    assert got.dtype == torch.int64
    assert got.tolist() == lengths
    for row, waveform in zip(padded, waveforms, strict=True):
        assert torch.equal(row[: len(waveform)], waveform)
        assert not row[len(waveform) :].any()


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        ([], "got none"),
        ([torch.zeros(4), torch.zeros(2, 4)], r"number 1 has \(2, 4\)"),
        ([torch.zeros(0)], r"number 0 has \(0,\)"),
    ],
)
def test_padding_refuses_what_is_no_waveform(waveforms, message):
    with pytest.raises(ValueError, match=message):
        pad_waveforms(waveforms)

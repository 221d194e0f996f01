"""Batches from shards: nothing is lost or doubled, whoever reads; a resumed epoch goes on exactly."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_common.audio import AudioError
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.data.batches import Batch, Draw
from ml_clap.data.enhancement import Sample, epoch_captions
from ml_clap.data.loader import CaptionLoader, make_stream_loader
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.data.sources import Sources, read_sources
from ml_clap.data.stream import StreamBatch, plan_stream, reading_order
from ml_clap.files import to_json
from ml_clap.models.tokenizer import TextBatch, pad_tokens

webdataset = pytest.importorskip("webdataset")

NUM_SHARDS, PER_SHARD, LOOSE = 4, 7, 5
LANGUAGES = ("eng_Latn", "fra_Latn")


def tokenize(texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
    return pad_tokens([list(text.encode()) for text in texts], 0)


def decode(batch: Batch) -> list[str]:
    rows = zip(batch.text_ids, batch.text_mask, strict=True)
    return [bytes(ids[mask].tolist()).decode() for ids, mask in rows]


def captions_of(number: int) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(LANGUAGES, (f"{number}-a", f"{number}-b"))


def tone(number: int) -> np.ndarray:
    """0.1 to 0.4 s of the constant (number + 1) / 100."""
    return np.full(1600 + 400 * (number % 13), (number + 1) / 100)


def write_shards(folder: Path, *, compress: bool) -> None:
    for shard in range(NUM_SHARDS):
        name = folder / f"{shard}.tar{'.gz' if compress else ''}"
        with webdataset.TarWriter(str(name), encoder=False) as tar:
            for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
                buffer = BytesIO()
                soundfile.write(buffer, tone(number), 16_000, format="FLAC")
                told = to_json({"captions": captions_of(number)})
                tar.write({"__key__": f"{number:03d}", "flac": buffer.getvalue(), "json": told})


@pytest.fixture(scope="module", params=[False, True], ids=["tar", "tar.gz"])
def sources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """28 clips in four shards, and 5 that are files."""
    folder = tmp_path_factory.mktemp("stream")
    write_shards(folder, compress=request.param)
    clips = []
    for number in range(NUM_SHARDS * PER_SHARD, NUM_SHARDS * PER_SHARD + LOOSE):
        soundfile.write(folder / f"{number}.wav", tone(number), 16_000)
        clips.append(Clip(f"{number}", folder / f"{number}.wav", captions_of(number), duration=0.2))
    write_manifest(folder / "files.jsonl", clips)
    return read_sources([folder, folder / "files.jsonl"], ())


def samples_of(clips: Sequence[Clip], epoch: int) -> list[Sample]:
    return epoch_captions(clips, languages=LANGUAGES[1:], rate=0.5, epoch=epoch)


def loader_of(sources: Sources, **settings_: Any) -> CaptionLoader:
    settings_ = {"batch_size": 4, "max_seconds": 0.25, "seed": 7, "streams": 2, "buffer": 24} | settings_
    samples = partial(samples_of, sources.clips)
    return make_stream_loader(sources.clips, sources.places, samples, tokenize, **settings_)


def content(batches: Sequence[Batch]) -> list[tuple]:
    return [
        (batch.waveforms.tolist(), batch.lengths.tolist(), decode(batch), batch.clip_ids.tolist())
        for batch in batches
    ]


# ----------------------------------------------------------------------------------------------- the plan


def planned(
    num_clips: int, shards: int, *, world_size: int = 1, **settings_: Any
) -> tuple[list[Draw], list[list[StreamBatch]]]:
    """Return all draws of an epoch, and each process's batches."""
    settings_ = {"batch_size": 6, "streams": 3, "buffer": 36, "epoch": 1, "seed": 3} | settings_
    samples = [Sample(clip, "eng_Latn", each) for clip in range(num_clips) for each in range(1 + clip % 3)]
    of_shard = [list(range(number, num_clips - 3, shards)) for number in range(shards)]
    order = reading_order(of_shard, range(num_clips - 3, num_clips), seed=3, epoch=1)
    assert sorted(order) == list(range(num_clips))
    plans = [
        plan_stream(
            samples,
            [1.0 + clip % 5 for clip in range(num_clips)],
            order,
            rank=rank,
            **settings_,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    return [Draw(sample, 1, place) for place, sample in enumerate(samples)], plans


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 90), st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(1, 5), st.integers(1, 80)
)
def test_all_processes_and_workers_together_have_exactly_the_set(
    num_clips: int, shards: int, world_size: int, streams: int, buffer: int
) -> None:
    for drop_last in (False, True):
        draws, plans = planned(
            num_clips, shards, world_size=world_size, streams=streams, buffer=buffer, drop_last=drop_last
        )
        assert len({len(batches) for batches in plans}) == 1
        taken = [draw._replace(repeat=0) for batches in plans for batch in batches for draw in batch.draws]
        assert len(set(taken)) == len(taken)
        left = set(draws) - set(taken)
        assert set(taken) <= set(draws)
        # Only what fills no batch at the end; and without drop_last a single pair, which teaches nothing.
        assert len(left) == (
            len(draws) % 6 if drop_last else (len(draws) % 6) * (len(draws) % 6 < max(2, world_size))
        )
        assert all(
            len(batch.draws) == 6 // world_size for batches in plans for batch in batches[: len(draws) // 6]
        )


def test_each_process_and_each_stream_reads_shards_of_its_own() -> None:
    _, plans = planned(200, 20, world_size=2, streams=2)
    shards_of = [
        {draw.sample.clip % 20 for batch in batches for draw in batch.draws if batch.pool.name[1] == stream}
        for batches in plans
        for stream in (0, 1)
    ]
    # One at either end of a part may be shared.
    assert sum(map(len, shards_of)) <= 20 + 3 + 4 * 3


def test_workers_who_take_batches_in_turn_each_have_streams_of_their_own() -> None:
    _, (batches,) = planned(120, 6, streams=4)
    for num_workers in (2, 4):
        for skip in (0, 3):
            left = batches[skip:]
            streams = [
                {batch.pool.name[1] for batch in left[worker::num_workers]} for worker in range(num_workers)
            ]
            assert sum(map(len, streams)) == 4


def test_what_is_held_is_bounded_and_pools_follow_the_order_of_reading() -> None:
    _, (batches,) = planned(150, 6, streams=3, buffer=36)
    order = reading_order(
        [list(range(number, 147, 6)) for number in range(6)], range(147, 150), seed=3, epoch=1
    )
    for batch in batches:
        assert {draw.sample.clip for draw in batch.draws} <= set(batch.pool.clips)
        assert len(batch.pool.clips) <= 36 // 3
        places = [order.index(clip) for clip in batch.pool.clips]
        assert places == sorted(places)
        if batch.following is not None:
            epoch, stream, number = batch.pool.name
            assert batch.following.name == (epoch, stream, number + 1)


def test_order_and_batches_are_mixed_anew_in_each_epoch_and_by_seed() -> None:
    def texts(**settings_: Any) -> list[tuple[int, ...]]:
        _, (batches,) = planned(60, 5, **settings_)
        return [tuple(draw.sample.clip for draw in batch.draws) for batch in batches]

    assert texts() == texts()
    assert texts() != texts(seed=4)
    shards = [[0, 1], [2, 3], [4, 5], [6, 7]]
    orders = [reading_order(shards, (), seed=0, epoch=epoch) for epoch in range(4)]
    assert len(set(map(tuple, orders))) > 1
    lengths = [[1.0 + clip % 5 for clip in clips] for clips in texts(buffer=1000, streams=1)]
    assert np.mean([max(each) - min(each) for each in lengths]) < 2  # 3 or more unsorted
    flat = [clip for clips in texts() for clip in clips]
    assert flat != sorted(flat)


def test_unique_clips_draws_one_caption_or_is_refused() -> None:
    _, (batches,) = planned(40, 4, unique_clips="epoch")
    clips = [draw.sample.clip for batch in batches for draw in batch.draws]
    assert sorted(clips) == list(range(40))
    with pytest.raises(ValueError, match="with shards use epoch"):
        planned(40, 4, unique_clips="batch")
    with pytest.raises(ValueError, match="cannot share a batch of 6 evenly"):
        planned(40, 4, world_size=4)
    with pytest.raises(ValueError, match="epoch 1 has no batch"):
        planned(4, 1, batch_size=50, drop_last=True)


# ---------------------------------------------------------------------------------------------- the sounds


def test_an_epoch_holds_each_pair_once_and_rows_belong_together(sources: Sources) -> None:
    loader = loader_of(sources, batch_size=6)
    batches = list(loader)
    assert len(batches) == len(loader)
    expected = Counter(
        sources.clips[clip].captions[language][caption]
        for clip, language, caption, _ in samples_of(sources.clips, 0)
    )
    assert sum((Counter(decode(batch)) for batch in batches), Counter()) == expected
    for batch in batches:
        for row, (text, clip) in enumerate(zip(decode(batch), batch.clip_ids.tolist(), strict=True)):
            number = int(text.split("-")[0])
            assert sources.clips[clip].captions == captions_of(number)
            sound = batch.waveforms[row, : batch.lengths[row]]
            assert len(sound) == min(4000, 1600 + 400 * (number % 13))
            assert sound.numpy() == pytest.approx((number + 1) / 100, abs=1e-4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_batches(sources: Sources, num_workers: int) -> None:
    alone, shared = loader_of(sources), loader_of(sources, num_workers=num_workers)
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        assert content(list(alone)) == content(list(shared))
    shared.close()


@pytest.mark.parametrize(("done", "num_workers"), [(1, 0), (5, 1), (9, 0)])
def test_a_resumed_epoch_goes_on_exactly(sources: Sources, done: int, num_workers: int) -> None:
    whole, stopped = loader_of(sources), loader_of(sources)
    whole.set_epoch(2)
    stopped.set_epoch(2)
    first = list(islice(stopped, done))
    resumed = loader_of(sources, num_workers=num_workers)
    resumed.load_state_dict(stopped.state_dict())
    assert content(first + list(resumed)) == content(list(whole))
    resumed.close()


def test_processes_share_an_epoch(sources: Sources) -> None:
    shares = [list(loader_of(sources, rank=rank, world_size=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1])
    taken = Counter(text for share in shares for batch in share for text in decode(batch))
    expected = Counter(
        sources.clips[clip].captions[language][caption]
        for clip, language, caption, _ in samples_of(sources.clips, 0)
    )
    assert taken == expected


def test_no_more_than_two_pools_of_a_stream_are_held(sources: Sources) -> None:
    loader = loader_of(sources)
    dataset: Any = loader._dataset
    most = 0
    for _ in loader:
        held = [len(fetched.sounds) for _, fetched in dataset._held.values()]
        most = max(most, sum(held) + sum(len(pool.clips) for pool, _ in dataset._coming.values()))
    assert 0 < most <= 2 * 24


def damaged_copy(sources: Sources, folder: Path, *, lost: int, spoilt: str) -> Sources:
    """The same clips, of shards of which one is gone and one has a sound that is none."""
    shards = sorted({place.shard for place in sources.places.values()})
    compress = shards[0].endswith(".gz")
    write_shards(folder, compress=compress)
    names = [folder / Path(shard).name for shard in shards]
    copy = read_sources([folder], ())
    import gzip

    place = next(place for clip, place in copy.places.items() if copy.clips[clip].id == spoilt)
    victim = Path(place.shard)
    raw = bytearray(gzip.decompress(victim.read_bytes()) if compress else victim.read_bytes())
    raw[place.offset : place.offset + place.size] = b"x" * place.size
    victim.write_bytes(gzip.compress(bytes(raw)) if compress else bytes(raw))
    names[lost].unlink()
    return copy


def test_what_is_damaged_or_gone_is_named_once_and_replaced_the_same_way_on_resume(
    sources: Sources, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = damaged_copy(sources, tmp_path, lost=1, spoilt="003")
    loader = loader_of(damaged)
    with caplog.at_level(logging.WARNING):
        batches = list(loader)
        loader.set_epoch(1)
        list(loader)
    assert {path.name for path in loader.bad_files} == {
        "003.flac",
        *(f"{number:03d}.flac" for number in range(PER_SHARD, 2 * PER_SHARD)),
    }
    assert sum("skipped in training" in record.message for record in caplog.records) == 1 + PER_SHARD
    used = {damaged.clips[clip].id for batch in batches for clip in batch.clip_ids.tolist()}
    assert len(used) == (NUM_SHARDS - 1) * PER_SHARD - 1
    assert all(
        int(text.split("-")[0]) == int(damaged.clips[clip].id)
        for batch in batches
        for text, clip in zip(decode(batch), batch.clip_ids.tolist(), strict=True)
    )
    for done in (2, 6):
        resumed = loader_of(damaged)
        resumed.set_epoch(0, skip=done)
        assert content(list(resumed)) == content(batches[done:])


def test_when_all_shards_are_gone_the_error_says_so(sources: Sources, tmp_path: Path) -> None:
    write_shards(tmp_path, compress=False)
    gone = read_sources([tmp_path], ())
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    with pytest.raises(AudioError, match="are the shards still there"):
        list(loader_of(gone))


def test_a_long_sound_is_cropped_anew_in_each_epoch(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as tar:
        for number in range(2):
            buffer = BytesIO()
            soundfile.write(buffer, np.linspace(0, 0.9, 2000 * (200 - 150 * number)), 2000, format="FLAC")
            told = to_json({"captions": captions_of(number)})
            tar.write({"__key__": f"{number}", "flac": buffer.getvalue(), "json": told})
    sources = read_sources([tmp_path], ())
    assert [clip.duration for clip in sources.clips] == [200.0, 50.0]
    starts = set()
    loader = loader_of(sources, batch_size=2, max_seconds=1.0)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            assert batch.lengths.tolist() == [16_000, 16_000]
            starts |= {round(float(sound[8000]), 4) for sound in batch.waveforms}
    assert len(starts) > 6

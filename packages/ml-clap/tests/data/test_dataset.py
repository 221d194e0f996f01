"""Loading of training pairs: what a batch holds, what does not change it, and what a bad file does."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from audio_common.audio import AudioError, load_audio
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.data import dataset as dataset_module
from ml_clap.data.batches import Batch, Draw, plan_epoch
from ml_clap.data.dataset import CaptionDataset, clip_seconds
from ml_clap.data.enhancement import Sample, epoch_captions
from ml_clap.data.loader import CaptionLoader, make_loader
from ml_clap.data.manifest import Clip
from ml_clap.models.tokenizer import TextBatch, pad_tokens

LANGUAGES = ("eng_Latn", "fra_Latn")


def tokenize(texts: Sequence[str], languages: Sequence[str]) -> TextBatch:
    """Bytes of language and text: enough to tell from the ids which pair a row is."""
    return pad_tokens(
        [list(f"{language} {text}".encode()) for text, language in zip(texts, languages, strict=True)], 0
    )


def decode(batch: Batch) -> list[str]:
    rows = zip(batch.text_ids, batch.text_mask, strict=True)
    return [bytes(ids[mask].tolist()).decode() for ids, mask in rows]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Ten clips of 0.5 to 2.75 s; sample number i of clip c has the value c + 1 + i / 1e6."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for number in range(10):
        seconds = 0.5 + number / 4
        ramp = number + 1 + np.arange(int(seconds * 16_000)) / 1e6
        soundfile.write(folder / f"{number}.wav", ramp.astype(np.float32), 16_000, subtype="FLOAT")
        captions = {language: tuple(f"{number}-{each}" for each in range(3)) for language in LANGUAGES}
        made.append(Clip(str(number), folder / f"{number}.wav", captions, duration=seconds))
    return made


def english_of_epoch(clips: Sequence[Clip], epoch: int) -> list[Sample]:
    return epoch_captions(clips, languages=LANGUAGES[1:], rate=0.5, epoch=epoch)


def loader_of(clips: list[Clip], **settings_: Any) -> CaptionLoader:
    settings_ = {"batch_size": 4, "max_seconds": 1.5, "seed": 7} | settings_
    return make_loader(clips, partial(english_of_epoch, clips), tokenize, **settings_)


def content(batches: Sequence[Batch]) -> list[tuple]:
    return [
        (batch.waveforms.tolist(), batch.lengths.tolist(), decode(batch), batch.clip_ids.tolist())
        for batch in batches
    ]


def test_epoch_holds_each_pair_once_and_rows_belong_together(clips: list[Clip]) -> None:
    loader = loader_of(clips, batch_size=6)
    batches = list(loader)
    assert len(batches) == len(loader)
    expected = Counter(
        f"{language} {clips[clip].captions[language][caption]}"
        for clip, language, caption, _ in english_of_epoch(clips, 0)
    )
    assert sum((Counter(decode(batch)) for batch in batches), Counter()) == expected
    for batch in batches:
        for row, (text, clip) in enumerate(zip(decode(batch), batch.clip_ids.tolist(), strict=True)):
            sound = batch.waveforms[row, : batch.lengths[row]]
            assert text.split()[1].startswith(f"{clip}-")
            assert int(sound[0]) == clip + 1
            assert not batch.waveforms[row, batch.lengths[row] :].any()


def test_clips_are_cropped_to_max_seconds_anew_in_each_epoch(clips: list[Clip]) -> None:
    loader = loader_of(clips)
    starts = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        rows = [
            (clip, float(sound[0]))
            for batch in loader
            for clip, sound in zip(batch.clip_ids.tolist(), batch.waveforms, strict=True)
        ]
        starts.append(sorted(start for clip, start in rows if clip == 9))
    assert starts[0] == starts[2] != starts[1]
    assert max(batch.lengths.max().item() for batch in loader) == 24_000
    assert len(set(starts[0])) == len(starts[0])


@pytest.mark.parametrize(("crop", "first"), [("start", 0), ("center", 10_000)])
def test_fixed_crops_are_where_they_are_said_to_be(clips: list[Clip], crop: Any, first: int) -> None:
    dataset = CaptionDataset(clips, max_seconds=1.5, crop=crop)
    waveform = dataset[Draw(Sample(9, "eng_Latn", 0), 0, 0)].waveform
    torch.testing.assert_close(waveform, load_audio(clips[9].audio)[first : first + 24_000])


def test_number_of_workers_does_not_change_the_batches(clips: list[Clip]) -> None:
    alone, with_workers = loader_of(clips), loader_of(clips, num_workers=2)
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        with_workers.set_epoch(epoch)
        assert content(list(alone)) == content(list(with_workers))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resumed_epoch_goes_on_where_it_stopped(clips: list[Clip], num_workers: int) -> None:
    whole, stopped = loader_of(clips), loader_of(clips, num_workers=num_workers)
    whole.set_epoch(2)
    stopped.set_epoch(2)
    first = list(islice(stopped, 3))
    resumed = loader_of(clips, num_workers=num_workers)
    resumed.load_state_dict(stopped.state_dict())
    assert stopped.state_dict() == {"epoch": 2, "batches": 3}
    assert content(first + list(resumed)) == content(list(whole))
    assert resumed.state_dict() == {"epoch": 3, "batches": 0}


def test_loading_does_not_draw_from_the_global_generators(clips: list[Clip]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(loader_of(clips, num_workers=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_batches_of_one(clips: list[Clip], world_size: int) -> None:
    alone = list(loader_of(clips))
    shares = [list(loader_of(clips, rank=rank, world_size=world_size)) for rank in range(world_size)]
    kept = [batch for batch in alone if len(batch) >= world_size]
    assert {len(share) for share in shares} == {len(kept)}
    for number, batch in enumerate(kept):
        shared = [row for share in shares for row in pairs(share[number])]
        assert sorted(shared) == sorted(pairs(batch))
        # No two pairs have the same clip and number, or they would be augmented alike.
        assert len({(clip, repeat) for _, clip, repeat in shared}) == len(shared)


def pairs(batch: Batch) -> list[tuple[str, int, int]]:
    return list(zip(decode(batch), batch.clip_ids.tolist(), batch.repeats.tolist(), strict=True))


def test_each_clip_is_decoded_once_while_the_cache_lasts(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[Path] = Counter()

    def counting(source: Path, **arguments: Any) -> torch.Tensor:
        decoded[source] += 1
        return load_audio(source, **arguments)

    monkeypatch.setattr(dataset_module, "load_audio", counting)
    cached = loader_of(clips)
    for epoch in range(3):
        cached.set_epoch(epoch)
        list(cached)
    assert set(decoded.values()) == {1}
    decoded.clear()
    sizes = sum(clip.duration or 0 for clip in clips) * 16_000 * 4
    list(loader_of(clips, cache_gigabytes=sizes / 2 / 1e9))
    assert 1 in decoded.values()
    assert max(decoded.values()) > 1


def test_of_a_long_file_only_the_crop_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.linspace(0, 0.9, 8000 * 200), 8000, subtype="FLOAT")
    asked: list[dict] = []

    def recording(source: Path, **arguments: Any) -> torch.Tensor:
        asked.append(arguments)
        return load_audio(source, **arguments)

    monkeypatch.setattr(dataset_module, "load_audio", recording)
    dataset = CaptionDataset([Clip("a", path, {"eng_Latn": ("a",)}, duration=200.0)], max_seconds=2.0)
    sounds = [dataset[Draw(Sample(0, "eng_Latn", 0), 0, place)].waveform for place in range(5)]
    assert all(each["duration"] == 2.0 for each in asked)
    assert len({round(each["offset"], 3) for each in asked}) == 5
    assert all(len(sound) == 32_000 for sound in sounds)


def damage(clips: list[Clip], numbers: Sequence[int], folder: Path) -> list[Clip]:
    bad = folder / "bad.wav"
    bad.write_bytes(b"this is no sound")
    gone = folder / "gone.wav"
    paths = [bad if number % 2 else gone for number in numbers]
    changed = dict(zip(numbers, paths, strict=True))
    return [
        Clip(clip.id, changed.get(number, clip.audio), clip.captions, duration=clip.duration)
        for number, clip in enumerate(clips)
    ]


def test_of_a_file_that_is_longer_than_it_says_the_beginning_is_decoded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hour.flac", np.zeros(600 * 16_000, np.int16), 16_000)
    clip = Clip("hour", tmp_path / "hour.flac", {"eng_Latn": ("rain",)}, duration=3.0)
    data = CaptionDataset([clip], max_seconds=5.0)
    item = data[Draw(Sample(0, "eng_Latn", 0), 0, 0, 0)]
    assert len(item.waveform) == 5 * 16_000
    assert len(data._cache[0]) == dataset_module.LONG_SECONDS * 16_000


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bad_files_are_replaced_reported_once_and_do_not_end_the_run(
    clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    loader = loader_of(damage(clips, [2, 5], tmp_path), num_workers=num_workers)
    whole = loader_of(clips)
    with caplog.at_level(logging.WARNING):
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            whole.set_epoch(epoch)
            batches = list(loader)
            assert [len(batch) for batch in batches] == [len(batch) for batch in whole]
            assert not {2, 5} & {clip for batch in batches for clip in batch.clip_ids.tolist()}
            assert all(
                text.split()[1].startswith(f"{clip}-")
                for batch in batches
                for text, clip in zip(decode(batch), batch.clip_ids.tolist(), strict=True)
            )
    assert set(loader.bad_files) == {tmp_path / "bad.wav", tmp_path / "gone.wav"}
    assert sum("skipped in training" in record.message for record in caplog.records) == 2


def test_when_nothing_can_be_read_the_error_says_so(clips: list[Clip], tmp_path: Path) -> None:
    loader = loader_of(damage(clips, range(10), tmp_path))
    with pytest.raises(AudioError, match=r"none of 10 clips with captions in .* can be read"):
        list(loader)


def test_workers_outlive_a_sigterm_of_the_group_and_end_on_close(clips: list[Clip]) -> None:
    loader = loader_of(clips, num_workers=1)
    batches = iter(loader)
    first = next(batches)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid or 0, number)
    assert content([first, *batches]) == content(list(loader_of(clips)))
    loader.close()
    worker.join(timeout=10)
    assert not worker.is_alive()


def test_program_ends_at_once_with_a_loader_in_use(clips: list[Clip]) -> None:
    program = """
import sys
from pathlib import Path
import torch
from ml_clap.data.loader import make_loader
from ml_clap.data.enhancement import Sample
from ml_clap.data.manifest import Clip
from ml_clap.models.tokenizer import pad_tokens
clips = [Clip(path, Path(path), {"eng_Latn": ("a",)}, duration=1.0) for path in sys.argv[1:]]
samples = [Sample(number, "eng_Latn", 0) for number in range(len(clips))]
loader = make_loader(clips, lambda epoch: samples, lambda texts, languages: pad_tokens([[1]] * len(texts), 0),
                     batch_size=2, num_workers=1)
batches = iter(loader)
print(len(next(batches)))
"""
    command = [sys.executable, "-c", program, *(str(clip.audio) for clip in clips)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "2", "")


def test_missing_durations_are_read_from_the_headers(clips: list[Clip], tmp_path: Path) -> None:
    unknown = [Clip(clip.id, clip.audio, clip.captions) for clip in clips]
    assert clip_seconds(unknown, unknown=30.0) == [clip.duration for clip in clips]
    assert clip_seconds([Clip("x", tmp_path / "gone.wav", {})], unknown=30.0) == [30.0]


def test_batch_moves_and_loader_parts_pickle(clips: list[Clip]) -> None:
    batch = next(iter(loader_of(clips)))
    assert batch.to("cpu").clip_ids.tolist() == batch.clip_ids.tolist()
    copy = pickle.loads(pickle.dumps(CaptionDataset(clips)))
    assert torch.equal(copy[Draw(Sample(0, "eng_Latn", 0), 0, 0)].waveform, load_audio(clips[0].audio))


samples = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=4, max_size=60, unique=True)


@settings(max_examples=40, deadline=None)
@given(samples, st.integers(2, 8), st.integers(0, 3))
def test_unique_clips_never_meet_themselves(
    pairs: list[tuple[int, int]], batch_size: int, epoch: int
) -> None:
    drawn = [Sample(clip, "eng_Latn", caption) for clip, caption in pairs]
    planning = {"epoch": epoch, "batch_size": batch_size, "min_rows": 1}
    batches = plan_epoch(drawn, [1.0] * 10, unique_clips="batch", **planning)  # type: ignore[arg-type]
    assert all(len({draw.sample.clip for draw in batch}) == len(batch) for batch in batches)
    assert sorted(draw.sample for batch in batches for draw in batch) == sorted(drawn)
    once = plan_epoch(drawn, [1.0] * 10, unique_clips="epoch", **planning)  # type: ignore[arg-type]
    assert sorted(draw.sample.clip for batch in once for draw in batch) == sorted({clip for clip, _ in pairs})


@pytest.mark.parametrize("budget", [{"batch_size": 3}, {"seconds_per_batch": 6.0}])
@pytest.mark.parametrize("unique_clips", ["no", "batch", "epoch"])
def test_drop_last_leaves_only_full_batches(budget: dict, unique_clips: Any) -> None:
    drawn = [Sample(clip, "eng_Latn", caption) for clip in range(10) for caption in range(1 + clip % 3)]
    batches = plan_epoch(drawn, [2.0] * 10, epoch=0, drop_last=True, unique_clips=unique_clips, **budget)
    assert {len(batch) for batch in batches} == {3}


def test_batch_of_one_pair_is_left_out_and_an_epoch_without_batches_is_an_error() -> None:
    drawn = [Sample(0, "eng_Latn", caption) for caption in range(5)]
    assert [len(batch) for batch in plan_epoch(drawn, [1.0], epoch=0, batch_size=2)] == [2, 2]
    with pytest.raises(ValueError, match="epoch 3 has no batch: there are 1 pairs"):
        plan_epoch(drawn[:1], [1.0], epoch=3, batch_size=2)
    with pytest.raises(ValueError, match="no batch: there are 0 pairs"):
        plan_epoch([], [1.0], epoch=0, batch_size=2)


def test_real_clips_load(shared: Path) -> None:
    paths = sorted((shared / "data/esc10/audio").rglob("*.ogg"))[::40]
    real = [Clip(path.stem, path, {"eng_Latn": (path.parent.name,)}) for path in paths]
    loader = make_loader(
        real, lambda _: epoch_captions(real), tokenize, seconds_per_batch=20.0, max_seconds=4.0
    )
    batches = list(loader)
    assert sum(len(batch) for batch in batches) == len(real) == 8
    assert all(batch.waveforms.shape[1] == 64_000 and batch.waveforms.abs().max() > 0 for batch in batches)

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from aac_llm.data.dataset import CaptionDataset, make_loader
from aac_llm.data.manifest import Clip
from aac_llm.data.timestamps import TimedEvent
from aac_llm.models.captioner_model import CaptionModel
from audio_common import AudioError, load_audio
from torch import Tensor


def test_what_is_drawn_depends_on_seed_epoch_and_clip_alone(scene_clips: list[Clip]) -> None:
    one = CaptionDataset(scene_clips, max_seconds=0.5, seed=3)
    other = CaptionDataset(scene_clips, max_seconds=0.5, seed=3, cache_gigabytes=1.0)
    for index in (4, 0, 3):
        for epoch in (1, 0):
            assert torch.equal(one[index, epoch].waveform, other[index, epoch].waveform)
            assert one[index, epoch].caption == other[index, epoch].caption
    assert any(not torch.equal(one[i, 0].waveform, one[i, 1].waveform) for i in range(len(one)))


def test_evaluation_takes_the_beginning_and_the_first_caption(scene_clips: list[Clip]) -> None:
    dataset = CaptionDataset(scene_clips, max_seconds=0.5, random=False)
    whole = CaptionDataset(scene_clips, max_seconds=60.0, random=False)
    assert torch.equal(dataset[3, 7].waveform, whole[3, 0].waveform[:8000])
    assert dataset[3, 7].caption == scene_clips[3].captions[0]


def test_all_captions_are_examples_of_their_own(scene_clips: list[Clip]) -> None:
    dataset = CaptionDataset(scene_clips[:2], max_seconds=5.0, captions="all")
    captions = sorted(dataset[index, 0].caption for index in range(len(dataset)))
    assert captions == sorted([*scene_clips[0].captions, *scene_clips[1].captions])


def test_each_clip_is_decoded_once(scene_clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    from aac_llm.data import dataset as module

    decoded: list[Path] = []
    load = module.load_audio
    monkeypatch.setattr(
        module, "load_audio", lambda path, **options: decoded.append(path) or load(path, **options)
    )
    dataset = CaptionDataset(scene_clips, max_seconds=5.0, cache_gigabytes=1.0)
    for epoch in range(3):
        for index in range(len(dataset)):
            dataset[index, epoch]
    assert sorted(decoded) == sorted(clip.audio for clip in scene_clips)


def test_broken_clip_is_replaced_and_reported_once(
    scene_clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    broken = replace(scene_clips[0], id="broken", audio=tmp_path / "broken.wav")
    dataset = CaptionDataset([broken, *scene_clips[1:]], max_seconds=5.0)
    examples = [dataset[0, epoch] for epoch in range(5)]
    captions = {example.caption for example in examples}
    for example in examples:
        dataset.note_bad(example.bad)
    assert captions <= {caption for clip in scene_clips[1:] for caption in clip.captions}
    assert list(dataset.bad) == [0]
    assert len([record for record in caplog.records if "broken.wav" in record.message]) == 1
    assert not dataset.can_read(0)
    assert dataset.can_read(1)


def test_workers_tell_of_broken_clips(
    scene_clips: list[Clip], tiny_model: CaptionModel, tmp_path: Path
) -> None:
    broken = replace(scene_clips[0], audio=tmp_path / "gone.wav")
    dataset = CaptionDataset([broken, *scene_clips[1:3]], max_seconds=5.0)
    loader = make_loader(dataset, tiny_model.tokenize_captions, batch_size=3, shuffle=False, num_workers=1)
    for batch in loader:
        dataset.note(batch["news"])
    assert list(dataset.bad) == [0]
    assert "gone.wav" in dataset.bad[0]


def test_of_a_long_file_only_the_crop_is_decoded(
    scene_clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    from aac_llm.data import dataset as module

    monkeypatch.setattr(module, "LONG_SECONDS", 3.0)
    clip = scene_clips[4]
    expected = module.load_audio(clip.audio)
    example = CaptionDataset([clip], max_seconds=1.0, cache_gigabytes=1.0)[0, 5]
    assert len(example.waveform) == 16_000
    places = [start for start in range(len(expected) - 15_999) if expected[start] == example.waveform[0]]
    assert any(torch.equal(expected[start : start + 16_000], example.waveform) for start in places)


def test_when_nothing_can_be_decoded_training_ends(scene_clips: list[Clip], tmp_path: Path) -> None:
    gone = [replace(clip, audio=tmp_path / "gone.wav") for clip in scene_clips]
    with pytest.raises(AudioError, match="clips in a row cannot be decoded"):
        CaptionDataset(gone, max_seconds=5.0)[0, 0]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_gives_every_example_once_an_epoch_in_batches_of_like_length(
    scene_clips: list[Clip], tiny_model: CaptionModel, num_workers: int
) -> None:
    dataset = CaptionDataset(scene_clips, max_seconds=10.0)
    loader = make_loader(
        dataset, tiny_model.tokenize_captions, batch_size=2, shuffle=True, num_workers=num_workers
    )
    loader.set_epoch(1)
    batches = list(loader)
    seconds = sorted(length / 16_000 for batch in batches for length in batch["lengths"].tolist())
    assert seconds == pytest.approx(sorted(clip.duration for clip in scene_clips), abs=0.01)
    assert all(batch["labels"].shape[0] == len(batch["lengths"]) for batch in batches)
    spread = [(batch["lengths"].max() - batch["lengths"].min()).item() / 16_000 for batch in batches]
    assert max(spread) <= 1.5


def test_ranks_share_each_batch(scene_clips: list[Clip], tiny_model: CaptionModel) -> None:
    dataset = CaptionDataset(scene_clips, max_seconds=10.0)
    shares = [
        make_loader(
            dataset, tiny_model.tokenize_captions, batch_size=1, shuffle=True, rank=rank, world_size=2
        )
        for rank in range(2)
    ]
    taken = [[key[0] for batch in loader.batch_sampler for key in batch] for loader in shares]
    assert sorted(taken[0] + taken[1]) == list(range(len(dataset)))


@pytest.mark.parametrize("said", [300.0, 0.5, None])
def test_a_wrong_length_in_the_manifest_neither_loses_a_clip_nor_hides_a_crop(
    scene_clips: list[Clip], said: float | None
) -> None:
    clip = replace(scene_clips[4], duration=said)
    dataset = CaptionDataset([clip], max_seconds=1.0)
    for epoch in range(4):
        example = dataset[0, epoch]
        assert len(example.waveform) == 16_000
        assert (example.number, example.is_cropped) == (0, True)
    assert dataset.num_cropped == 1
    assert not dataset.bad


def test_workers_tell_of_crops(scene_clips: list[Clip], tiny_model: CaptionModel) -> None:
    dataset = CaptionDataset(scene_clips, max_seconds=3.0)
    loader = make_loader(dataset, tiny_model.tokenize_captions, batch_size=3, shuffle=False, num_workers=1)
    for batch in loader:
        dataset.note(batch["news"])
    assert dataset.cropped == {2, 3, 4, 5}


def test_a_header_that_says_too_little_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hour.flac"
    soundfile.write(path, np.zeros(16_000 * 600, dtype="int16"), 16_000)
    content = bytearray(path.read_bytes())
    # STREAMINFO's number of samples, 36 bits: one second, and none (unknown).
    for samples in (16_000, 0):
        content[21] = content[21] & 0xF0
        content[22:26] = samples.to_bytes(4, "big")
        path.write_bytes(content)
        asked: list[float | None] = []

        def watched(audio: Path, asked: list[float | None] = asked, **options: Any) -> Tensor:
            asked.append(options.get("duration"))
            return load_audio(audio, **options)

        monkeypatch.setattr("aac_llm.data.dataset.load_audio", watched)
        dataset = CaptionDataset([Clip(id="a", audio=path, captions=("x",))], max_seconds=2.0)
        assert len(dataset[0, 0].waveform) == 32_000 or samples
        assert all(seconds is not None and seconds <= 121 for seconds in asked)


def _timed(clips: list[Clip]) -> list[Clip]:
    """Clips with an event from 0.2 s to 1.0 s; the last's are not known, the one before has none."""
    event = TimedEvent("a dog barks", 0.2, 1.0)
    return [
        *(replace(clip, timestamps=(event,)) for clip in clips[:-2]),
        replace(clips[-2], timestamps=()),
        clips[-1],
    ]


def test_events_are_those_of_the_crop(scene_clips: list[Clip]) -> None:
    clips = _timed(scene_clips)
    whole = CaptionDataset(clips, max_seconds=60.0, random=False, timestamps=1.0)
    assert [whole[index].timestamps for index in range(len(clips))] == [clip.timestamps for clip in clips]
    crops = CaptionDataset(clips, max_seconds=0.5, timestamps=1.0)
    sound, heard = load_audio(clips[3].audio), set()
    for epoch in range(8):
        example = crops[3, epoch]
        # The crop is found again by its samples.
        likely = (sound[: len(sound) - 7999] == example.waveform[0]).nonzero().flatten().tolist()
        start = next(at for at in likely if torch.equal(sound[at : at + 8000], example.waveform)) / 16_000
        onset, offset = max(0.0, 0.2 - start), min(0.5, 1.0 - start)
        times = [(event.onset, event.offset) for event in example.timestamps or ()]
        assert times == ([pytest.approx((onset, offset))] if offset - onset >= 0.05 else [])
        heard.add(bool(times))
    assert heard == {True, False}


def test_a_share_of_the_examples_has_times_and_nothing_else_changes(scene_clips: list[Clip]) -> None:
    clips = _timed(scene_clips)
    plain = CaptionDataset(clips, max_seconds=0.5, seed=3)
    timed = CaptionDataset(clips, max_seconds=0.5, seed=3, timestamps=0.5)
    have = []
    for epoch in range(20):
        for index in range(len(clips) - 1):
            assert plain[index, epoch].timestamps is None
            have.append(timed[index, epoch].timestamps is not None)
        assert timed[0, epoch].caption == plain[0, epoch].caption
        assert torch.equal(timed[0, epoch].waveform, plain[0, epoch].waveform)
    assert 0.3 < sum(have) / len(have) < 0.7
    # Of a clip whose times are not known none are made up.
    assert timed[len(clips) - 1, 0].timestamps is None


def test_batches_have_timed_labels_where_times_are_learned(
    scene_clips: list[Clip], tiny_model: CaptionModel
) -> None:
    dataset = CaptionDataset(_timed(scene_clips), max_seconds=5.0, timestamps=1.0)
    options: dict[str, Any] = {"batch_size": 6, "shuffle": False}
    (batch,) = make_loader(
        dataset, tiny_model.tokenize_captions, tokenize_timed=tiny_model.tokenize_timed, **options
    )
    known = (batch["timed_labels"] != -100).any(1).tolist()
    assert sorted(known) == [False, *[True] * 5]
    (plain,) = make_loader(dataset, tiny_model.tokenize_captions, **options)
    assert "timed_labels" not in plain

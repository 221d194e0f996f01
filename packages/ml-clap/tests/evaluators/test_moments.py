"""Moment retrieval: windows, overlaps, precision and guessing by hand; the command finds a planted event."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.config import CEDConfig
from audio_common.prefetch import AudioSpan, BadFile
from ml_clap.config.evaluate import EvaluateConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.evaluators.evaluate import evaluate_verb
from ml_clap.evaluators.moments import (
    Query,
    average_precision,
    candidate_windows,
    gather_queries,
    iou,
    measure_moments,
    read_moment,
    suppress,
)
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder

RATE = 16_000


def test_windows_cover_a_file_at_every_length_and_end_with_it() -> None:
    for duration in (0.4, 3.0, 7.3, 60.0):
        windows = candidate_windows(duration, (1.0, 4.0))
        assert all(0.0 <= start < end <= duration for start, end in windows)
        assert len(windows) == len(set(windows))
        for length in (1.0, 4.0):
            own = sorted(each for each in windows if np.isclose(each[1] - each[0], min(length, duration)))
            assert own[0][0] == 0.0
            assert own[-1][1] == pytest.approx(duration)
            assert all(b[0] <= a[1] for a, b in pairwise(own))


def test_overlap_is_intersection_over_union() -> None:
    found = iou(np.array([[0.0, 4.0], [6.0, 8.0]]), np.array([[2.0, 6.0], [6.0, 8.0], [0.0, 8.0]]))
    np.testing.assert_allclose(found, [[2 / 6, 0.0, 0.5], [0.0, 1.0, 0.25]])


def test_windows_that_lie_over_a_better_one_are_left_out() -> None:
    windows = np.array([[0.0, 10.0], [1.0, 11.0], [5.0, 15.0], [30.0, 40.0]])
    assert suppress(windows, np.array([0.9, 1.0, 0.5, 0.7])).tolist() == [1, 3, 2]


def test_average_precision_counts_each_event_once() -> None:
    # Event 0 is found first, found again (wrong), then event 1 in the fourth place.
    overlaps = np.array([[0.8, 0.0], [0.7, 0.0], [0.1, 0.2], [0.0, 0.6]])
    assert average_precision(overlaps, 0.5) == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert average_precision(overlaps, 0.75) == pytest.approx(0.5)
    assert average_precision(overlaps, 0.9) == 0.0


def test_a_query_ranks_the_windows_of_its_own_file() -> None:
    windows = [AudioSpan(Path(name), float(start), 2.0) for name in "ab" for start in (0, 2, 4, 6)]
    embeddings = torch.eye(8)
    queries = [Query(Path("a"), "dog", ((2.0, 4.0),)), Query(Path("b"), "cat", ((0.0, 2.0), (6.0, 8.0)))]
    # The first fits window 1 of its file, and one of the other file better; the second the wrong one best.
    captions = torch.stack([embeddings[1] + 2 * embeddings[6], embeddings[5] + 0.5 * embeddings[7]])
    found = measure_moments(queries, captions, windows, embeddings, num_samples=10)
    assert (found.num_queries, found.num_files, found.num_windows) == (2, 2, 8)
    assert found.r1_iou50.value == found.r1_iou70.value == 50.0
    # 1/1, and of two events the places 2 and (after a tie in order) 3.
    expected = 100 * (1 + (1 / 2 + 2 / 3) / 2) / 2
    assert [found.map.value, found.map_iou50.value] == pytest.approx([expected] * 2)
    assert found.guess_iou50.value == pytest.approx(100 * (1 / 4 + 2 / 4) / 2)
    assert found.r1_iou50.interval is not None
    unread = [BadFile(Path("a"), "damaged", place) for place in range(4)]
    assert measure_moments(queries, captions, windows, embeddings, bad=unread).num_queries == 1
    with pytest.raises(ValueError, match="could be read"):
        measure_moments(queries[:1], captions[:1], windows, embeddings, bad=unread)


def moment(clip_id: str, text: str, **times: object) -> Clip:
    return Clip(clip_id, Path("/a.wav"), {"eng_Latn": (text,)}, extra=times)


def test_rows_of_one_file_and_caption_are_the_times_of_one_event() -> None:
    clips = [
        moment("1", "dog", start=1, end=2.5),
        moment("2", "cat", start=0, end=9),
        moment("3", "dog", start=5, end=6),
    ]
    found = gather_queries(clips, "eng_Latn")
    assert [(query.text, query.spans) for query in found] == [
        ("dog", ((1.0, 2.5), (5.0, 6.0))),
        ("cat", ((0.0, 9.0),)),
    ]


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"start": 1.0},
        {"start": 2, "end": 1},
        {"start": -1, "end": 1},
        {"start": True, "end": 2},
        {"start": 0, "end": float("nan")},
    ],
)
def test_a_row_without_a_stretch_of_time_is_refused(times: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="the clip 'x' should say when its event is heard"):
        read_moment(moment("x", "dog", **times))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    encoder = create_small_text_encoder(
        folder / "text", ["a tone", "a hiss"] * 20, vocab_size=60, dim=16, layers=1, heads=2
    )
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2, num_classes=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(
        folder / "model"
    )
    return folder / "model"


def test_the_command_measures_moments_of_a_long_file(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = np.random.default_rng(0).normal(size=12 * RATE) * 0.1
    soundfile.write(tmp_path / "long.wav", sound, RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    clips = [
        dataclasses.replace(moment(text, text, start=start, end=start + 2), audio=tmp_path / "long.wav")
        for text, start in [("a tone", 3.0), ("a hiss", 8.0)]
    ]
    bad = dataclasses.replace(moment("bad", "a tone", start=0, end=1), audio=tmp_path / "bad.wav")
    write_manifest(tmp_path / "m.jsonl", [*clips, bad])
    config = EvaluateConfig(
        data=tmp_path / "m.jsonl", model=str(model_folder), moments=(2.0, 4.0), bootstrap=20,
        json=tmp_path / "out.json", device="cpu",
    )  # fmt: skip
    assert evaluate_verb(config) == 1  # one file could not be read
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    found = results["languages"]["eng_Latn"]
    # 11 windows of 2 s and 5 of 4 s; of them one is the event, two more have half of it, one of 4 s all.
    assert (found["num_queries"], found["num_files"], found["num_windows"]) == (2, 1, 16)
    assert 0 < found["guess_iou50"]["value"] < 30
    assert results["bad_files"][0]["path"].endswith("bad.wav")
    printed = capsys.readouterr().out
    row = next(line.split() for line in printed.splitlines() if line.startswith("eng_Latn"))
    assert (row[1], row[-1]) == (f"{found['r1_iou50']['value']:.1f}", "2")
    assert "1 file, 16 windows of 2, 4 s" in printed


def test_what_is_of_whole_clips_does_not_go_with_moments() -> None:
    with pytest.raises(ValueError, match="equal_captions is of whole clips"):
        EvaluateConfig(data=Path("m.jsonl"), model="m", moments=(2.0,), equal_captions=True)
    with pytest.raises(ValueError, match="above 0"):
        EvaluateConfig(data=Path("m.jsonl"), model="m", moments=(0.0,))

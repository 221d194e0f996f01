"""`ml-clap index`: what is encoded when, what is refused, and what a killed run leaves."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_common.config import CEDConfig
from ml_clap.config.index import IndexConfig
from ml_clap.config.model import ModelConfig
from ml_clap.data.manifest import Clip, write_manifest
from ml_clap.models.ml_clap import MLCLAP
from ml_clap.models.text_encoder import create_small_text_encoder
from ml_clap.search.audio_index import AudioIndex
from ml_clap.search.filters import Filter
from ml_clap.search.index import index
from ml_clap.search.index_report import IndexReport
from ml_clap.search.store import AudioIndexError, IndexWriter, open_rows, read_settings, vectors_path
from ml_clap.search.updating import update_index

RATE = 16000


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    texts = ["a dog barks", "un chien aboie", "rain on a roof", "la pluie sur un toit"]
    encoder = create_small_text_encoder(folder / "text", texts, vocab_size=60, dim=16, layers=1, heads=2)
    audio = CEDConfig(embed_dim=32, depth=1, num_heads=2)
    MLCLAP(ModelConfig(audio=audio, text_encoder=str(encoder), embed_dim=24)).save_pretrained(folder / "a")
    return folder / "a"


@pytest.fixture(scope="module")
def model(model_folder: Path) -> MLCLAP:
    return MLCLAP.from_pretrained(model_folder)


def sound(path: Path, seconds: float = 1.0, seed: int = 0) -> Path:
    generator = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    tone = 0.4 * np.sin(2 * np.pi * generator.uniform(100, 4000) * times)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone + 0.05 * generator.normal(size=len(times)), RATE)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in range(5):
        sound(tmp_path / "archive" / f"{number}.wav", 0.5 + 0.3 * number, seed=number)
    return tmp_path / "archive"


def run(model: MLCLAP, source: Path, out: Path, **options: object) -> IndexReport:
    return update_index(model, source, out, model_name="m", **options)  # type: ignore[arg-type]


def content(out: Path) -> dict[tuple[str, float, float], np.ndarray]:
    """(clip, start, end) to vector."""
    writer = IndexWriter(out)
    vectors = open_rows(vectors_path(out, writer.settings.generation))
    windows = writer.windows().tolist()
    writer.close()
    found = {
        (writer.entries[n].id, start, end): v for (n, start, end), v in zip(windows, vectors, strict=True)
    }
    assert len(found) == len(windows), "a window is there twice"
    return found


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = content(one), content(other)
    assert ours.keys() == theirs.keys()
    for window, vector in ours.items():
        np.testing.assert_allclose(vector, theirs[window], atol=1e-5)


def test_vectors_are_the_models_embeddings(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    from audio_common.audio import load_audio

    report = run(model, archive, tmp_path / "index")
    assert (report.num_clips, report.num_windows, report.new, report.problems) == (5, 5, 5, [])
    for (clip, start, end), vector in content(tmp_path / "index").items():
        waveform = load_audio(archive / clip)
        assert (start, end) == (0.0, len(waveform) / RATE)
        alone = model.embed_audio(waveform[None])[0].detach().numpy()
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def test_a_second_run_encodes_only_new_files(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    run(model, archive, tmp_path / "index")
    before = content(tmp_path / "index")
    assert run(model, archive, tmp_path / "index").num_encoded == 0
    sound(archive / "new.wav", seed=9)
    report = run(model, archive, tmp_path / "index")
    assert (report.num_encoded, report.new, report.num_clips) == (1, 1, 6)
    after = content(tmp_path / "index")
    for window, vector in before.items():
        np.testing.assert_array_equal(after[window], vector)


def test_a_changed_file_is_encoded_again(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    run(model, archive, tmp_path / "index")
    sound(archive / "2.wav", 1.3, seed=77)
    report = run(model, archive, tmp_path / "index")
    assert (report.num_encoded, report.changed, report.new, report.num_clips) == (1, 1, 0, 5)
    run(model, archive, tmp_path / "fresh")
    assert_same(tmp_path / "index", tmp_path / "fresh")


def test_vanished_files_leave_and_moved_ones_stay_encoded(
    model: MLCLAP, archive: Path, tmp_path: Path
) -> None:
    run(model, archive, tmp_path / "index")
    (archive / "0.wav").unlink()
    (archive / "sub").mkdir()
    (archive / "1.wav").rename(archive / "sub" / "one.wav")
    report = run(model, archive, tmp_path / "index")
    assert (report.num_encoded, report.dropped, report.moved, report.num_clips) == (0, 1, 1, 4)
    run(model, archive, tmp_path / "fresh")
    assert_same(tmp_path / "index", tmp_path / "fresh")


def test_vanished_files_stay_if_asked(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    run(model, archive, tmp_path / "index")
    (archive / "0.wav").unlink()
    report = run(model, archive, tmp_path / "index", keep_vanished=True)
    assert (report.dropped, report.num_clips) == (0, 5)
    other = sound(tmp_path / "other" / "x.wav").parent
    assert run(model, other, tmp_path / "index", keep_vanished=True).num_clips == 6
    files = [
        Path(read_settings(tmp_path / "index").root, e.file) for e in IndexWriter(tmp_path / "index").entries
    ]
    assert sorted(files) == sorted([*(archive / f"{n}.wav" for n in range(5)), other / "x.wav"])


def test_an_unmounted_archive_does_not_empty_the_index(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    run(model, archive, tmp_path / "index")
    sound(tmp_path / "elsewhere" / "x.wav", seed=5)
    with pytest.raises(AudioIndexError, match=r"none of the 5 clips .* is the disk mounted\?"):
        run(model, tmp_path / "elsewhere", tmp_path / "index")
    assert len(content(tmp_path / "index")) == 5


KILLED_RUN = """
import sys, time
from pathlib import Path
from ml_clap.search import store
from ml_clap.config.index import IndexConfig
from ml_clap.search.index import index

write = store.IndexWriter.add_windows
def write_and_wait(*arguments):
    write(*arguments)
    print("batch", flush=True)
    time.sleep(0.5)  # for the kill to come

store.IndexWriter.add_windows = write_and_wait
index(IndexConfig(source=Path(sys.argv[1]), out=Path(sys.argv[2]), model=sys.argv[3], seconds_per_batch=1.0,
    window_seconds=2.0, hop_seconds=2.0))
"""


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_index_of_an_uninterrupted_one(
    model: MLCLAP, model_folder: Path, archive: Path, tmp_path: Path
) -> None:
    sound(archive / "long.wav", 9.0, seed=8)
    command = [sys.executable, "-c", KILLED_RUN, str(archive), str(tmp_path / "index"), str(model_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    batches = 0
    for line in process.stdout:
        batches += line.strip() == "batch"
        if batches == 4:
            process.kill()
            break
    _, errors = process.communicate()
    assert process.returncode == -9, errors
    assert not read_settings(tmp_path / "index").complete
    there = len(content(tmp_path / "index"))
    assert there >= batches
    report = run(model, archive, tmp_path / "index", window_seconds=2.0, hop_seconds=2.0)
    assert 0 < report.num_encoded == report.num_windows - there
    assert read_settings(tmp_path / "index").complete
    run(model, archive, tmp_path / "fresh", window_seconds=2.0, hop_seconds=2.0)
    assert_same(tmp_path / "index", tmp_path / "fresh")


def test_another_model_is_refused(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    run(model, archive, tmp_path / "index")
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(next(other.audio_proj.parameters()))
    with pytest.raises(AudioIndexError, match=r"was made with the model m, and now fingerprint is .* --out"):
        run(other, archive, tmp_path / "index")


@pytest.mark.parametrize(
    "options", [{"window_seconds": 5.0, "hop_seconds": 5.0}, {"hop_seconds": 5.0}, {"dtype": "float16"}]
)
def test_other_settings_are_refused(model: MLCLAP, archive: Path, tmp_path: Path, options: dict) -> None:
    run(model, archive, tmp_path / "index")
    with pytest.raises(AudioIndexError, match=f"was made with {next(iter(options))}"):
        run(model, archive, tmp_path / "index", **options)


def test_bad_files_are_listed_and_the_others_indexed(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    (archive / "text.wav").write_text("I am not a sound")
    (archive / "empty.flac").touch()
    soundfile.write(archive / "silent.wav", np.zeros(0), RATE)
    report = run(model, archive, tmp_path / "index")
    assert report.num_clips == 5
    names = ["empty.flac", "silent.wav", "text.wav"]
    assert sorted(Path(problem.file).name for problem in report.problems) == names
    lines = (tmp_path / "index" / "bad_files.jsonl").read_text().splitlines()
    assert sorted(Path(json.loads(line)["file"]).name for line in lines) == names
    assert all(json.loads(line)["reason"] for line in lines)
    sound(archive / "text.wav")
    report = run(model, archive, tmp_path / "index")
    assert (report.num_clips, report.num_encoded, len(report.problems)) == (6, 1, 2)


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_what_is_left_of_a_cut_file_is_indexed_and_listed(model: MLCLAP, tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path / "a" / f"cut.{suffix}", 60.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sound(tmp_path / "a" / "whole.wav", 60.0)
    for _ in range(2):  # the second run neither encodes it again nor forgets it
        report = run(model, tmp_path / "a", tmp_path / "index", dtype="float16")
        ends = [end for clip, _, end in content(tmp_path / "index") if clip == path.name]
        assert [(Path(problem.file).name, problem.partly) for problem in report.problems] == [
            (path.name, True)
        ]
        assert 30.0 < max(ends) < 45.0
        assert report.num_windows == len(ends) + 6
    assert report.num_encoded == 0


def test_a_long_file_is_cut_into_windows(model: MLCLAP, tmp_path: Path) -> None:
    sound(tmp_path / "a" / "long.wav", 25.0)
    run(model, tmp_path / "a", tmp_path / "index")
    assert sorted(content(tmp_path / "index")) == [
        ("long.wav", 0.0, 10.0),
        ("long.wav", 10.0, 20.0),
        ("long.wav", 15.0, 25.0),
    ]


def test_half_precision_is_half_as_large_and_nearly_the_same(
    model: MLCLAP, archive: Path, tmp_path: Path
) -> None:
    run(model, archive, tmp_path / "32")
    run(model, archive, tmp_path / "16", dtype="float16")
    full, half = content(tmp_path / "32"), content(tmp_path / "16")
    for window, vector in full.items():
        assert half[window].nbytes * 2 == vector.nbytes
        np.testing.assert_allclose(half[window], vector, atol=1e-3)


def test_a_folder_without_sound_is_a_clear_error(model: MLCLAP, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    with pytest.raises(AudioIndexError, match=r"no sound in .*\.wav, \.flac"):
        run(model, tmp_path / "a", tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_paths_in_any_script_are_indexed(model: MLCLAP, tmp_path: Path) -> None:
    names = ["été/chien [1].wav", "音/犬 が 吠える.flac"]
    for name in names:
        sound(tmp_path / "a" / name)
    report = run(model, tmp_path / "a", tmp_path / "index")
    assert report.problems == []
    assert sorted(id for id, _, _ in content(tmp_path / "index")) == names


def manifest(archive: Path, caption: str) -> Path:
    clips = [
        Clip(id=f"clip {n}", audio=archive / f"{n}.wav", captions={"fra_Latn": (f"{caption} {n}",)})
        for n in range(3)
    ]
    write_manifest(archive / "clips.jsonl", clips)
    return archive / "clips.jsonl"


def test_a_manifest_gives_ids_and_captions_and_follows_their_changes(
    model: MLCLAP, archive: Path, tmp_path: Path
) -> None:
    run(model, manifest(archive, "un chien"), tmp_path / "index")
    report = run(model, manifest(archive, "un chat"), tmp_path / "index")
    assert report.num_encoded == 0
    entries = IndexWriter(tmp_path / "index").entries
    assert [entry.id for entry in entries] == ["clip 0", "clip 1", "clip 2"]
    assert entries[1].captions == {"fra_Latn": ["un chat 1"]}
    assert entries[1].file == "1.wav"


def test_further_keys_of_a_manifest_can_be_searched_at_once(
    model: MLCLAP, archive: Path, tmp_path: Path
) -> None:
    source = manifest(archive, "un chien")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    source.write_text(
        "".join(json.dumps(row | {"take": n, "split": "test"}) + "\n" for n, row in enumerate(rows))
    )
    run(model, source, tmp_path / "index")
    opened = AudioIndex.open(tmp_path / "index")
    vector = model.encode_text("a dog").numpy()[None]
    (hits,) = opened.nearest(vector, keep=Filter.parse(["take=1", "split=test"]))
    assert [hit.metadata for hit in hits] == [{"split": "test", "take": 1}]


def test_a_missing_file_of_a_manifest_is_listed(model: MLCLAP, archive: Path, tmp_path: Path) -> None:
    source = manifest(archive, "un chien")
    (archive / "1.wav").unlink()
    report = run(model, source, tmp_path / "index")
    assert report.num_clips == 2
    assert [Path(problem.file).name for problem in report.problems] == ["1.wav"]


def test_the_command_prints_and_writes_its_report(
    model_folder: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (archive / "broken.mp3").write_bytes(b"\xff\xfb" * 100)
    out = tmp_path / "index"
    report = index(
        IndexConfig(source=archive, out=out, model=str(model_folder), device="cpu", json=tmp_path / "r.json")
    )
    printed = capsys.readouterr().out
    assert "5 clips, 5 windows (5 new, 0 changed, 0 moved, 0 gone)" in printed
    assert "bad files: 1" in printed
    assert "broken.mp3" in printed
    assert json.loads((tmp_path / "r.json").read_text())["num_windows"] == report.num_windows == 5
    again = index(IndexConfig(source=archive, out=out, device="cpu"))  # the model is in the index
    assert again.num_encoded == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "--out FOLDER"),
        ({"out": Path("nowhere")}, "--model MODEL"),
        ({"out": Path("o"), "model": "m", "hop_seconds": 11.0}, "hop_seconds .* got 11.0"),
        ({"out": Path("o"), "model": "m", "seconds_per_batch": 0.0}, "seconds_per_batch"),
        ({"out": Path("o"), "model": "m", "num_workers": 0}, "num_workers"),
    ],
)
def test_impossible_settings_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IndexConfig(source=Path("a"), **fields)


def headless_mp3(path: Path, seconds: float) -> Path:
    """A file whose header does not say its length, and whose loud beginning misleads an estimate."""
    generator = np.random.default_rng(0)
    samples = 0.001 * generator.normal(size=round(seconds * RATE))
    samples[: 4 * RATE] = generator.uniform(-0.9, 0.9, 4 * RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, format="MP3", bitrate_mode="VARIABLE")
    path.write_bytes(path.read_bytes().replace(b"Xing", bytes(4), 1).replace(b"Info", bytes(4), 1))
    return path


def test_the_index_covers_a_file_whose_header_does_not_say_its_length(model: MLCLAP, tmp_path: Path) -> None:
    headless_mp3(tmp_path / "archive" / "long.mp3", 40.0)
    report = run(model, tmp_path / "archive", tmp_path / "index")
    assert not report.problems
    spans = [(start, end) for _, start, end in content(tmp_path / "index")]
    assert max(end for _, end in spans) == pytest.approx(40.0, abs=0.2)
    assert len(spans) >= 4


def test_the_hop_follows_the_window_and_an_index_keeps_both(model: MLCLAP, tmp_path: Path) -> None:
    sound(tmp_path / "archive" / "a.wav", 3.0)
    run(model, tmp_path / "archive", tmp_path / "index", window_seconds=1.0)
    assert sorted(start for _, start, _ in content(tmp_path / "index")) == [0.0, 1.0, 2.0]
    sound(tmp_path / "archive" / "b.wav", 2.0, seed=1)
    assert run(model, tmp_path / "archive", tmp_path / "index").num_encoded == 2
    with pytest.raises(AudioIndexError, match=r"made with window_seconds 1\.0"):
        run(model, tmp_path / "archive", tmp_path / "index", window_seconds=2.0)
    with pytest.raises(ValueError, match="sound would fall between"):
        run(model, tmp_path / "archive", tmp_path / "new", window_seconds=1.0, hop_seconds=1.5)
    assert IndexConfig(source=tmp_path, out=tmp_path / "i", model="m", window_seconds=1.0).hop_seconds is None


def test_the_choice_of_channel_is_kept_with_the_index(model: MLCLAP, tmp_path: Path) -> None:
    left, right = (soundfile.read(sound(tmp_path / f"{n}.wav", seed=n))[0] for n in (1, 2))
    (tmp_path / "archive").mkdir()
    soundfile.write(tmp_path / "archive/stereo.wav", np.stack([left, 0.5 * right], axis=1), RATE)
    run(model, tmp_path / "archive", tmp_path / "first", channel="first")
    run(model, tmp_path / "archive", tmp_path / "mean")
    (first,), (mean,) = (content(tmp_path / name).values() for name in ("first", "mean"))
    np.testing.assert_allclose(first, model.encode_audio(left.astype(np.float32)).numpy(), atol=1e-3)
    assert np.abs(first - mean).max() > 1e-3
    assert run(model, tmp_path / "archive", tmp_path / "first").num_encoded == 0
    with pytest.raises(AudioIndexError, match="made with channel first, and now channel is loudest"):
        run(model, tmp_path / "archive", tmp_path / "first", channel="loudest")


def test_nothing_that_can_be_read_leaves_no_index(model: MLCLAP, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/bad.wav").write_text("no sound")
    with pytest.raises(AudioIndexError, match=r"nothing of .* can be indexed; the first of 1: .*bad\.wav"):
        run(model, tmp_path / "archive", tmp_path / "index")
    assert not (tmp_path / "index/index.json").exists()
    sound(tmp_path / "archive" / "good.wav")
    assert run(model, tmp_path / "archive", tmp_path / "index").num_clips == 1


def test_files_that_are_not_taken_for_sound_are_counted_in_output_and_json(
    model_folder: Path, archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (archive / "notes.txt").write_text("x")
    (archive / "song.mid").write_text("x")
    out, json_file = archive / "index", tmp_path / "report.json"
    config = IndexConfig(source=archive, out=out, model=str(model_folder), device="cpu", json=json_file)
    index(config)
    line = "2 files are not taken for sound by their names (.txt 1, .mid 1)"
    assert line in caplog.text
    assert line in json.loads(json_file.read_text())["notices"][0]
    assert index(config).notices == tuple(json.loads(json_file.read_text())["notices"])


def test_a_bad_line_of_a_manifest_is_listed_and_the_others_indexed(
    model: MLCLAP, archive: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.jsonl"
    rows = [{"id": str(n), "audio": str(archive / f"{n}.wav"), "captions": ["a dog"]} for n in range(2)]
    path.write_text("\n".join([json.dumps(rows[0]), "{", json.dumps(rows[1])]))
    report = run(model, path, tmp_path / "index")
    assert report.num_clips == 2
    assert [(Path(bad.file).name, bad.reason[:8]) for bad in report.problems] == [("m.jsonl:2", "not JSON")]

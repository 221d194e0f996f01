import copy
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
import soundfile
import torch
from aac_llm.captioning.caption import caption, caption_sources, say_how_heard
from aac_llm.captioning.captioner import Captioner
from aac_llm.captioning.run import format_line
from aac_llm.captioning.subtitles import safe_name
from aac_llm.cli import main
from aac_llm.config.caption import CaptionConfig
from aac_llm.config.correct import CorrectionConfig
from aac_llm.data.journal import JournalError
from aac_llm.data.manifest import Clip, write_manifest
from aac_llm.data.predictions import Candidate, read_predictions
from aac_llm.data.sounds import find_sounds
from aac_llm.data.timestamps import TimedEvent
from aac_llm.models.confidence import Calibration
from aac_llm.models.windows import Segment
from audio_common.audio import AudioError, load_audio, stream_audio
from audio_common.prefetch import BatchLimits


@pytest.fixture(scope="session")
def paths(scene_files):
    return [file.audio for file in scene_files]


@pytest.fixture
def folder(paths, tmp_path):
    """A folder of sounds, one of them hidden and one file that is none."""
    place = tmp_path / "sounds"
    (place / "sub").mkdir(parents=True)
    for number, path in enumerate(paths):
        (place / ["", "sub"][number % 2] / f"{number}.WAV").write_bytes(path.read_bytes())
    (place / "notes.txt").write_text("no sound")
    (place / ".hidden.wav").write_bytes(paths[0].read_bytes())
    return place


IN_ORDER = ["0.WAV", "2.WAV", "4.WAV", "sub/1.WAV", "sub/3.WAV", "sub/5.WAV"]


@pytest.fixture
def config(folder, tiny_model_folder, tmp_path):
    return CaptionConfig(
        files=(folder,),
        model=str(tiny_model_folder),
        out=tmp_path / "out" / "captions.jsonl",
        max_new_tokens=4,
        device="cpu",
        seconds_per_batch=6.0,
    )


@pytest.fixture
def captioner(tiny_model):
    return Captioner(tiny_model, limits=BatchLimits(6.0, 4))


class Counting(Captioner):
    """Counts the sounds that it captions; `stop_after` batches it is interrupted."""

    stop_after = 1000

    def __init__(self, model, **options):
        super().__init__(copy.deepcopy(model), **options)
        self.seconds = []
        self._encode = self.model.encode_audio
        self.model.encode_audio = self._count

    def _count(self, waveforms, lengths):
        if self.stop_after == 0:
            raise KeyboardInterrupt
        self.stop_after -= 1
        self.seconds += [round(length / 16_000, 1) for length in lengths.tolist()]
        return self._encode(waveforms, lengths)


@pytest.fixture
def counting(tiny_model):
    return Counting(tiny_model, limits=BatchLimits(6.0, 4))


def report_of(config):
    return json.loads(Path(f"{config.out}.report.json").read_text())


# Files, folders, manifests


def test_a_folder_is_captioned_in_the_order_of_its_paths(config, captioner, folder):
    report = caption_sources(config, captioner)
    found = read_predictions(config.out)
    assert found == report.predictions
    assert [prediction.id for prediction in found] == IN_ORDER
    assert [Path(prediction.audio) for prediction in found] == [folder / name for name in IN_ORDER]
    assert all(prediction.caption for prediction in found)
    assert report_of(config)["complete"]


def test_a_manifest_gives_ids_and_references_and_files_their_paths(config, captioner, paths, tmp_path):
    manifest = tmp_path / "clips.jsonl"
    clips = [
        Clip(id="first", audio=paths[0], captions=("rain falls", "it rains"), split="test"),
        Clip(id="second", audio=paths[1], captions=("wind",), split="train"),
    ]
    write_manifest(manifest, clips)
    chosen = replace(config, files=(paths[2], manifest), split="test")
    found = caption_sources(chosen, captioner).predictions
    assert [prediction.id for prediction in found] == [paths[2].as_posix(), "first"]
    assert found[1].references == ("rain falls", "it rains")
    assert found[1].audio == str(paths[0])


def test_sources_that_are_wrong_are_errors(paths, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wav is no file, folder, manifest or shard"):
        find_sounds([tmp_path / "none.wav"])
    with pytest.raises(ValueError, match="no sound in"):
        find_sounds([tmp_path])
    manifest = tmp_path / "clips.jsonl"
    write_manifest(manifest, [Clip(id=paths[0].as_posix(), audio=paths[1], captions=("wind",))])
    with pytest.raises(ValueError, match="have the same id"):
        find_sounds([paths[0], manifest])


def test_a_file_given_twice_is_captioned_once(config, counting, paths):
    caption_sources(replace(config, files=(paths[1], paths[0], paths[1])), counting)
    assert [prediction.id for prediction in read_predictions(config.out)] == [str(paths[1]), str(paths[0])]
    assert len(counting.seconds) == 2


def test_bad_files_are_skipped_listed_and_tell_in_the_exit_code(config, folder, caplog):
    (folder / "bad.wav").write_bytes(b"no sound")
    caplog.set_level("INFO", "aac_llm")
    assert caption(config) == 1
    assert [prediction.id for prediction in read_predictions(config.out)] == IN_ORDER
    (listed,) = report_of(config)["bad_files"]
    assert listed["audio"] == str(folder / "bad.wav")
    for told in ("6 captions (6 new)", "bad files: 1, listed in", "bad.wav"):
        assert told in caplog.text


def test_a_bad_file_that_was_repaired_is_captioned_by_the_next_run(config, counting, folder, paths):
    (folder / "bad.wav").write_bytes(b"no sound")
    caption_sources(config, counting)
    (folder / "bad.wav").write_bytes(paths[0].read_bytes())
    counting.seconds.clear()
    report = caption_sources(config, counting)
    assert counting.seconds == [1.2]
    assert [prediction.id for prediction in report.predictions] == sorted([*IN_ORDER, "bad.wav"])
    assert report_of(config)["bad_files"] == []


def test_without_out_a_line_is_printed_for_each_file(config, captioner, capsys):
    found = caption_sources(replace(config, out=None), captioner).predictions
    assert capsys.readouterr().out.splitlines() == [
        f"{prediction.id}\t{prediction.caption}" for prediction in found
    ]
    assert [prediction.id for prediction in found] == IN_ORDER


# Going on


def test_an_interrupted_run_goes_on_and_ends_with_the_same_file(config, captioner, counting, tmp_path):
    whole = replace(config, out=tmp_path / "whole.jsonl")
    caption_sources(whole, captioner)
    counting.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        caption_sources(config, counting)
    held = [prediction.id for prediction in read_predictions(config.out)]
    assert 0 < len(held) < 6
    assert not report_of(config)["complete"]
    counting.stop_after = 1000
    caption_sources(config, counting)
    assert config.out.read_bytes() == whole.out.read_bytes()
    assert sorted(counting.seconds) == [1.2, 2.2, 3.2, 4.2, 5.2, 6.2]  # none twice


def test_a_line_that_a_kill_cut_is_captioned_again(config, counting):
    caption_sources(config, counting)
    whole = config.out.read_bytes()
    config.out.write_bytes(whole[:-20])
    counting.seconds.clear()
    caption_sources(config, counting)
    assert config.out.read_bytes() == whole
    assert counting.seconds == [6.2]


def test_new_files_are_added_in_their_place(config, counting, folder, paths):
    caption_sources(config, counting)
    (folder / "3.wav").write_bytes(paths[0].read_bytes())
    counting.seconds.clear()
    report = caption_sources(config, counting)
    assert counting.seconds == [1.2]
    assert [prediction.id for prediction in report.predictions] == sorted([*IN_ORDER, "3.wav"])


def test_captions_of_other_sounds_stay_in_the_file(config, captioner, folder):
    caption_sources(replace(config, files=(folder / "sub",)), captioner)
    report = caption_sources(replace(config, files=(folder / "0.WAV",)), captioner)
    assert report.num_others == 3
    assert len(read_predictions(config.out)) == 4


def test_other_settings_are_refused_unless_overwritten(config, captioner, counting):
    caption_sources(config, captioner)
    other = replace(config, num_beams=2)
    with pytest.raises(JournalError, match=r"made with other settings \(num_beams 3 -> 2\)"):
        caption_sources(other, captioner)
    assert len(caption_sources(replace(other, overwrite=True), counting).predictions) == 6
    assert len(counting.seconds) == 6


def test_how_it_is_run_may_change(config, captioner):
    caption_sources(config, captioner)
    caption_sources(replace(config, seconds_per_batch=99.0, num_workers=2), captioner)


def test_another_model_in_the_same_folder_is_refused(config, captioner, tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    mine = replace(config, model=str(tmp_path / "model"))
    caption_sources(mine, captioner)
    caption_sources(mine, captioner)
    os.utime(tmp_path / "model" / "bridge.safetensors", ns=(1, 1))
    with pytest.raises(JournalError, match=r"other settings \(model"):
        caption_sources(mine, captioner)


def test_a_file_of_something_else_is_not_touched(config, captioner):
    config.out.parent.mkdir()
    config.out.write_text("my notes\n")
    with pytest.raises(JournalError, match="was not made by `aac-llm caption`"):
        caption_sources(config, captioner)
    assert config.out.read_text() == "my notes\n"


KILLED_AFTER_TWO_BATCHES = """
import os, signal, sys
from aac_llm.cli import main
from aac_llm.models import inference

caption_batch, batches = inference.caption_batch, []

def dying(model, waveforms, config):
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    batches.append(1)
    return caption_batch(model, waveforms, config)

inference.caption_batch = dying
main(sys.argv[1:])
"""


def test_the_command_goes_on_after_sigkill(config, folder, captioner, tmp_path, capsys):
    arguments = ["caption", str(folder), "--model", config.model, "--out", str(config.out)]
    arguments += ["--max_new_tokens", "4", "--device", "cpu", "--seconds_per_batch", "6"]
    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_TWO_BATCHES, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    held = {prediction.id for prediction in read_predictions(config.out)}
    assert 0 < len(held) < 6
    main(arguments)
    assert f"6 captions ({6 - len(held)} new)" in capsys.readouterr().err
    whole = replace(config, out=tmp_path / "whole.jsonl")
    caption_sources(whole, captioner)
    assert config.out.read_bytes() == whole.out.read_bytes()


def test_a_mistake_is_told_in_one_line_with_exit_code_2(config, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["caption", str(folder), "--model", config.model, "--num_candidates", "5"])
    assert stop.value.code == 2
    assert "num_candidates 5 needs as many beams" in capsys.readouterr().err


# Segments


@pytest.fixture
def long_sounds(paths, tmp_path):
    """Two long sounds: 22.2 s, and 8.4 s that repeat."""
    place = tmp_path / "long"
    place.mkdir()
    soundfile.write(place / "a.wav", torch.cat([load_audio(path) for path in paths]).numpy(), 16_000)
    soundfile.write(place / "b.wav", load_audio(paths[0]).repeat(7).numpy(), 16_000)
    return place


@pytest.fixture
def segments_config(config, long_sounds):
    return replace(config, files=(long_sounds,), segments=True, window_seconds=3.0)


def test_segments_cover_each_sound_and_are_in_order(segments_config, captioner):
    found = caption_sources(segments_config, captioner).predictions
    assert [prediction.id for prediction in found] == ["a.wav"] * 8 + ["b.wav"] * 3
    for name, seconds in (("a.wav", 22.2), ("b.wav", 8.4)):
        parts = [prediction for prediction in found if prediction.id == name]
        assert parts[0].start == 0.0
        assert parts[-1].end == pytest.approx(seconds, abs=1e-3)
        assert all(part.end == following.start for part, following in pairwise(parts))


def test_an_interrupted_run_over_segments_goes_on_at_the_window(
    segments_config, captioner, counting, tmp_path
):
    whole = replace(segments_config, out=tmp_path / "whole.jsonl")
    caption_sources(whole, captioner)
    counting.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        caption_sources(segments_config, counting)
    num_held = len(read_predictions(segments_config.out))
    assert 0 < num_held < 8
    counting.stop_after, num_before = 1000, len(counting.seconds)
    caption_sources(segments_config, counting)
    assert segments_config.out.read_bytes() == whole.out.read_bytes()
    assert len(counting.seconds) - num_before == 11 - num_held
    counting.stop_after = 0  # a third run has nothing to do
    caption_sources(segments_config, counting)


def test_windows_that_a_kill_left_out_are_made_after_a_run_over_other_sounds(
    segments_config, captioner, counting, long_sounds, tmp_path
):
    one, other = (replace(segments_config, files=(long_sounds / name,)) for name in ("a.wav", "b.wav"))
    counting.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        caption_sources(one, counting)
    caption_sources(other, captioner)
    caption_sources(other, captioner)
    assert sum(each.id.endswith("a.wav") for each in caption_sources(one, captioner).predictions) == 8
    assert report_of(one)["begun"] == []


def test_sound_after_a_damaged_stretch_is_captioned_too(segments_config, captioner, long_sounds, caplog):
    sound, rate = soundfile.read(long_sounds / "a.wav", dtype="float32")
    path = long_sounds / "c.flac"
    soundfile.write(path, sound, rate)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    report = caption_sources(segments_config, captioner)
    parts = [prediction for prediction in report.predictions if prediction.id == "c.flac"]
    assert len(parts) == 8
    assert "c.flac" in caplog.text


def test_a_sound_that_breaks_off_gives_what_is_before_and_is_listed(
    segments_config, captioner, long_sounds, monkeypatch
):
    path = long_sounds / "c.flac"
    path.write_bytes((long_sounds / "a.wav").read_bytes())

    def breaking_off(source, **options):
        blocks = stream_audio(source, **options)
        if Path(source) == path:
            yield from islice(blocks, 5)
            raise AudioError(f"{source} cannot be read further")
        yield from blocks

    monkeypatch.setattr("aac_llm.models.windows.stream_audio", breaking_off)
    report = caption_sources(segments_config, captioner)
    parts = [prediction for prediction in report.predictions if prediction.id == "c.flac"]
    (listed,) = report_of(segments_config)["bad_files"]
    assert listed["audio"] == str(path)
    assert listed["partly"]
    assert 0 < len(parts) < 8
    # A run over others neither drops its captions nor forgets that some are lacking.
    others = caption_sources(replace(segments_config, files=(long_sounds / "b.wav",)), captioner)
    assert [each for each in others.predictions if each.id == "c.flac"] == parts
    assert report_of(segments_config)["bad_files"] == [listed]
    monkeypatch.undo()  # repaired
    repaired = caption_sources(segments_config, captioner)
    assert len([prediction for prediction in repaired.predictions if prediction.id == "c.flac"]) == 8
    assert repaired.bad_files == []


def test_equal_neighbours_are_merged_and_subtitles_written(segments_config, captioner, long_sounds):
    # A random model says the same of every window.
    config = replace(segments_config, merge=True, subtitles="srt", rerank="score")
    found = caption_sources(config, captioner).predictions
    plain = caption_sources(replace(segments_config, out=None), captioner).predictions
    assert found[0].start == 0.0
    assert len(found) == 1 + sum(a.id != b.id or a.caption != b.caption for a, b in pairwise(plain))
    text = config.out.with_suffix(".srt").joinpath("a.wav.srt").read_text()
    assert re.match(r"1\n00:00:00,000 --> 00:00:\d\d,\d\d\d\n" + re.escape(found[0].caption), text)
    again = caption_sources(config, captioner)
    assert again.num_new == 0
    assert again.predictions == found


def test_without_out_segments_are_printed_with_their_times(segments_config, captioner, capsys):
    found = caption_sources(replace(segments_config, out=None), captioner).predictions
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"a.wav\t3.00\t6.00\t{found[1].caption}"
    assert len(lines) == len(found)


def test_a_long_sound_is_never_decoded_far_ahead(segments_config, tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * torch.rand(60 * 16_000).numpy(), 16_000)
    num_decoded = 0

    def counted(*arguments, **options):
        nonlocal num_decoded
        for block in stream_audio(*arguments, **options):
            num_decoded += len(block)
            yield block

    monkeypatch.setattr("aac_llm.models.windows.stream_audio", counted)
    config = replace(segments_config, files=(path,), window_seconds=1.0, max_new_tokens=2, num_beams=1)
    counting = Counting(tiny_model, limits=BatchLimits(4.0, 4))
    encode, most = counting.model.encode_audio, []

    def watching(waveforms, lengths):
        most.append(num_decoded / 16_000 - len(counting.seconds))
        return encode(waveforms, lengths)

    counting.model.encode_audio = watching
    caption_sources(config, counting)
    assert len(most) == 15
    assert max(most) <= 4 + 4 + 2  # the batch, the next one, and what shows that a window is not the last


# Names


@pytest.mark.parametrize("id", ["../../up.wav", "/sounds/a.wav", "a//b/./c.wav", "..", "/", "c:\\x\\y.wav"])
def test_subtitles_stay_below_their_folder(id, tmp_path):
    assert (tmp_path / safe_name(id)).resolve().is_relative_to(tmp_path)


# Settings


def test_correction_repairs_what_the_gate_holds_back(config, captioner, monkeypatch):
    def load(self):
        return lambda captions: ["a dog barks"] * len(captions)

    from aac_llm.correction.corrector import Corrector

    monkeypatch.setattr(Corrector, "llm", property(load))
    chosen = replace(config, correct=True, correction=CorrectionConfig(llm="any", threshold=0.0))
    found = caption_sources(chosen, captioner).predictions
    assert all(prediction.correction is not None for prediction in found)
    assert report_of(chosen)["settings"]["correction"]["llm"] == "any"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": ()}, "no files"),
        ({"merge": True}, "goes with segments"),
        ({"subtitles": "vtt"}, "add --segments or --timestamps"),
        ({"max_seconds": 0.5}, "max_seconds must be at least 1"),
        ({"max_seconds": 5.0, "segments": True}, "with --segments give --window_seconds"),
        ({"segments": True, "subtitles": "srt", "out": None}, "beside --out"),
        ({"segments": True, "hop_seconds": 20.0}, r"hop_seconds must be from 0.1 to window_seconds \(10.0\)"),
        ({"rerank": "cider"}, "give num_candidates 2 or more"),
        ({"cider_captions": Path("train.jsonl")}, "cider_captions goes with rerank cider"),
        ({"correct": True}, "give --correction.llm"),
        ({"correction": CorrectionConfig(llm="x")}, "correction.* goes with --correct"),
        ({"seconds_per_batch": 0.0}, "seconds_per_batch must be above 0"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CaptionConfig(**({"files": (Path("a.wav"),), "model": "m"} | options))


def test_consensus_with_a_training_set_runs_from_the_command(config, scene_files, tmp_path, folder, capsys):
    manifest = tmp_path / "train.jsonl"
    clips = [Clip(id=file.audio.stem, audio=file.audio, captions=(file.caption,)) for file in scene_files]
    write_manifest(manifest, clips)
    arguments = ["caption", str(folder / "sub"), "--model", config.model, "--out", str(config.out)]
    arguments += ["--device", "cpu", "--num_candidates", "3", "--max_new_tokens", "4"]
    main([*arguments, "--rerank", "cider", "--cider_captions", str(manifest)])
    assert "3 captions (3 new)" in capsys.readouterr().err
    for prediction in read_predictions(config.out):
        assert prediction.caption in {candidate.text for candidate in prediction.candidates}
        assert len(prediction.candidates) == 3


def test_captions_that_were_stopped_and_rows_that_are_left_out_are_told(
    config, captioner, paths, tmp_path, caplog
):
    rows = [{"id": "a", "audio": str(paths[0]), "captions": {"fra": "x"}}, {"id": "b"}]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\n")
    config = replace(config, files=(manifest,), max_new_tokens=2)
    with caplog.at_level("INFO"):
        assert caption(config) == 1
    assert "1 of 1 captions were stopped before their end" in caplog.text
    assert "--max_new_tokens allows more" in caplog.text
    assert f"left out: {manifest}:2: " in caplog.text
    report = report_of(config)
    assert report["num_unfinished"] == 1
    assert report["bad_rows"][0].startswith(f"{manifest}:2: ")
    (row,) = map(json.loads, config.out.read_text().splitlines())
    assert row["unfinished"] is True


def test_sounds_longer_than_trained_are_heard_in_windows_and_that_is_said(config, captioner, caplog):
    captioner.model.trained_seconds = 3.0
    report = caption_sources(config, captioner)
    lengths = {one.id: len(one.parts) for one in report.predictions}
    assert lengths == {"0.WAV": 0, "2.WAV": 2, "4.WAV": 2, "sub/1.WAV": 0, "sub/3.WAV": 2, "sub/5.WAV": 3}
    assert read_predictions(config.out) == report.predictions
    assert report_of(config)["heard_in_windows"] == ["2.WAV", "4.WAV", "sub/3.WAV", "sub/5.WAV"]
    (line, _) = say_how_heard(report.predictions)
    assert line.startswith("4 longer than the model was trained on, heard in windows of 3.0 s")
    assert "2.WAV, 4.WAV" in line
    again = caption_sources(config, captioner)
    assert again.num_new == 0
    assert again.predictions == report.predictions


def test_every_caption_has_a_score_and_with_calibration_a_confidence(config, captioner):
    first = caption_sources(replace(config, out=None), captioner).predictions
    assert all(one.score < 0 and one.confidence is None for one in first)
    known = Calibration(slope=2.0, intercept=3.0, criterion="any", num_clips=9, share_right=0.5)
    captioner.model.calibrations = {"captions": known}
    found = caption_sources(config, captioner).predictions
    assert [one.score for one in found] == pytest.approx([one.score for one in first], abs=1e-5)
    assert found[0].confidence == pytest.approx(1 / (1 + math.exp(-2 * found[0].score - 3)))
    assert all(json.loads(line)["confidence"] > 0 for line in config.out.read_text().splitlines())
    # A greedy caption's score is another number.
    greedy = caption_sources(replace(config, out=None, num_beams=1), captioner).predictions
    assert {one.confidence for one in greedy} == {None}
    assert "score but no confidence" in say_how_heard(greedy)[0]


def test_silence_is_not_corrected(config, captioner, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "sounds" / "1 silence.wav", torch.zeros(16_000).numpy(), 16_000)
    from aac_llm.correction.corrector import Corrector

    monkeypatch.setattr(Corrector, "llm", property(lambda self: lambda texts: ["a dog barks"] * len(texts)))
    chosen = replace(config, correct=True, correction=CorrectionConfig(llm="any", threshold=0.0))
    found = {one.id: one for one in caption_sources(chosen, captioner).predictions}
    assert found["1 silence.wav"].caption == "no sound"
    assert found["1 silence.wav"].correction is None
    assert found["0.WAV"].correction is not None


class Saying(Captioner):
    """Says the same timed text of every sound."""

    text = "[0.0-0.5] a dog barks, [0.8-9.0] rain falls, [3.0-2.0] wind"

    def caption_files(self, paths, *_, **__):
        yield {n: (Segment(n, 0.0, 4.0, (Candidate(self.text, -0.5),)),) for n in range(len(paths))}


@pytest.mark.parametrize(
    ("kind", "ending", "text"),
    [
        ("srt", "srt", "1\n00:00:00,000 --> 00:00:00,500\na dog barks\n\n2\n00:00:00,800 --> 00:00:04,000\n"),
        (
            "vtt",
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\na dog barks\n\n00:00:00.800 --> 00:00:04.000",
        ),
        ("audacity", "txt", "0.000000\t0.500000\ta dog barks\n0.800000\t4.000000\train falls\n"),
    ],
)
def test_events_are_written_with_their_times(config, tiny_model, kind, ending, text):
    chosen = replace(config, timestamps=True, subtitles=kind)
    found = caption_sources(chosen, Saying(tiny_model)).predictions
    assert found[0].caption == "a dog barks, rain falls"
    assert found[0].timestamps == (TimedEvent("a dog barks", 0.0, 0.5), TimedEvent("rain falls", 0.8, 4.0))
    assert config.out.with_suffix(f".{kind}").joinpath(f"0.WAV.{ending}").read_text().startswith(text)
    # What made no sense is told, not dropped in silence.
    assert "1 events of the caption make no sense" in report_of(chosen)["complaints"][0]["complaint"]
    assert format_line(found[0]) == "0.WAV\t[0.0-0.5] a dog barks, [0.8-4.0] rain falls"


def test_a_captioner_that_hears_no_event_says_so_and_writes_an_empty_file(config, tiny_model, monkeypatch):
    monkeypatch.setattr(Saying, "text", "")
    chosen = replace(config, timestamps=True, subtitles="audacity")
    found = caption_sources(chosen, Saying(tiny_model)).predictions
    assert {one.caption for one in found} == {"no sound"}
    assert config.out.with_suffix(".audacity").joinpath("0.WAV.txt").read_text() == ""

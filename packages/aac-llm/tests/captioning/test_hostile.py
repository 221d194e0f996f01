"""What may come with a sound, a row or a file of captions and may not end a job."""

import json
import os
from dataclasses import replace

import pytest
import soundfile
import torch
from aac_llm.captioning.caption import caption_sources
from aac_llm.captioning.captioner import Captioner
from aac_llm.captioning.run import format_line
from aac_llm.captioning.subtitles import write_subtitles
from aac_llm.config.caption import CaptionConfig
from aac_llm.data.journal import JournalError
from aac_llm.data.predictions import Prediction, append_predictions
from aac_llm.lock import BusyError, hold_outputs
from aac_llm.models.decoder import DecoderError, set_generation_defaults
from audio_common.workers import DecodeLimits


@pytest.fixture
def paths(scene_files):
    return [file.audio for file in scene_files]


@pytest.fixture
def captioner(tiny_model):
    return Captioner(tiny_model)


@pytest.fixture
def config(paths, tiny_model_folder, tmp_path):
    return CaptionConfig(
        files=(paths[0],),
        model=str(tiny_model_folder),
        out=tmp_path / "out" / "captions.jsonl",
        max_new_tokens=4,
        device="cpu",
    )


def report_of(config):
    return json.loads(config.out.with_name(f"{config.out.name}.report.json").read_text())


@pytest.mark.parametrize("segments", [False, True])
def test_sounds_of_no_sense_are_listed_and_the_rest_is_captioned(
    config, captioner, paths, tmp_path, segments
):
    (tmp_path / "a.raw").write_bytes(paths[0].read_bytes())
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    bad = ["fifo.wav", "folder.wav", "gone.wav", "n" * 5000 + ".wav", "bytes\udcff.wav"]
    rows = [{"id": str(n), "audio": name, "captions": "x"} for n, name in enumerate(bad)]
    rows.append({"id": "good", "audio": str(paths[0]), "captions": "x"})
    rows.append({"id": "raw", "audio": "a.raw", "captions": "x"})
    manifest = tmp_path / "m.jsonl"
    lines = [json.dumps(row) for row in rows]
    lines += [
        '{"id": "half", "audio": "\\ud83d.wav", "captions": "x"}',
        '{"id": "nul", "audio": "\\u0000.wav"}',
    ]
    manifest.write_text("\n".join(lines))
    config = replace(config, files=(manifest,), segments=segments, window_seconds=3.0)
    captioner.decode_limits = DecodeLimits(seconds=20.0)
    report = caption_sources(config, captioner)
    assert {prediction.id for prediction in report.predictions} == {"good", "raw"}
    assert [file.path.name for file in report.bad_files] == bad
    assert [row.split(": ")[0] for row in report.bad_rows] == [f"{manifest}:8", f"{manifest}:9"]
    assert len(report_of(config)["bad_files"]) == len(bad)


def test_what_is_odd_about_a_sound_is_in_the_report_also_after_a_kill(config, captioner, paths, tmp_path):
    tone = 0.3 * torch.sin(torch.arange(16_000) * 0.2)
    path = tmp_path / "cancels.wav"
    soundfile.write(path, torch.stack([tone, -tone], 1).numpy(), 16_000)
    config = replace(config, files=(path, paths[0]))
    assert not caption_sources(config, captioner).bad_files
    (row,) = report_of(config)["complaints"]
    assert row["audio"] == str(path)
    assert "cancel" in row["complaint"]
    # Nothing is decoded again, and nothing forgotten.
    caption_sources(config, captioner)
    assert report_of(config)["complaints"] == [row]


def test_two_commands_for_one_file_are_refused(config, captioner):
    with hold_outputs(config.out), pytest.raises(BusyError, match="writing"):
        caption_sources(config, captioner)


def test_a_damaged_report_is_told(config, captioner):
    caption_sources(config, captioner)
    path = config.out.with_name(f"{config.out.name}.report.json")
    for content in ("{", "[]", "{}", '{"settings": 3, "complete": true, "bad_files": []}'):
        path.write_text(content)
        with pytest.raises(JournalError, match="cannot be gone on with"):
            caption_sources(config, captioner)


def test_names_and_captions_move_no_cursor():
    line = format_line(Prediction("a\x1b[2J\n.wav", None, "rain\u202e\tfalls", start=0.0, end=1.0))
    assert line == "a\\x1b[2J\\x0a.wav\t0.00\t1.00\train\\u202e\\x09falls"


def test_subtitles_of_a_very_long_id_are_written(tmp_path):
    names = ["n" * 5000, "n" * 5001]
    parts = [Prediction(name, None, "rain", start=0.0, end=1.0) for name in names]
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / ".x.srt.1.tmp").write_text("half")
    write_subtitles(parts, tmp_path / "srt", "srt")
    assert len({path.name for path in (tmp_path / "srt").iterdir()}) == 2


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"num_beams": 1}, {"do_sample": True}])
def test_weights_that_are_not_finite_are_told_and_caption_nothing(config, captioner, paths, settings):
    with torch.no_grad():
        next(captioner.model.bridge.parameters()).fill_(torch.nan)
    with pytest.raises(DecoderError, match="not finite"):
        captioner.caption(paths[0], **settings)


@pytest.mark.parametrize("token", [10**9, -1, "x"])
def test_an_end_that_is_no_token_of_the_model_is_refused(config, captioner, token):
    decoder, tokenizer = captioner.model.decoder, captioner.model.tokenizer
    decoder.generation_config.eos_token_id = token
    with pytest.raises(DecoderError, match="eos_token_id"):
        set_generation_defaults(decoder, tokenizer)


def test_a_full_disk_is_told_with_the_file(tmp_path):
    full = tmp_path / "captions.jsonl"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        append_predictions(full, [Prediction(id="a", audio=None, caption="a dog barks")])
    assert error.value.filename == str(full)

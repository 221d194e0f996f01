"""Each reader on a small copy of its data set's layout."""

import json
from pathlib import Path

import pytest
import soundfile
from aac_llm.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareAutoACDConfig,
    PrepareClothoConfig,
    PrepareJSONLConfig,
    PrepareMACSConfig,
    PrepareReferenceConfig,
    PrepareSLAMConfig,
    PrepareWavCapsConfig,
)
from aac_llm.data.manifest import ManifestError
from aac_llm.data.readers.audiocaps import clip_names, read_audiocaps
from aac_llm.data.readers.autoacd import read_autoacd
from aac_llm.data.readers.clotho import read_clotho
from aac_llm.data.readers.json_lines import read_jsonl, read_reference, read_slam
from aac_llm.data.readers.macs import read_macs
from aac_llm.data.readers.wavcaps import read_wavcaps
from hypothesis import given, settings
from hypothesis import strategies as st

OUT = Path("unused.jsonl")


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, [0.1] * 1600, 16_000)
    return path


def test_clotho_folder_gives_its_three_splits_and_sound_ids(tmp_path: Path) -> None:
    header = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
    for name, folder in (("development", "development"), ("evaluation", "evaluation")):
        table = tmp_path / f"clotho_captions_{name}.csv"
        table.write_text(header + f"{name}  rain .wav,One.,Two,Three,Four,Five\nlost.wav,a,b,c,d,e\n")
        sound(tmp_path / folder / f"{name} rain .wav")
    metadata = 'file_name,keywords,sound_id\n"development  rain .wav",caf\xe9,123\n'
    (tmp_path / "clotho_metadata_development.csv").write_bytes(metadata.encode("iso-8859-1"))
    reading = read_clotho(PrepareClothoConfig(source=tmp_path, out=OUT))
    assert [(clip.split, len(clip.captions), clip.sound_id) for clip in reading.clips] == [
        ("train", 5, "freesound:123"),
        ("test", 5, None),
    ]
    assert [problem.kind for problem in reading.problems] == ["missing", "missing"]
    assert reading.problems[0].where.endswith("clotho_captions_development.csv:3")


def test_audiocaps_rows_of_one_clip_are_joined_under_any_known_name(tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    table.write_text(
        "audiocap_id,youtube_id,start_time,caption\n1,abcdefghijk,30,A dog\n2,abcdefghijk,30,A hound\n"
        "3,zzzzzzzzzzz,0,Rain\n4,lostlostlos,5,Wind\n5,,5,Wind\n"
    )
    sound(tmp_path / "audio" / "Yabcdefghijk_30.wav")
    sound(tmp_path / "audio" / "3.wav")
    reading = read_audiocaps(PrepareAudioCapsConfig(source=table, out=OUT, split="test"))
    assert [(clip.id, clip.captions, clip.sound_id) for clip in reading.clips] == [
        ("abcdefghijk_30", ("A dog", "A hound"), "youtube:abcdefghijk"),
        ("zzzzzzzzzzz_0", ("Rain",), "youtube:zzzzzzzzzzz"),
    ]
    assert sorted(problem.kind for problem in reading.problems) == ["missing", "row"]


def test_audiocaps_variant_with_five_captions_in_a_row(tmp_path: Path) -> None:
    table = tmp_path / "audiocaps_test.csv"
    table.write_text("file_path,caption_1,caption_2\nYabc.wav,One,Two\n")
    sound(tmp_path / "Yabc.wav")
    (clip,) = read_audiocaps(PrepareAudioCapsConfig(source=table, out=OUT)).clips
    assert (clip.id, clip.captions) == ("Yabc", ("One", "Two"))


@settings(max_examples=30, deadline=None)
@given(st.from_regex(r"[\w-]{11}", fullmatch=True), st.integers(1, 600))
def test_clip_names_begin_with_the_most_precise(youtube_id: str, start: int) -> None:
    names = clip_names(youtube_id, float(start))
    assert names[0] == f"{youtube_id}_{start}"
    assert len(set(names)) == len(names)
    assert names[-2:] == [youtube_id, f"Y{youtube_id}"]


def wavcaps(folder: Path) -> Path:
    entries = [
        {"id": "111", "caption": "Rain falls."},
        {"id": "222", "caption": "A test clip."},
        {"id": "333"},
    ]
    (folder / "fsd_final.json").write_text(json.dumps({"num_captions_per_audio": 1, "data": entries}))
    for name in ("111", "222"):
        sound(folder / "audio" / f"{name}.flac")
    return folder


def test_wavcaps_leaves_out_the_test_sets(tmp_path: Path) -> None:
    blacklist = {"AudioSet": ["Yabc.wav"], "FreeSound": ["222"]}
    (wavcaps(tmp_path) / "blacklist_exclude_test_ac.json").write_text(json.dumps(blacklist))
    reading = read_wavcaps(PrepareWavCapsConfig(source=tmp_path, out=OUT))
    assert [(clip.id, clip.sound_id) for clip in reading.clips] == [("freesound-111", "freesound:111")]
    assert [problem.kind for problem in reading.problems] == ["blacklisted", "row"]


def test_wavcaps_without_its_blacklist_is_refused_unless_waived(tmp_path: Path) -> None:
    wavcaps(tmp_path)
    with pytest.raises(ValueError, match="comes with WavCaps"):
        read_wavcaps(PrepareWavCapsConfig(source=tmp_path, out=OUT))
    reading = read_wavcaps(PrepareWavCapsConfig(source=tmp_path, out=OUT, use_blacklist=False))
    assert len(reading.clips) == 2


def test_wavcaps_pointer_of_git_lfs_is_explained(tmp_path: Path) -> None:
    (tmp_path / "fsd_final.json").write_text("version https://git-lfs\noid sha256:0\n")
    with pytest.raises(ManifestError, match="git LFS"):
        read_wavcaps(PrepareWavCapsConfig(source=tmp_path, out=OUT, use_blacklist=False))


def test_macs_keeps_all_sentences(tmp_path: Path) -> None:
    (tmp_path / "MACS.yaml").write_text(
        "files:\n- filename: park.wav\n  annotations:\n  - {sentence: Birds sing, tags: [birds]}\n"
        "  - {sentence: A child talks}\n- filename: lost.wav\n"
        "  annotations:\n  - {sentence: x}\n- {other: 1}\n"
    )
    sound(tmp_path / "audio" / "park.wav")
    reading = read_macs(PrepareMACSConfig(source=tmp_path / "MACS.yaml", out=OUT))
    assert [clip.captions for clip in reading.clips] == [("Birds sing", "A child talks")]
    assert [problem.kind for problem in reading.problems] == ["missing", "row"]


def test_autoacd(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('youtube_id,caption\nabc,"Rain, then wind"\n')
    sound(tmp_path / "Yabc.wav")
    (clip,) = read_autoacd(PrepareAutoACDConfig(source=tmp_path / "train.csv", out=OUT)).clips
    assert clip.captions == ("Rain, then wind",)


def test_reference_label_may_hold_five_captions(tmp_path: Path) -> None:
    rows = [
        {"key": "k1", "wav": str(sound(tmp_path / "one.wav")), "label": "a\tb\tc\td\te", "dur": "26.16"},
        {"key": "k2", "wav": "one.wav", "label": " "},
    ]
    source = tmp_path / "format.data"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = read_reference(PrepareReferenceConfig(source=source, out=OUT))
    assert [(clip.id, clip.captions) for clip in reading.clips] == [("k1", ("a", "b", "c", "d", "e"))]
    assert [problem.where for problem in reading.problems] == [f"{source}:2"]


def test_slam_rows_of_one_source_are_one_clip(tmp_path: Path) -> None:
    sound(tmp_path / "one.wav")
    rows = [{"key": "1", "source": "one.wav", "target": text} for text in ("Rain", "Drizzle")]
    source = tmp_path / "slam.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (clip,) = read_slam(PrepareSLAMConfig(source=source, out=OUT)).clips
    assert clip.captions == ("Rain", "Drizzle")


def test_jsonl_of_ones_own_needs_no_id(tmp_path: Path) -> None:
    sound(tmp_path / "sounds" / "rain.wav")
    source = tmp_path / "mine.jsonl"
    source.write_text('{"audio": "rain.wav", "caption": "Rain", "split": "test"}\n{"audio": "x"}\n')
    reading = read_jsonl(PrepareJSONLConfig(source=source, out=OUT, audio=tmp_path / "sounds"))
    assert [(clip.id, clip.captions, clip.split) for clip in reading.clips] == [("rain", ("Rain",), "test")]
    assert [problem.kind for problem in reading.problems] == ["row"]


def test_two_files_of_one_name_are_a_problem_and_not_a_guess(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("youtube_id,caption\nabc,Rain\n")
    sound(tmp_path / "a" / "abc.wav")
    sound(tmp_path / "b" / "abc.wav")
    reading = read_autoacd(PrepareAutoACDConfig(source=tmp_path / "t.csv", out=OUT))
    assert "several files" in reading.problems[0].message


def test_missing_column_is_an_error_with_the_columns_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,Rain\n")
    with pytest.raises(ManifestError, match=r"t\.csv:1: no column youtube_id, caption; .*there are id, text"):
        read_autoacd(PrepareAutoACDConfig(source=tmp_path / "t.csv", out=OUT))


CLOTHO_HEADER = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"


def test_rows_of_another_number_of_cells_are_reported_and_left_out(tmp_path: Path) -> None:
    table = tmp_path / "clotho_captions_development.csv"
    rows = ["a.wav,A dog barks, then a bell,c2,c3,c4,c5", "b.wav,only one", 'c.wav, "one, two",2,3,4,5']
    table.write_text(CLOTHO_HEADER + "\n".join(rows) + "\n")
    for name in "abc":
        sound(tmp_path / f"{name}.wav")
    reading = read_clotho(PrepareClothoConfig(source=table, out=OUT))
    assert [(clip.id, clip.captions[0]) for clip in reading.clips] == [("c", "one, two")]
    assert [(problem.kind, problem.where) for problem in reading.problems] == [
        ("row", f"{table}:2"),
        ("row", f"{table}:3"),
    ]
    assert "expected 6 cells, got 7 (an unquoted comma?)" in reading.problems[0].message


def test_broken_rows_of_audiocaps_are_reported_by_line(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    rows = [
        "1,abcdefghijk,30,Good",
        "2,#NAME?,30,A dog",
        "3,bbbbbbbbbbb,nan,Rain",
        "4,ccccccccccc,5,One, two",
    ]
    table.write_text("audiocap_id,youtube_id,start_time,caption\n" + "\n".join(rows) + "\n")
    sound(tmp_path / "abcdefghijk_30.wav")
    reading = read_audiocaps(PrepareAudioCapsConfig(source=table, out=OUT))
    assert [clip.captions for clip in reading.clips] == [("Good",)]
    assert sorted(problem.where for problem in reading.problems) == [f"{table}:{line}" for line in (3, 4, 5)]


def test_one_file_cannot_be_two_parts_of_a_video(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    rows = "1,abcdefghijk,30,A dog\n2,abcdefghijk,100,Rain\n3,zzzzzzzzzzz,0,Wind\n"
    table.write_text("audiocap_id,youtube_id,start_time,caption\n" + rows)
    sound(tmp_path / "Yabcdefghijk.wav")
    sound(tmp_path / "Yzzzzzzzzzzz.wav")
    reading = read_audiocaps(PrepareAudioCapsConfig(source=table, out=OUT))
    assert [clip.captions for clip in reading.clips] == [("Wind",)]
    assert [problem.where for problem in reading.problems] == [f"{table}:2", f"{table}:3"]
    assert "is the file of the start times 30, 100" in reading.problems[0].message


def test_a_file_without_a_start_is_not_taken_where_a_video_has_several_clips(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    rows = "1,abcdefghijk,30,A dog\n2,abcdefghijk,40,Rain\n"
    table.write_text("audiocap_id,youtube_id,start_time,caption\n" + rows)
    sound(tmp_path / "abcdefghijk_30.wav")
    sound(tmp_path / "Yabcdefghijk.wav")
    reading = read_audiocaps(PrepareAudioCapsConfig(source=table, out=OUT))
    assert [clip.audio.name for clip in reading.clips] == ["abcdefghijk_30.wav"]
    assert [problem.where for problem in reading.problems] == [f"{table}:3"]
    assert "the start times 30, 40" in reading.problems[0].message


def test_jsonl_keeps_other_languages_and_columns_and_passes_over_bad_lines(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    source = tmp_path / "mine.jsonl"
    row = {"audio": "a.wav", "captions": {"en": "Rain", "fra": ["Pluie"]}, "question": "What?"}
    source.write_text(json.dumps(row) + '\n{\n{"audio": "a.wav", "captions": {"fra": "x"}}\n')
    reading = read_jsonl(PrepareJSONLConfig(source=source, out=OUT))
    (clip,) = reading.clips
    assert (clip.captions, clip.translations, clip.extra) == (
        ("Rain",),
        {"fra": ("Pluie",)},
        {"question": "What?"},
    )
    assert [(problem.kind, problem.where) for problem in reading.problems] == [
        ("row", f"{source}:2"),
        ("language", f"{source}:3"),
    ]


def test_what_is_no_text_is_never_a_caption(tmp_path: Path) -> None:
    for name in "abc":
        sound(tmp_path / f"{name}.wav")
    macs = tmp_path / "MACS.yaml"
    sentences = zip("abc", ("A dog", "", "yes"), strict=True)
    macs.write_text(
        "files:\n"
        + "".join(f"- filename: {n}.wav\n  annotations: [{{sentence: {s}}}]\n" for n, s in sentences)
    )
    values = ["A dog", ["A dog", "A cat"], True]
    lines = tmp_path / "lines.jsonl"
    rows = [
        {"key": n, "wav": f"{n}.wav", "label": value, "source": f"{n}.wav", "target": value}
        for n, value in zip("abc", values, strict=True)
    ]
    lines.write_text("\n".join(map(json.dumps, rows)))
    for reading in (
        read_macs(PrepareMACSConfig(source=macs, out=OUT)),
        read_reference(PrepareReferenceConfig(source=lines, out=OUT)),
        read_slam(PrepareSLAMConfig(source=lines, out=OUT)),
    ):
        assert [clip.captions for clip in reading.clips] == [("A dog",)]
        assert [problem.kind for problem in reading.problems] == ["row", "row"]


def test_no_row_of_ones_own_ends_the_job_whatever_it_holds(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    source = tmp_path / "own.jsonl"
    odd = [{"audio": "x" * 5000}, {"split": {}}, {"split": " "}, {"id": ["b"]}, {"licence": "\0"}]
    rows = [json.dumps({"audio": "a.wav", "caption": "A dog"} | changes) for changes in ({}, *odd)]
    source.write_text("\n".join([*rows, '{"audio": ' + "9" * 5000 + "}"]))
    reading = read_jsonl(PrepareJSONLConfig(source=source, out=OUT))
    assert [clip.id for clip in reading.clips] == ["a"]
    kinds = {problem.where.rpartition(":")[2]: problem.kind for problem in reading.problems}
    assert kinds == {"2": "missing"} | dict.fromkeys("34567", "row")

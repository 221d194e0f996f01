"""Published data sets, labelled folders and Tux Paint's stamps become clips, however files are named."""

import csv
import doctest
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_clap.config.prepare import (
    PrepareAudioCapsConfig,
    PrepareClothoConfig,
    PrepareFolderConfig,
    PrepareJSONLConfig,
    PrepareReferenceConfig,
    PrepareTuxpaintConfig,
)
from ml_clap.data.languages import LANGUAGES
from ml_clap.data.manifest import ManifestError
from ml_clap.data.readers import labelled
from ml_clap.data.readers import published as readers
from ml_clap.data.readers.json_lines import read_jsonl
from ml_clap.data.readers.labelled import choose_validation, read_folder
from ml_clap.data.readers.published import read_audiocaps, read_clotho, read_reference
from ml_clap.data.readers.tuxpaint import captions_by_language, read_tuxpaint

OUT = Path("manifest.jsonl")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------------- the authors' JSON


def test_reference_json_gives_all_captions_in_their_languages(tmp_path: Path) -> None:
    touch(tmp_path, "wavs/a.wav", "wavs/b.wav", "wavs/c.flac")
    entries = [
        {
            "id": "a1",
            "audio": "a.wav",
            "duration": 10.0,
            "caption_1": "A dog.",
            "source_lang_1": "eng_Latn",
            "caption_2": "Un chien.",
            "source_lang_2": "fra_Latn",
            "caption_3": "A hound.",
            "source_lang_3": "eng_Latn",
        },
        {"id": "b1", "wav": "/elsewhere/b.wav", "audio": "b", "caption": "Rain.", "source_lang": "eng_Latn"},
        {"audio": "c.flac", "caption": "Wind."},
    ]
    source = write_json(tmp_path / "data.json", {"num_captions_per_audio": 3, "data": entries})
    reading = read_reference(PrepareReferenceConfig(source=source, split="test", out=OUT))
    assert not reading.problems
    assert [clip.id for clip in reading.clips] == ["a1", "b1", "c"]
    assert reading.clips[0].captions == {"eng_Latn": ("A dog.", "A hound."), "fra_Latn": ("Un chien.",)}
    assert [clip.audio.name for clip in reading.clips] == ["a.wav", "b.wav", "c.flac"]
    assert {clip.split for clip in reading.clips} == {"test"}


def test_a_byte_order_mark_before_json_does_no_harm(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    source = tmp_path / "data.json"
    source.write_text(json.dumps({"data": [{"audio": "a.wav", "caption": "A"}]}), encoding="utf-8-sig")
    assert len(read_reference(PrepareReferenceConfig(source=source, out=OUT)).clips) == 1


def test_bad_entries_of_reference_json_are_named_and_the_others_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    entries: list[Any] = [
        {"id": "x", "audio": "gone.wav", "caption": "A"},
        {"id": "y", "audio": "a.wav"},
        {"id": "z", "caption": "A"},
        "no object",
        {"id": "w", "audio": "a.wav", "caption": "A", "source_lang": "klingon"},
        {"id": "ok", "audio": "a.wav", "caption": "A"},
    ]
    source = write_json(tmp_path / "data.json", {"data": entries})
    reading = read_reference(PrepareReferenceConfig(source=source, out=OUT))
    assert [clip.id for clip in reading.clips] == ["ok"]
    assert [problem.kind for problem in reading.problems] == ["missing", "row", "row", "row", "row"]
    assert "entry 0 (x)" in reading.problems[0].where
    assert "unknown language 'klingon'" in reading.problems[4].message


@pytest.mark.parametrize(
    ("content", "message"), [("{", r"data\.json: not JSON"), ("[]", "a list `data`, got list")]
)
def test_reference_json_of_another_form_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_reference(PrepareReferenceConfig(source=tmp_path / "data.json", out=OUT))


# ------------------------------------------------------------------------------------------------- Clotho

CLOTHO_COLUMNS = ["file_name", *(f"caption_{number}" for number in range(1, 6))]


def test_clotho_csv_gives_five_captions_and_finds_odd_names(tmp_path: Path) -> None:
    touch(tmp_path, "audio/Rain, heavy.wav", "audio/Cafe\u0301  2.WAV", "audio/two captions.wav")
    rows = [
        ["Rain, heavy.wav", *"abcde"],
        ["Café 2.wav", *"fghij"],
        ["two captions.wav", "k", " ", "l", "", ""],
        ["gone.wav", *"mnopq"],
        ["Rain, heavy.wav"],
    ]
    source = write_csv(tmp_path / "clotho_captions_evaluation.csv", CLOTHO_COLUMNS, rows)
    reading = read_clotho(PrepareClothoConfig(source=source, audio=tmp_path / "audio", split="test", out=OUT))
    assert [clip.captions["eng_Latn"] for clip in reading.clips] == [
        tuple("abcde"),
        tuple("fghij"),
        ("k", "l"),
    ]
    assert [clip.audio.name for clip in reading.clips] == [
        "Rain, heavy.wav",
        "Cafe\u0301  2.WAV",
        "two captions.wav",
    ]
    assert [(problem.kind, problem.where) for problem in reading.problems] == [
        ("row", f"{source}:6"),
        ("missing", f"{source}:5"),
    ]


def test_clotho_folder_gives_the_three_splits_though_names_repeat(tmp_path: Path) -> None:
    for table, (folder, _) in readers.CLOTHO_SPLITS.items():
        touch(tmp_path, f"{folder}/a.wav")
        write_csv(tmp_path / table, CLOTHO_COLUMNS, [["a.wav", *"abcde"]])
    reading = read_clotho(PrepareClothoConfig(source=tmp_path, out=OUT))
    assert [(clip.split, clip.audio.parent.name) for clip in reading.clips] == [
        ("train", "development"),
        ("validation", "validation"),
        ("test", "evaluation"),
    ]
    with pytest.raises(ValueError, match="leave --split out"):
        read_clotho(PrepareClothoConfig(source=tmp_path, split="train", out=OUT))


def test_an_unquoted_comma_never_makes_half_a_caption(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    source = tmp_path / "clotho_captions_development.csv"
    source.write_text(
        "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
        "a.wav,A dog barks, then a bell,c2,c3,c4,c5\nb.wav,only one\nc.wav,1,2,3,4,5\n"
    )
    reading = read_clotho(PrepareClothoConfig(source=source, out=OUT))
    assert [clip.captions["eng_Latn"] for clip in reading.clips] == [("1", "2", "3", "4", "5")]
    assert [(problem.kind, problem.where, problem.message) for problem in reading.problems] == [
        ("row", f"{source}:2", "expected 6 cells, got 7 (an unquoted comma?)"),
        ("row", f"{source}:3", "expected 6 cells, got 2"),
    ]


def test_csv_without_the_columns_is_an_error_that_lists_those_there(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "x.csv", ["name", "text"], [["a.wav", "A"]])
    with pytest.raises(
        ManifestError, match=r"x\.csv:1: no column file_name, caption_1; .* there are name, text"
    ):
        read_clotho(PrepareClothoConfig(source=source, out=OUT))


def test_csv_that_is_not_text_is_an_error_with_the_line(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_bytes(b"file_name,caption_1\na.wav,caf\xe9\n")
    with pytest.raises(ManifestError, match=r"x\.csv:2: not UTF-8 text"):
        read_clotho(PrepareClothoConfig(source=source, out=OUT))


# ----------------------------------------------------------------------------------------------- AudioCaps

AUDIOCAPS_COLUMNS = ["audiocap_id", "youtube_id", "start_time", "caption"]


@pytest.mark.parametrize(
    "name",
    [
        "rqfQRErjfk8.wav",
        "YrqfQRErjfk8.wav",
        "rqfQRErjfk8_170.wav",
        "YrqfQRErjfk8_170.flac",
        "rqfQRErjfk8_170_180.mp3",
        "rqfQRErjfk8_170000_180000.flac",
        "rqfQRErjfk8_170.000_180.000.wav",
        "YrqfQRErjfk8_170.0.wav",
        "rqfQRErjfk8_170000.m4a",
    ],
)
def test_audiocaps_file_is_found_however_it_is_named(tmp_path: Path, name: str) -> None:
    touch(tmp_path, f"audio/{name}", f"audio/{Path(name).stem}.json")
    source = write_csv(tmp_path / "test.csv", AUDIOCAPS_COLUMNS, [[1, "rqfQRErjfk8", 170, "A man speaks"]])
    reading = read_audiocaps(
        PrepareAudioCapsConfig(source=source, audio=tmp_path / "audio", split="test", out=OUT)
    )
    assert [(clip.id, clip.audio.name) for clip in reading.clips] == [("rqfQRErjfk8_170", name)]


def test_audiocaps_file_without_a_start_is_not_taken_where_a_video_has_several_clips(tmp_path: Path) -> None:
    touch(tmp_path, "AAAAAAAAAAA_30.wav", "YAAAAAAAAAAA.wav")
    rows = [[1, "AAAAAAAAAAA", 30, "one"], [2, "AAAAAAAAAAA", 40, "two"]]
    source = write_csv(tmp_path / "train.csv", AUDIOCAPS_COLUMNS, rows)
    reading = read_audiocaps(PrepareAudioCapsConfig(source=source, out=OUT))
    assert [clip.audio.name for clip in reading.clips] == ["AAAAAAAAAAA_30.wav"]
    (problem,) = reading.problems
    assert (problem.kind, problem.where) == ("row", f"{source}:3")
    assert "YAAAAAAAAAAA.wav could be AAAAAAAAAAA_40 or AAAAAAAAAAA_30" in problem.message


def test_audiocaps_rows_of_one_clip_are_one_clip_and_other_starts_are_others(tmp_path: Path) -> None:
    touch(tmp_path, "AAAAAAAAAAA_30.wav", "AAAAAAAAAAA_60.wav", "aaaaaaaaaaa_30.wav")
    rows = [
        [1, "AAAAAAAAAAA", 30, "one"],
        [2, "AAAAAAAAAAA", 60, "two"],
        [3, "AAAAAAAAAAA", "30.0", "three"],
        [4, "aaaaaaaaaaa", 30, "four"],
        [5, "BBBBBBBBBBB", 0, "gone"],
        [6, "CCCCCCCCCCC", "x", "bad"],
        [7, "", 1, "bad"],
    ]
    source = write_csv(tmp_path / "train.csv", AUDIOCAPS_COLUMNS, rows)
    reading = read_audiocaps(PrepareAudioCapsConfig(source=source, out=OUT))
    assert [(clip.audio.name, clip.captions["eng_Latn"]) for clip in reading.clips] == [
        ("AAAAAAAAAAA_30.wav", ("one", "three")),
        ("AAAAAAAAAAA_60.wav", ("two",)),
        ("aaaaaaaaaaa_30.wav", ("four",)),
    ]
    assert Counter(problem.kind for problem in reading.problems) == {"missing": 1, "row": 2}


def test_a_file_that_could_be_either_of_two_starts_is_left_out_with_both(tmp_path: Path) -> None:
    touch(tmp_path, "YAAAAAAAAAAA.wav", "YBBBBBBBBBBB.wav")
    rows = [[1, "AAAAAAAAAAA", 30, "one"], [2, "AAAAAAAAAAA", 60, "two"], [3, "BBBBBBBBBBB", 0, "three"]]
    source = write_csv(tmp_path / "train.csv", AUDIOCAPS_COLUMNS, rows)
    reading = read_audiocaps(PrepareAudioCapsConfig(source=source, out=OUT))
    assert [clip.id for clip in reading.clips] == ["BBBBBBBBBBB_0"]
    assert [problem.where for problem in reading.problems] == [f"{source}:2", f"{source}:3"]
    assert "could be AAAAAAAAAAA_30 or AAAAAAAAAAA_60" in reading.problems[0].message


def test_audiocaps_folder_gives_its_splits(tmp_path: Path) -> None:
    for number, table in enumerate(readers.AUDIOCAPS_SPLITS):
        touch(tmp_path, f"wav/Y{number}AAAAAAAAAA.wav")
        write_csv(tmp_path / table, AUDIOCAPS_COLUMNS, [[1, f"{number}AAAAAAAAAA", 30, "A"]])
    reading = read_audiocaps(PrepareAudioCapsConfig(source=tmp_path, out=OUT))
    assert [clip.split for clip in reading.clips] == ["train", "validation", "test"]


# ------------------------------------------------------------------------------------------ labelled folders

CAPTIONS = {
    "dog": {
        "en": ["A dog barks.", "Barking.", "A hound."],
        "fr": ["Un chien aboie.", "Aboiements.", "Un chien."],
    },
    "rain": {"en": ["It rains.", "Rain.", "Drops."], "fr": ["Il pleut.", "Pluie.", "Gouttes."]},
}


def make_list(folder: Path, *, labels: Sequence[str] = ("dog", "rain"), recordings: int = 6) -> Path:
    """Four folds; recording r of a label lies in fold r % 4 + 1 and has two clips."""
    lines = []
    for label in labels:
        for recording in range(recordings):
            fold = recording % 4 + 1
            for take in "AB":
                name = f"{label}/{fold}-{label}{recording}-{take}.ogg"
                lines.append(json.dumps({"audio": name, "label": label, "fold": fold}))
    path = folder / "clips.jsonl"
    path.write_text("\n".join(lines))
    return path


def folder_config(folder: Path, **settings_: Any) -> PrepareFolderConfig:
    captions = write_json(folder / "captions.json", CAPTIONS)
    settings_ = {"source": folder / "clips.jsonl", "captions": captions, "out": OUT} | settings_
    return PrepareFolderConfig(**settings_)


def test_a_row_without_split_or_captions_of_its_label_does_not_end_the_work(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "label": "dog", "fold": 1, "artist": "me"}, {"audio": "b.wav", "label": "dog"}]
    rows += [{"audio": "c.wav", "label": "cat", "fold": 1}]
    lines = [*map(json.dumps, rows), "{"]
    (tmp_path / "clips.jsonl").write_text("\n".join(lines))
    reading = read_folder(folder_config(tmp_path, split_by="fold", splits=("train=1",)))
    assert [(clip.id, clip.extra) for clip in reading.clips] == [("a", {"fold": 1, "artist": "me"})]
    found = {problem.where.rpartition(":")[2]: problem.message for problem in reading.problems}
    assert found["2"] == "no fold, so it has no split"
    assert "no captions of its label 'cat'" in found["3"]
    assert found["4"].startswith("not JSON: ")


def test_manifests_of_others_are_read_with_what_they_hold(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav", "elsewhere/c.wav")
    rows: list[Any] = [
        {"id": "a", "audio": "a.wav", "captions": ["A dog"], "dataset": "mine", "duration": 5},
        {"audio": "b.wav", "caption": "Rain", "question": "What?", "answer": "rain"},
        {"audio": "data/c.wav", "captions": {"fra": "Un chien"}, "split": "test"},
        {"audio": "gone.wav", "captions": ["x"]},
        {"audio": "a.wav", "captions": []},
        ["no", "object"],
    ]
    source = tmp_path / "m.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    config = PrepareJSONLConfig(source=source, audio=tmp_path / "elsewhere", split="train", out=OUT)
    reading = read_jsonl(config)
    assert [(clip.id, clip.split, clip.captions, clip.extra) for clip in reading.clips] == [
        ("a", "train", {"eng_Latn": ("A dog",)}, {"dataset": "mine"}),
        ("b", "train", {"eng_Latn": ("Rain",)}, {"question": "What?", "answer": "rain"}),
        ("c", "test", {"fra_Latn": ("Un chien",)}, {}),
    ]
    assert [(problem.kind, problem.where) for problem in reading.problems] == [
        ("missing", f"{source}:4"),
        ("row", f"{source}:5"),
        ("row", f"{source}:6"),
    ]


def test_folders_of_sounds_are_labels(tmp_path: Path) -> None:
    touch(tmp_path, "sounds/dog/a.wav", "sounds/dog/b.OGG", "sounds/rain/a.wav", "sounds/rain/notes.txt")
    reading = read_folder(folder_config(tmp_path, source=tmp_path / "sounds"))
    assert [(clip.id, clip.label) for clip in reading.clips] == [
        ("dog/a", "dog"),
        ("dog/b", "dog"),
        ("rain/a", "rain"),
    ]
    assert reading.clips[2].captions["fra_Latn"] == ("Il pleut.", "Pluie.", "Gouttes.")
    assert {clip.split for clip in reading.clips} == {None}


def test_folds_become_splits_with_captions_of_their_own(tmp_path: Path) -> None:
    make_list(tmp_path)
    config = folder_config(tmp_path, split_by="fold", splits=("train=1,2", "test=4"), train_captions=2)
    reading = read_folder(config)
    assert not reading.problems
    assert {(clip.id.split("/")[1][0], clip.split) for clip in reading.clips} == {
        ("1", "train"),
        ("2", "train"),
        ("4", "test"),
    }
    captions = {clip.split: clip.captions["eng_Latn"] for clip in reading.clips if clip.label == "dog"}
    assert captions == {"train": ("A dog barks.", "Barking."), "test": ("A hound.",)}


def test_column_that_names_splits_is_taken_as_it_is_and_csv_lists_are_read(tmp_path: Path) -> None:
    source = write_csv(
        tmp_path / "esc.csv", ["filename", "fold", "category", "src_file"], [["a.wav", "5", "dog", "77"]]
    )
    reading = read_folder(folder_config(tmp_path, source=source, split_by="fold", audio=tmp_path / "audio"))
    assert [(clip.audio, clip.split, clip.label) for clip in reading.clips] == [
        (tmp_path / "audio/a.wav", "5", "dog")
    ]


@pytest.mark.parametrize("recording", [r"^\d+-(\w+)-"])
def test_validation_is_whole_recordings_of_the_training_folds(tmp_path: Path, recording: str) -> None:
    make_list(tmp_path, recordings=12)
    splits = {
        "split_by": "fold",
        "splits": ("train=1,2,3", "test=4"),
        "validation": 0.25,
        "train_captions": 2,
    }
    reading = read_folder(folder_config(tmp_path, recording=recording, **splits))
    of_recording = defaultdict(set)
    for clip in reading.clips:
        of_recording[clip.id.split("-")[1]].add(clip.split)
    assert all(len(found) == 1 for found in of_recording.values())
    assert all(clip.extra["recording"] == clip.id.split("-")[1] for clip in reading.clips)
    counts = Counter((clip.label, clip.split) for clip in reading.clips)
    assert counts["dog", "validation"] == counts["rain", "validation"] == 4
    assert counts["dog", "test"] == 6
    validation = next(clip for clip in reading.clips if clip.split == "validation")
    assert len(validation.captions["eng_Latn"]) == 2
    other_seed = read_folder(folder_config(tmp_path, recording=recording, seed=1, **splits))
    assert [clip.split for clip in other_seed.clips] != [clip.split for clip in reading.clips]


def test_rows_that_no_split_names_are_told(tmp_path: Path) -> None:
    make_list(tmp_path)
    reading = read_folder(folder_config(tmp_path, split_by="fold", splits=("train=1,2", "test=4")))
    assert reading.notices == ["4 rows with fold 3 left out: in none of the splits (--splits)"]


def test_recording_in_two_splits_is_reported(tmp_path: Path) -> None:
    rows = [["a.wav", "1", "dog", "77"], ["b.wav", "2", "dog", "77"], ["c.wav", "2", "dog", "78"]]
    source = write_csv(tmp_path / "esc.csv", ["filename", "fold", "category", "src_file"], rows)
    config = folder_config(
        tmp_path, source=source, split_by="fold", splits=("train=1", "test=2"), recording="src_file"
    )
    problems = read_folder(config).problems
    assert [(problem.kind, problem.where) for problem in problems] == [("overlap", "recording 77")]
    assert "test, train" in problems[0].message


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=40),
    st.floats(0.05, 0.9),
    st.integers(0, 9),
)
def test_validation_never_divides_a_recording_nor_takes_all(
    pairs: list[tuple[str, int]], share: float, seed: int
) -> None:
    clips = [(label, f"{label}{number}") for label, number in pairs]
    chosen = choose_validation(clips, share, seed)
    inside, outside = (
        {clips[place] for place in range(len(clips)) if (place in chosen) == taken} for taken in (True, False)
    )
    assert not inside & outside
    for label in "ab":
        recordings = {recording for own, recording in clips if own == label}
        if len(recordings) > 1:
            assert {own for own, _ in inside} >= {label} <= {own for own, _ in outside}
        else:
            assert label not in {own for own, _ in inside}


def test_a_name_without_its_recording_is_one_bad_row(tmp_path: Path) -> None:
    path = make_list(tmp_path)
    path.write_text(path.read_text() + '\n{"audio": "dog/odd.ogg", "label": "dog", "fold": 1}\n')
    reading = read_folder(folder_config(tmp_path, recording=r"^\d+-(\w+)-"))
    assert len(reading.clips) == 24
    assert [problem.kind for problem in reading.problems] == ["row"]
    assert "finds no group in 'odd.ogg'" in reading.problems[0].message


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"split_by": "fould"}, "no column 'fould'; there are audio, label, fold"),
        ({"split_by": "fold", "splits": ("train=9",)}, "no value of fold is named in train=9"),
        ({"split_by": "fold", "splits": ("train",)}, "splits must be such as train=1,2,3"),
        ({"split_by": "fold", "splits": ("train=1", "test=1")}, "1 is in train and in test"),
        ({"recording": "(", "validation": 0.2}, "neither a column nor a regular expression"),
        ({"recording": "(zzz)", "validation": 0.2}, "finds no group in '1-dog0-A.ogg'"),
        (
            {"split_by": "fold", "splits": ("train=1", "test=4"), "train_captions": 3},
            "leaves none for the split test",
        ),
    ],
)
def test_impossible_folder_settings_are_told(tmp_path: Path, settings_: dict[str, Any], message: str) -> None:
    make_list(tmp_path)
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        read_folder(folder_config(tmp_path, **settings_))


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ({"cat": {"en": ["A"]}}, "no captions of dog, rain; there are cat"),
        ({"dog": {"en": "A"}}, "captions of 'dog' in en must be a list of texts, got 'A'"),
        ({"dog": {"xx": ["A"]}}, "captions of 'dog': unknown language 'xx'"),
        ([], "expected an object label -> language -> captions"),
    ],
)
def test_captions_file_of_another_form_is_an_error(tmp_path: Path, captions: Any, message: str) -> None:
    make_list(tmp_path)
    config = folder_config(tmp_path)
    write_json(tmp_path / "captions.json", captions)
    with pytest.raises(ManifestError, match=message):
        read_folder(config)


def test_impossible_settings_are_refused_on_construction(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="out: say where"):
        PrepareClothoConfig(source=tmp_path)
    with pytest.raises(ValueError, match="captions: say what the labels mean"):
        PrepareFolderConfig(source=tmp_path, out=OUT)
    with pytest.raises(ValueError, match="splits needs split_by"):
        folder_config(tmp_path, splits=("train=1",))
    with pytest.raises(ValueError, match="validation must be in"):
        folder_config(tmp_path, validation=1.0)


def test_esc10_is_read_by_fold_with_no_recording_in_two_splits(shared: Path) -> None:
    esc10 = shared / "data/esc10"
    config = PrepareFolderConfig(
        source=esc10 / "clips.jsonl",
        captions=esc10 / "captions.json",
        out=OUT,
        split_by="fold",
        splits=("train=1,2,3", "test=4"),
        validation=0.15,
        recording=r"^\d+-(\d+)-",
        train_captions=3,
    )
    reading = read_folder(config)
    assert not reading.problems
    counts = Counter((clip.label, clip.split) for clip in reading.clips)
    assert all(counts[label, "test"] == 8 for label, _ in counts)
    assert all(2 <= counts[label, "validation"] <= 6 for label, _ in counts)
    found = defaultdict(set)
    for clip in reading.clips:
        found[clip.id.split("/")[-1].split("-")[1]].add(clip.split)
        assert list(clip.captions) == list(LANGUAGES)
        assert {len(texts) for texts in clip.captions.values()} == {1 if clip.split == "test" else 3}
    assert all(len(splits) == 1 for splits in found.values())


# ----------------------------------------------------------------------------------------------- Tux Paint


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """A small folder of the form of the stamps."""
    folder = tmp_path / "usr/share/tuxpaint/stamps"
    touch(
        folder,
        "animals/cow.ogg",
        "animals/cow_desc_fr.ogg",
        "animals/cow_desc.ogg",
        "animals/dog.wav",
        "animals/mute.txt",
        "symbols/math/1.ogg",
        "town/bell.ogg",
    )
    (folder / "animals/cow.txt").write_bytes(
        "A cow.\r\nfr.utf8=Une vache.\nen_GB.utf8=A coo.\npt_BR.utf8=Uma vaca BR.\npt.utf8=Uma vaca.\n"
        "ach.utf8=Dyang.\nde.utf8= \nzh_TW.utf8=牛。\nbroken line\n".encode()
        + b"es.utf8=caf\xe9\n"
    )
    (folder / "animals/dog.txt").write_text("A dog.")
    (folder / "symbols/math/1.txt").write_text("One.")
    return tmp_path


def test_stamps_are_sound_events_with_one_text_a_language(stamps: Path) -> None:
    for source in (stamps, stamps / "usr/share/tuxpaint/stamps"):
        reading = read_tuxpaint(PrepareTuxpaintConfig(source=source, out=OUT))
        assert [clip.id for clip in reading.clips] == ["animals/cow", "animals/dog"]
        assert reading.clips[0].captions == {
            "eng_Latn": ("A cow.",),
            "fra_Latn": ("Une vache.",),
            "por_Latn": ("Uma vaca.",),
            "zho_Hant": ("牛。",),
            "spa_Latn": ("caf\ufffd",),
        }
        assert reading.clips[1].licence == "GPL-2.0-or-later"


def test_effects_list_gives_the_same_clips_as_its_stamps(stamps: Path) -> None:
    root = stamps / "usr/share/tuxpaint"
    row = {
        "id": "animals/cow",
        "audio": "stamps/animals/cow.ogg",
        "text": {"en": "A cow.", "fr": "Une vache."},
    }
    write_json(root / "effects.jsonl", row)
    for source in (root, root / "effects.jsonl"):
        (clip,) = read_tuxpaint(PrepareTuxpaintConfig(source=source, out=OUT)).clips
        assert (clip.id, clip.audio) == ("animals/cow", root / "stamps/animals/cow.ogg")
        assert clip.captions == {"eng_Latn": ("A cow.",), "fra_Latn": ("Une vache.",)}
    write_json(root / "effects.jsonl", {"id": "x"})
    (problem,) = read_tuxpaint(PrepareTuxpaintConfig(source=root, out=OUT)).problems
    assert (problem.where, problem.message) == (
        f"{root}/effects.jsonl:1",
        "expected id, audio and text, got id",
    )


def test_missing_stamps_are_an_error_that_says_how_to_get_them(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match="apt-get download tuxpaint-stamps-default"):
            read_tuxpaint(PrepareTuxpaintConfig(source=source, out=OUT))


def test_plain_locale_is_taken_before_its_regions_whatever_their_order() -> None:
    for order in (("pt_BR", "pt"), ("pt", "pt_BR")):
        captions, unknown = captions_by_language({locale: locale for locale in (*order, "shs")})
        assert captions == {"por_Latn": ("pt",)}
        assert unknown == {"shs"}


def test_docstring_examples_hold() -> None:
    for module in (readers, labelled):
        result = doctest.testmod(module)
        assert result.attempted >= 1
        assert result.failed == 0
